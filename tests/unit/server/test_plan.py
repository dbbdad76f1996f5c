"""The start-up plan: everything that will run is named."""

import msgspec

from server.config import Config, DeviceConfig, Limits
from server.plan import plan
from tests.fakes import fake_config


def test_a_plan(tmp_path):
    config = fake_config(tmp_path, workers=3, limits=Limits(max_body_bytes=7 << 20))
    lines = plan(config, "http://127.0.0.1:8080").splitlines()
    text = "\n".join(lines)
    assert lines[0] == "pipeline  OCR (API v3 first, padding tight)"
    for role in ("text_detection", "text_recognition", "textline_orientation"):
        (line,) = [each for each in lines if role in each]
        assert f"fake_{role}" in line
        assert "fake, fake.json sha256 unknown" in line
    assert "devices   2 x cpu with 1 thread, 2 when alone" in lines
    assert "workers   3" in lines
    assert "max_body_bytes=7M" in text
    for field in msgspec.structs.fields(Limits):
        assert f"{field.name}=" in text
    assert lines[-1] == "url       http://127.0.0.1:8080/ocr"


def test_models_are_named_with_file_digest_and_origin(tmp_path):
    config = fake_config(tmp_path)
    (pipeline,) = config.pipelines
    role = "text_detection"
    model = msgspec.structs.replace(
        pipeline.models[role], sha256={"fake.json": "0123456789abcdef" * 4}, source="a wheel 1.0 (PyPI)"
    )
    pipeline = msgspec.structs.replace(pipeline, models=pipeline.models | {role: model})
    text = plan(msgspec.structs.replace(config, pipelines=(pipeline,)), "http://h:1")
    line = next(each for each in text.splitlines() if "fake_text_detection" in each)
    assert line.endswith("fake, fake.json sha256 0123456789ab, from a wheel 1.0 (PyPI)")


def test_shares_and_gpus(tmp_path):
    config = fake_config(tmp_path)

    def devices(*found) -> list[str]:
        whole = plan(msgspec.structs.replace(config, devices=found), "u").splitlines()
        start = next(i for i, line in enumerate(whole) if line.startswith("devices"))
        return [line[10:] for line in whole[start : start + len(set(found))]]

    assert devices(DeviceConfig("cpu", 4, 4)) == ["cpu with 4 threads"]
    assert devices(DeviceConfig("gpu:0"), DeviceConfig("gpu:1")) == ["gpu:0", "gpu:1"]
    on_nodes = (*[DeviceConfig("cpu", 2, 8, node=0)] * 2, DeviceConfig("gpu:1", node=1))
    assert devices(*on_nodes) == [
        "2 x cpu on NUMA node 0 with 2 threads, 8 when alone",
        "gpu:1 on NUMA node 1",
    ]


def test_a_reduced_precision_is_named_with_its_model(tmp_path):
    config = fake_config(tmp_path)
    (pipeline,) = config.pipelines
    pipeline = msgspec.structs.replace(pipeline, precisions={"text_detection": "bf16"})
    lines = plan(msgspec.structs.replace(config, pipelines=(pipeline,)), "u").splitlines()
    assert ["fake in bf16," in line for line in lines if "fake_text_" in line] == [True, False]


def test_a_configuration_is_what_is_printed(tmp_path):
    config: Config = fake_config(tmp_path)
    changed = msgspec.structs.replace(config, api_generation="2024")
    assert plan(config, "u") != plan(changed, "u")
