"""``python -m server plan``, and a start that finds its plan."""

import os
import shutil

import msgspec
import numpy as np
import pytest
import yaml

import server.plan_command
from pipelines.core.models import ModelStore
from server.build import build_config
from server.cli import main
from server.config import NO_PLAN_YET
from server.options import parse
from server.plan_command import planning_command, table
from server.plan_file import Choice, Plan, Row, plan_path, read_plan
from tests import tiny
from tests.fakes import fake_models
from tests.plans import plan


@pytest.fixture
def argv(tmp_path):
    """Options of OCR on fake models in any precision."""
    models = fake_models(tmp_path / "models")
    modules = {
        key: {"module_name": role, "model_name": models[role].name, "model_dir": models[role].directory}
        for key, role in (("TextDetection", "text_detection"), ("TextRecognition", "text_recognition"))
    }
    flags = {"use_doc_preprocessor": False, "use_textline_orientation": False, "engine": "fake"}
    path = tmp_path / "ocr.yml"
    path.write_text(yaml.safe_dump({"pipeline_name": "OCR", "SubModules": modules} | flags))
    return ["--pipeline", str(path), "--precision", "auto", "--cache_dir", str(tmp_path / "cache")]


@pytest.fixture
def made(monkeypatch):
    """Plans that are made are given, not measured; this is the list of their facts."""
    calls = []

    def make(facts, resolved, trusted, root, say, bounds):
        calls.append(facts)
        assert set(trusted.engines.values()) == {"fake"}
        rows = tuple(Row(role, "fake", "bf16", "fastest", 1.0, {1: 2.0, 2: 1.0}) for role in facts.models)
        say(rows[0])
        return Plan(facts, {}, rows, {role: Choice("fake", "bf16") for role in facts.models})

    monkeypatch.setattr(server.plan_command, "make_plan", make)
    return calls


def test_a_plan_is_made_once_and_used_by_the_next_start(argv, made, capsys):
    def config():
        said = []
        args = parse(argv)
        return build_config(args, ModelStore(args.cache_dir), notice=said.append), said

    before, said = config()
    assert (before.plans, before.pipelines[0].precisions) == ({"ocr": NO_PLAN_YET}, {})
    assert said == ["no plan for these models here yet: fake in f32 (docs/engine-plan.md)"]

    assert main(["plan", *argv]) == 0
    first = capsys.readouterr().out
    after, said = config()
    assert said == []
    assert after.plans == {"ocr": made[0].short_key}
    assert after.pipelines[0].precisions == dict.fromkeys(("text_detection", "text_recognition"), "bf16")

    assert main(["plan", *argv]) == 0
    assert capsys.readouterr().out == first
    assert len(made) == 1

    assert main(["plan", "--replan", *argv]) == 0
    assert len(made) == 2

    path = plan_path(ModelStore(parse(argv).cache_dir).root, made[0])
    path.write_bytes(path.read_bytes()[:-20])
    again, said = config()
    assert again == before
    assert len(said) == 2 and str(path) in said[0]
    assert main(["plan", *argv]) == 0
    assert len(made) == 3 and str(path) in capsys.readouterr().err
    assert config()[0] == after


def test_nothing_to_choose_is_one_line(argv, capsys):
    argv[argv.index("auto")] = "fp32"
    assert main(["plan", *argv]) == 2
    assert capsys.readouterr().err == (
        "python -m server: nothing is left to a plan: add --use_hpip, or --precision auto\n"
    )


def test_without_high_performance_inference_nothing_is_planned(argv, made):
    argv[argv.index("auto")] = "fp32"
    args, said = parse(argv), []
    assert build_config(args, ModelStore(args.cache_dir), notice=said.append).plans == {}
    assert said == []


def test_the_table_has_every_row():
    lines = list(table(plan()))
    assert lines[0] == "ocr on cpu with 1 thread and 2 threads, precision auto"
    assert lines[1] == "a processor; openvino 2026.4"
    assert "text_detection  det  (3 runs, compared with onnxruntime in f32)" in "\n".join(lines)
    cells = [line.split() for line in lines]
    assert ["onnxruntime", "f32", "100", "30.0", "20.0", "0.0e+00", "slower"] in cells
    assert ["openvino", "f32", "300", "20.0", "10.0", "1.0e-06", "fastest"] in cells
    assert ["openvino", "bf16", "300", "9.0e-01", "wrong:", "3", "boxes", "for", "4"] in cells
    assert any(line.endswith("not installed: TensorRT is not installed") for line in lines)
    shapeless = msgspec.structs.replace(plan().rows[0], difference=None)
    assert "shapes" in "\n".join(table(msgspec.structs.replace(plan(), rows=(shapeless,))))


def test_the_command_of_a_server():
    command = planning_command(["--pipeline", "OCR", "--use_hpip"])
    assert command[-6:] == ["plan", "--pipeline", "OCR", "--use_hpip", "--for_server", str(os.getpid())]
    assert parse(command[-5:]).for_server == os.getpid()


def test_three_engines_on_a_real_net(tmp_path, capsys):
    """One net of four layers in ONNX and in Paddle's format; whichever is fastest, all three are right."""
    folder = tmp_path / "tiny"
    tiny.model("onnx", folder)
    shutil.copyfile(tiny.CASES / "pdmodel" / "inference.pdmodel", folder / "inference.pdmodel")
    shutil.copyfile(tiny.CASES / "pdmodel" / "inference.pdiparams", folder / "inference.pdiparams")
    description = {
        "Global": {"model_name": "tiny"},
        "PreProcess": {
            "transform_ops": [
                {"ResizeImage": {"size": [64, 48]}},
                {"NormalizeImage": {"mean": [0.5] * 3, "std": [0.5] * 3, "scale": 1 / 255, "order": ""}},
            ]
        },
        "PostProcess": {"Topk": {"topk": 2, "label_list": ["a", "b", "c", "d"]}},
    }
    (folder / "inference.yml").write_text(yaml.safe_dump(description))
    module = {"module_name": "image_classification", "model_name": "tiny", "model_dir": str(folder)}
    document = {"pipeline_name": "image_classification", "SubModules": {"ImageClassification": module}}
    (tmp_path / "p.yml").write_text(yaml.safe_dump(document))
    argv = ["--pipeline", str(tmp_path / "p.yml"), "--use_hpip", "--device", "cpu:1"]
    argv += ["--cache_dir", str(tmp_path / "cache")]

    assert main(["plan", *argv]) == 0
    out = capsys.readouterr().out
    args, store = parse(argv), ModelStore(tmp_path / "cache")
    config = build_config(args, store)
    facts_path = next((tmp_path / "cache" / "plans").glob("image_classification-*.json"))
    assert str(facts_path) in out
    found = _plan_at(store, args)
    rows = {row.engine: row for row in found.rows if row.load_ms is not None}
    assert {"onnxruntime", "openvino", "paddle"} <= rows.keys()
    for name in ("onnxruntime", "openvino", "paddle"):
        assert rows[name].verdict in {"fastest", "slower"}, rows[name]
        assert rows[name].difference < 1e-5 and np.all(np.array(list(rows[name].ms.values())) > 0)
    (role,) = found.choices
    assert config.pipelines[0].engines == {role: found.choices[role].engine}
    assert rows[found.choices[role].engine].verdict == "fastest"


def _plan_at(store, args):
    from server.cores import Machine
    from server.plan_facts import facts_of
    from server.resolved import resolve

    (resolved,) = resolve(args, store, Machine())
    return read_plan(store.root, facts_of(resolved))
