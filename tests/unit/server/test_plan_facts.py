"""What makes a plan void: another model, setting, library or machine."""

import msgspec
import pytest

from pipelines.core import cpu
from pipelines.core.config import ModelFiles
from pipelines.core.registry import load_engine
from pipelines.core.yaml_config import ModelChoice, PipelineSpec
from server import plan_facts
from server.config import DeviceConfig
from server.plan_facts import facts_of
from server.plan_file import plan_path
from server.resolved import Resolved

MODEL = ModelFiles("m", "/m", {"onnx": "/m/inference.onnx"}, {"inference.onnx": "a" * 64})


def resolved(**changes):
    spec = PipelineSpec("ocr", "OCR", "v3", {"thresh": 0.3}, {"text_detection": ModelChoice("m")})
    known = {
        "spec": spec, "models": {"text_detection": MODEL}, "absent": {},
        "engines": {"text_detection": "openvino"},
        "open_roles": ("text_detection",), "devices": (DeviceConfig("cpu", 1, 2),), "precision": "f32",
    }  # fmt: skip
    return Resolved(**known | changes)


def test_equal_facts_have_one_file(tmp_path):
    assert facts_of(resolved()) == facts_of(resolved())
    path = plan_path(tmp_path, facts_of(resolved()))
    assert path == plan_path(tmp_path, facts_of(resolved()))
    assert path.parent == tmp_path / "plans" and path.name.startswith("ocr-")


@pytest.mark.parametrize(
    "change",
    [
        {"models": {"text_detection": msgspec.structs.replace(MODEL, sha256={"inference.onnx": "b" * 64})}},
        {"spec": PipelineSpec("ocr", "OCR", "v3", {"thresh": 0.4}, {"text_detection": ModelChoice("m")})},
        {"precision": "bf16"},
        {"open_roles": ()},
        {"devices": (DeviceConfig("cpu", 2, 2),)},
        {"devices": (DeviceConfig("gpu:0"),)},
    ],
    ids=["model", "settings", "precision", "engine", "threads", "device"],
)
def test_what_is_asked_for_counts(tmp_path, change):
    one, other = facts_of(resolved()), facts_of(resolved(**change))
    assert one != other and plan_path(tmp_path, one) != plan_path(tmp_path, other)


def test_where_a_model_lies_and_how_many_devices_there_are_does_not_count():
    moved = msgspec.structs.replace(MODEL, directory="/n", files={"onnx": "/n/inference.onnx"})
    twice = (DeviceConfig("cpu", 1, 2),) * 2
    assert facts_of(resolved(models={"text_detection": moved}, devices=twice)) == facts_of(resolved())


@pytest.mark.parametrize(
    ("target", "name", "value"),
    [
        (load_engine("openvino"), "version", classmethod(lambda cls: "openvino 1.0")),
        (plan_facts, "cpu_name", lambda: "another processor"),
        (plan_facts, "cpu_flags", lambda: frozenset({"avx9"})),
        (plan_facts.examples, "digest", lambda: "0" * 64),
        (plan_facts, "VERSION", 0),
    ],
    ids=["library", "processor", "flags", "examples", "code"],
)
def test_what_is_there_counts(monkeypatch, target, name, value):
    before = facts_of(resolved())
    monkeypatch.setattr(target, name, value)
    assert facts_of(resolved()) != before


def test_every_engine_but_the_fake_one_is_a_candidate_where_none_is_asked_for():
    (subject,) = facts_of(resolved()).models.values()
    assert {"onnxruntime", "openvino", "paddle"} <= set(subject.candidates)
    assert "fake" not in subject.candidates
    assert subject.reference == "onnxruntime"
    (subject,) = facts_of(resolved(open_roles=())).models.values()
    assert subject.candidates == ("openvino",)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx2", ()),
        ("fpu avx512_bf16", ("bf16",)),
        ("amx_bf16 amx_fp16", ("bf16", "fp16")),
        ("avx512_fp16", ("fp16",)),
    ],
)
def test_reduced_precisions_are_those_of_the_processor(monkeypatch, flags, expected):
    monkeypatch.setattr(cpu, "_described", lambda: {"flags": flags, "model name": "x"})
    assert cpu.reduced_precisions() == expected
    assert load_engine("openvino").precisions("cpu") == ("f32", *expected)
    assert load_engine("openvino").precisions("gpu:0") == ()
    assert load_engine("onnxruntime").precisions("cpu") == ("f32",)
    assert set(load_engine("paddle").precisions("cpu")) == {"f32"} | ({"bf16"} & set(expected))
