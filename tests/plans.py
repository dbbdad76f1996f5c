"""Plans of a test: facts, rows and choices without any engine."""

from server.plan_facts import Facts, Subject
from server.plan_file import Choice, Plan, Row

MODELS = {
    "text_detection": Subject(
        "det", {"inference.onnx": "a" * 64}, "onnxruntime", ("onnxruntime", "openvino")
    ),
    "text_recognition": Subject("rec", {"inference.onnx": "b" * 64}, "onnxruntime", ("openvino",)),
}


def facts(**changes):
    known = {
        "version": 1, "package": "1.0", "pipeline": "ocr", "settings": "0" * 64, "examples": "1" * 64,
        "device": "cpu", "threads": 1, "all_threads": 2, "precision": "auto",
        "machine": ("a processor", "flags 0"), "libraries": {"openvino": "openvino 2026.4"}, "models": MODELS,
    }  # fmt: skip
    return Facts(**known | changes)


def plan(about=None):
    rows = (
        Row("text_detection", "onnxruntime", "f32", "slower", 100.0, {1: 30.0, 2: 20.0}, 0.0),
        Row("text_detection", "openvino", "f32", "fastest", 300.0, {1: 20.0, 2: 10.0}, 1e-6),
        Row("text_detection", "openvino", "bf16", "wrong", 300.0, {}, 0.9, "3 boxes for 4"),
        Row("text_recognition", "openvino", "bf16", "fastest", 300.0, {1: 5.0, 2: 4.0}, 0.01),
        Row("text_recognition", "tensorrt", "", "not installed", note="TensorRT is not installed"),
    )
    choices = {
        "text_detection": Choice("openvino", "f32"),
        "text_recognition": Choice("openvino", "bf16"),
    }
    return Plan(about or facts(), {"text_detection": 3, "text_recognition": 46}, rows, choices)
