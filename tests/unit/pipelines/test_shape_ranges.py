"""Shapes for TensorRT in ``inference.yml``, and engines that are kept."""

import numpy as np
import pytest

from pipelines.core.config import ModelFiles
from pipelines.core.engine_cache import engine_file, load_or_build
from pipelines.core.errors import ConfigError
from pipelines.core.onnx_ports import read_onnx_ports
from pipelines.core.paddle_program import Port
from pipelines.core.shape_ranges import ShapeRange, first_outside, ranges_for, read_ranges
from tests import tiny

THREE = "[[1,3,8,8], [1,3,16,16], [4,3,64,64]]"
RANGE = ShapeRange((1, 3, 8, 8), (1, 3, 16, 16), (4, 3, 64, 64))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"Hpi: {{backend_configs: {{tensorrt: {{dynamic_shapes: {{x: {THREE}}}}}}}}}", {"x": RANGE}),
        (f"Hpi: {{backend_configs: {{paddle_infer: {{trt_dynamic_shapes: {{x: {THREE}}}}}}}}}", {"x": RANGE}),
        ("Global: {model_name: m}", {}),
        ("Hpi: {backend_configs: {}}", {}),
        ("Hpi: null", {}),
    ],
)
def test_ranges_are_where_paddlex_writes_them(tmp_path, text, found):
    (tmp_path / "inference.yml").write_text(text)
    assert read_ranges(str(tmp_path)) == found


def test_no_file_is_no_ranges(tmp_path):
    assert read_ranges(str(tmp_path)) == {}


@pytest.mark.parametrize(
    "value",
    [
        "[[1,3,8,8]]",
        "[[0,3,8,8], [1,3,8,8], [1,3,8,8]]",
        "[[1,3,9,9], [1,3,8,8], [1,3,9,9]]",
        "[[1,3], [1], [1,3]]",
        "7",
    ],
)
def test_a_wrong_section_is_named(tmp_path, value):
    (tmp_path / "inference.yml").write_text(
        f"Hpi: {{backend_configs: {{tensorrt: {{dynamic_shapes: {{x: {value}}}}}}}}}"
    )
    with pytest.raises(ConfigError, match=r"inference\.yml: Hpi: the shapes of x"):
        read_ranges(str(tmp_path))


def test_fixed_inputs_need_no_ranges_and_dynamic_ones_do(tmp_path):
    fixed, dynamic = Port((1, 2), "float32"), Port((-1, 3, -1, -1), "float32")
    assert ranges_for(str(tmp_path), {"scale": fixed}) == {"scale": ShapeRange((1, 2), (1, 2), (1, 2))}
    with pytest.raises(ConfigError, match="no Hpi shapes for the input x"):
        ranges_for(str(tmp_path), {"scale": fixed, "x": dynamic})


@pytest.mark.parametrize(("one", "most"), [((3, 224, 224), 8), ((96, 1), 64), ((), 64)])
def test_an_input_whose_number_alone_is_open_may_come_in_a_batch(tmp_path, one, most):
    found = ranges_for(str(tmp_path), {"x": Port((-1, *one), "float32")})
    assert found == {"x": ShapeRange((1, *one), (1, *one), (most, *one))}


def test_inputs_of_one_model_come_in_batches_of_one_size(tmp_path):
    inputs = {"image": Port((-1, 3, 416, 416), "float32"), "scale_factor": Port((-1, 2), "float32")}
    assert [each.high[0] for each in ranges_for(str(tmp_path), inputs).values()] == [8, 8]


def test_what_lies_outside_is_named():
    ranges = {"x": RANGE}
    assert first_outside(ranges, {"x": np.zeros((4, 3, 8, 64)), "y": np.zeros(9)}) is None
    for shape in ((5, 3, 8, 8), (1, 3, 7, 8), (1, 3, 8), (1, 3, 8, 65)):
        assert "x (" in first_outside(ranges, {"x": np.zeros(shape)})


def test_ports_of_an_onnx_file(tmp_path):
    files = tiny.model("onnx", tmp_path)
    inputs, outputs = read_onnx_ports(files.files["onnx"])
    assert inputs == {"x": Port((-1, 3, -1, -1), "float32")}
    assert outputs == {"scores": Port((-1, 4), "float32"), "maps": Port((-1, 4, -1, -1), "float32")}


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"not a model", b"\x3a\x00"])
def test_what_is_no_onnx_file_is_said(tmp_path, content):
    (tmp_path / "inference.onnx").write_bytes(content)
    with pytest.raises(ConfigError, match=r"inference\.onnx is not an ONNX model"):
        read_onnx_ports(str(tmp_path / "inference.onnx"))


class TestKeptEngines:
    def file(self, tmp_path, *what):
        model = ModelFiles("m", "/m", {}, {"inference.onnx": "a" * 64})
        return engine_file(str(tmp_path), "some", model, "/m/inference.onnx", *what)

    def test_everything_that_matters_is_in_the_name(self, tmp_path):
        assert self.file(tmp_path, "A100", "10.1") == self.file(tmp_path, "A100", "10.1")
        assert len({self.file(tmp_path, *what) for what in (("A100", 1), ("A100", 2), ("H100", 1))}) == 3

    def test_built_once_and_again_when_it_does_not_load(self, tmp_path):
        file, built = self.file(tmp_path), []

        def build():
            built.append(True)
            return b"good"

        def load(content):
            return content if content == b"good" else None

        assert load_or_build(file, load, build) == b"good"
        assert load_or_build(file, load, build) == b"good"
        assert len(built) == 1
        file.write_bytes(b"bad")
        assert load_or_build(file, load, build) == b"good"
        assert file.read_bytes() == b"good"
        assert len(built) == 2
        assert load_or_build(file, lambda content: None, build) is None
