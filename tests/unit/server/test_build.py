"""From options to a configuration: YAMLs, devices, GPUs, notices, refusals."""

import pytest
import yaml

from pipelines.core.config import ModelFiles
from pipelines.core.errors import ConfigError
from pipelines.core.models import ModelStore
from pipelines.core.registry import load_engine
from server.build import build_config
from server.config import DeviceConfig, Limits
from server.options import parse
from tests.fakes import fake_models


class Computer:
    """A machine of a given size."""

    def __init__(self, cores=2, memory=64 << 30):
        self._cores, self._memory = cores, memory

    def cores(self):
        return self._cores

    def memory_bytes(self):
        return self._memory

    def nodes(self):
        return {}

    def gpu_node(self, index):
        return None


@pytest.fixture
def document(tmp_path):
    """A 3.x pipeline YAML on fake models."""
    models = fake_models(tmp_path / "models")

    def entry(module, role):
        return {
            "module_name": module,
            "model_name": models[role].name,
            "model_dir": models[role].directory,
        }

    return {
        "pipeline_name": "OCR",
        "use_doc_preprocessor": False,
        "use_textline_orientation": False,
        "engine": "fake",
        "SubModules": {
            "TextDetection": entry("text_detection", "text_detection"),
            "TextRecognition": entry("text_recognition", "text_recognition"),
        },
    }


@pytest.fixture
def build(tmp_path, document):
    """Builds a configuration; returns it and the notices."""

    def run(*argv, machine=None):
        path = tmp_path / "ocr.yaml"
        path.write_text(yaml.safe_dump(document))
        args = parse(["--pipeline", str(path), *argv])
        said = []
        store = ModelStore(tmp_path / "cache", pip=["/bin/false"])
        return build_config(args, store, machine or Computer(), said.append), said

    return run


def test_a_yaml_with_local_models(build, tmp_path):
    config, said = build()
    (pipeline,) = config.pipelines
    assert (pipeline.name, pipeline.title, pipeline.generation) == ("ocr", "OCR", "v3")
    assert pipeline.engines == {"text_detection": "fake", "text_recognition": "fake"}
    assert pipeline.models["text_detection"].directory == str(tmp_path / "models" / "text_detection")
    assert pipeline.padding == "tight"
    assert config.devices == (DeviceConfig("cpu", 1, 2),) * 2
    assert config.workers == 1
    assert config.limits == Limits()
    assert config.cache_dir == str(tmp_path / "cache")
    assert said == []


def test_options_reach_the_configuration(build):
    config, _ = build(
        *[
            "--device",
            "cpu:3",
            "--workers",
            "5",
            "--port",
            "0",
            "--host",
            "::1",
            "--padding",
            "exact",
            "--api_generation",
            "2024",
            "--precision",
            "bf16",
        ],
        *[
            "--log_format",
            "json",
            "--log_level",
            "debug",
            "--max_body_bytes",
            "1M",
            "--truncated_images",
            "accept",
            "--max_pages",
            "7",
        ],
    )
    assert config.devices == (DeviceConfig("cpu", 1, 2),) * 3
    assert (config.workers, config.port, config.host) == (5, 0, "::1")
    assert (config.pipelines[0].padding, config.api_generation, config.precision) == ("exact", "2024", "bf16")
    assert (config.log_format, config.log_level) == ("json", "debug")
    assert config.limits == Limits(max_body_bytes=1 << 20, truncated_images="accept", max_pages=7)


@pytest.mark.parametrize(
    ("argv", "names", "onnx"),
    [
        ((), ["PP-OCRv6_small_det", "PP-OCRv6_small_rec"], False),
        (("--models", "paddlex"), ["PP-OCRv6_medium_det", "PP-OCRv6_medium_rec"], False),
        (
            ("--models", "paddlex", "--engine", "onnxruntime"),
            ["PP-OCRv6_medium_det", "PP-OCRv6_medium_rec"],
            True,
        ),
    ],
    ids=["starter", "paddlex", "paddlex-in-onnx"],
)
def test_whose_models(build, document, monkeypatch, tmp_path, argv, names, onnx):
    asked = []

    def resolve(self, name, directory=None, *, onnx):
        asked.append((name, onnx))
        kind = "onnx" if onnx else "pir"
        return ModelFiles(name, str(tmp_path), {kind: str(tmp_path), "params": str(tmp_path)})

    monkeypatch.setattr(ModelStore, "resolve", resolve)
    del document["SubModules"], document["engine"]
    config, _ = build(*argv)
    assert asked == [(name, onnx) for name in names]
    assert [model.name for model in config.pipelines[0].models.values()] == names


def test_a_larger_machine(build):
    config, _ = build(machine=Computer(cores=16))
    assert (len(config.devices), config.workers) == (8, 2)


def test_the_engine_option_is_stronger_than_the_yaml(build):
    with pytest.raises(ConfigError, match=r"fake_text_\w+ cannot run on engine onnxruntime: it runs onnx"):
        build("--engine", "onnxruntime")


def test_an_engine_is_needed(build, document):
    del document["engine"]
    with pytest.raises(ConfigError, match=r"no engine can run fake_text_\w+ \(paddle: it runs pir"):
        build()


def test_a_2024_yaml(build, document, tmp_path):
    models = tmp_path / "models"
    document.clear()
    document |= {
        "Global": {"pipeline_name": "OCR", "input": "x.jpg"},
        "Pipeline": {
            "text_det_model": str(models / "text_detection"),
            "text_rec_model": str(models / "text_recognition"),
        },
    }
    config, _ = build("--engine", "fake")
    assert config.pipelines[0].generation == "2024"
    assert set(config.pipelines[0].models) == {"text_detection", "text_recognition"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(use_doc_preprocesor=True), r"unknown key use_doc_preprocesor"),
        (
            lambda d: d["SubModules"]["TextDetection"].update(model_dir="/nowhere"),
            r"model folder not found: /nowhere",
        ),
        (
            lambda d: d["SubModules"]["TextDetection"].update(model_name="x"),
            r"holds model 'fake_text_detection', not 'x'",
        ),
        (
            lambda d: d["SubModules"]["TextDetection"].update(module_name="x"),
            r"module_name must be text_detection",
        ),
        (lambda d: d.update(pipeline_name="OCP"), r"unknown pipeline 'OCP'"),
        (lambda d: d.update(engine="genai_client"), r"engine genai_client cannot be used"),
        (lambda d: d.update(Serving={"visualise": True}), r"unknown key Serving\.visualise"),
    ],
    ids=["key", "folder", "name", "module", "pipeline", "engine", "serving"],
)
def test_what_a_yaml_can_get_wrong(build, document, change, message):
    change(document)
    with pytest.raises(ConfigError, match=message):
        build()


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("npu", "unknown device 'npu'"), ("cpu:", "unknown device"), ("cpu:x", "unknown device"),
        ("cpu:0", "1 to 63"), ("cpu:64", "1 to 63"), ("cpu:1,2", "N shares"), ("gpu:a", "unknown device"),
        ("gpu:-1", "unknown device"), ("gpu:1,1", "names a GPU twice"), ("", "unknown device"),
        ("GPU", "unknown device"),
    ],
)  # fmt: skip
def test_devices_that_are_none(build, device, message):
    with pytest.raises(ConfigError, match=message):
        build("--device", device)


class TestGpu:
    @pytest.fixture
    def gpus(self, monkeypatch):
        def have(count):
            monkeypatch.setattr(load_engine("fake"), "gpus", classmethod(lambda cls: count), raising=False)

        return have

    def test_default_is_the_gpu_when_it_can_be_used(self, build, gpus):
        gpus(2)
        assert [device.device for device in build()[0].devices] == ["gpu:0", "gpu:1"]

    def test_default_is_the_cpu_otherwise(self, build, gpus):
        gpus(0)
        assert {device.device for device in build()[0].devices} == {"cpu"}

    def test_the_cpu_can_be_asked_for(self, build, gpus):
        gpus(2)
        assert {device.device for device in build("--device", "cpu")[0].devices} == {"cpu"}

    def test_gpus_by_number(self, build, gpus):
        gpus(4)
        assert [device.device for device in build("--device", "gpu:3,1")[0].devices] == ["gpu:3", "gpu:1"]

    def test_a_gpu_that_is_not_there(self, build, gpus):
        gpus(2)
        with pytest.raises(ConfigError, match=r"there is no GPU 2: 2 can be used"):
            build("--device", "gpu:0,2")
        gpus(0)
        with pytest.raises(ConfigError, match=r"no GPU can be used: engine fake sees none here"):
            build("--device", "gpu")

    def test_high_performance_inference_takes_a_gpu_if_all_models_can(
        self, build, document, tmp_path, monkeypatch
    ):
        """What one engine of a GPU runs serves there; the other model of the pair has no file for any."""
        cls = load_engine("onnxruntime")
        monkeypatch.setattr(cls, "gpus", classmethod(lambda cls: 1))
        del document["engine"]
        for role in ("text_detection", "text_recognition"):
            (tmp_path / "models" / role / "inference.onnx").write_bytes(b"no model, and nobody loads it")
        config = build("--use_hpip")[0]
        assert [device.device for device in config.devices] == ["gpu:0"]
        assert set(config.pipelines[0].engines.values()) == {"onnxruntime"}
        document["SubModules"]["TextDetection"]["engine"] = "openvino"
        config = build()[0]
        document["use_hpip"] = True
        config = build()[0]
        assert {device.device for device in config.devices} == {"cpu"}
        assert set(config.pipelines[0].engines.values()) == {"openvino"}


def test_licence_options_are_noticed(build):
    for argv in (
        ["--serial_number", "X"],
        ["--update_license"],
        ["--serial_number", "X", "--update_license"],
    ):
        assert build(*argv)[1] == [
            "--serial_number and --update_license are accepted; no licence is needed here"
        ]


def test_options_and_keys_without_effect_are_noticed(build, document):
    document["Serving"] = {"extra": {"url_expires_in": 5}}
    assert build("--engine", "fake", "--use_hpip")[1] == [
        "--use_hpip has no effect beside --engine, as in PaddleX",
        "Serving.extra.url_expires_in has no effect here",
    ]
