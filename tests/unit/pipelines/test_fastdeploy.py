"""FastDeploy and ultra_infer, over a stand-in that ends the process or answers nonsense where they do."""

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from pipelines.core.config import ModelFiles
from pipelines.core.errors import EngineError
from pipelines.engines import fastdeploy as engine_module
from pipelines.engines.base import EngineOptions
from pipelines.engines.fastdeploy import FastDeployEngine
from tests import tiny, vendors
from tests.vendor import fastdeploy_backends as backends

ROOT = Path(__file__).resolve().parents[3]
SHAPES = "Hpi: {backend_configs: {tensorrt: {dynamic_shapes: {x: [[1,3,8,8], [1,3,16,16], [4,3,64,64]]}}}}"

pytestmark = pytest.mark.skipif(vendors.installed("fastdeploy"), reason="a real build is here")


@pytest.fixture
def build():
    """Makes a build of one of the packages importable: ``build("openvino,ort", "ultra_infer")``."""
    entered = []

    def make(parts, package="fastdeploy"):
        entered.append(vendors.stand_in(package, STANDIN_BUILT=parts))
        entered[-1].__enter__()

    yield make
    for each in reversed(entered):
        each.__exit__(None, None, None)


@pytest.fixture
def cpu(monkeypatch):
    """``cpu(True)`` is a CPU on which OpenVINO computes in bf16 by itself."""
    return lambda short: monkeypatch.setattr(engine_module, "openvino_computes_short", lambda: short)


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(engine_module, "nvidia_gpus", lambda: 2)
    monkeypatch.setattr(engine_module, "gpu_model", lambda index: "NVIDIA Test")
    backends.builds.clear()


def picture(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def check(engine, x=None):
    x = picture(2, 3, 16, 24) if x is None else x
    for found, expected in zip(engine.run({"x": x}), tiny.answer(x), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def both(tmp_path):
    """The tiny model as ONNX and as a Paddle program."""
    onnx, paddle = (tiny.model(kind, tmp_path) for kind in ("onnx", "pdmodel"))
    return msgspec.structs.replace(onnx, files=onnx.files | paddle.files)


@pytest.mark.parametrize("package", ["fastdeploy", "ultra_infer"])
def test_both_packages_serve(build, tmp_path, package):
    assert "neither" in FastDeployEngine.available()
    build("ort", package)
    assert FastDeployEngine.available() is None
    check(FastDeployEngine(tiny.model("onnx", tmp_path), EngineOptions()))


@pytest.mark.parametrize(
    ("parts", "kind", "precision", "short", "backend"),
    [
        ("openvino,ort", "onnx", "f32", False, "openvino"),
        ("openvino,ort", "onnx", "f32", True, "ort"),
        ("openvino,ort", "onnx", "bf16", True, "openvino"),
        ("openvino,ort", "onnx", "auto", True, "openvino"),
        ("openvino,ort,paddle", "pdmodel", "f32", False, "openvino"),
        ("openvino,ort,paddle", "pdmodel", "f32", True, "paddle"),
        ("openvino,ort", "pdmodel", "f32", True, "ort"),
        ("paddle", "pdmodel", "f32", True, "paddle"),
    ],
)
def test_the_backend_is_the_best_that_keeps_the_precision(
    build, cpu, tmp_path, caplog, parts, kind, precision, short, backend
):
    """FastDeploy cannot tell OpenVINO to compute in float32."""
    build(parts)
    cpu(short)
    with caplog.at_level(logging.INFO):
        engine = FastDeployEngine(tiny.model(kind, tmp_path), EngineOptions(precision=precision))
    assert f"on its backend {backend}" in caplog.text
    if precision == "f32" and backend != "openvino":
        check(engine)


def test_a_build_that_cannot_keep_the_precision_says_so(build, cpu, tmp_path):
    build("openvino")
    cpu(True)
    with pytest.raises(EngineError, match="computes in bf16 on this CPU, which precision f32 does not allow"):
        FastDeployEngine(tiny.model("onnx", tmp_path), EngineOptions())


def test_what_one_backend_cannot_load_goes_to_the_next(build, cpu, tmp_path, caplog):
    build("openvino,ort")
    cpu(False)
    files = both(tmp_path)
    Path(files.files["pdmodel"]).write_bytes(b"\n\x00relu6")
    Path(files.files["onnx"]).write_bytes(tiny.onnx_model().replace(b"ReduceMean", b"ReduceMoan"))
    with pytest.raises(EngineError) as caught:
        FastDeployEngine(files, EngineOptions())
    assert "\n" not in str(caught.value)
    for way in ("openvino with onnx", "openvino with pdmodel", "ort with onnx", "ort with pdmodel"):
        assert way in str(caught.value)
    Path(files.files["onnx"]).write_bytes(tiny.onnx_model())
    FastDeployEngine(files, EngineOptions()).close()


def test_a_program_whose_conversion_ends_the_process_ends_a_child(build, cpu, tmp_path):
    build("ort")
    files = tiny.model("pdmodel", tmp_path)
    with Path(files.files["pdmodel"]).open("ab") as file:
        file.write(b"\x7a\x05relu6")  # an unknown field: still a program for every reader
    with pytest.raises(EngineError, match=r"ends the process \(signal 6\): \[ERROR\] .* op: relu6"):
        FastDeployEngine(files, EngineOptions())


@pytest.mark.parametrize("gone", ["pdmodel", "params"])
@pytest.mark.parametrize("parts", ["ort", "paddle", "openvino"])
def test_a_missing_file_never_reaches_it(build, cpu, tmp_path, parts, gone):
    build(parts)
    cpu(False)
    files = tiny.model("pdmodel", tmp_path)
    Path(files.files[gone]).unlink()
    with pytest.raises(EngineError, match="is missing or cannot be read"):
        FastDeployEngine(files, EngineOptions())
    without = {kind: path for kind, path in files.files.items() if kind != gone}
    with pytest.raises(EngineError, match="fastdeploy cannot run tiny"):
        FastDeployEngine(ModelFiles("tiny", files.directory, without), EngineOptions())


def test_outputs_that_it_cannot_hand_out_are_refused_before_it_ends_the_process(build, cpu, tmp_path):
    build("ort")
    files = tiny.model("onnx", tmp_path)
    # elem_type 1 (float) of both outputs becomes 9 (bool)
    raw = tiny.onnx_model()
    at = raw.rindex(b"scores")
    Path(files.files["onnx"]).write_bytes(raw[:at] + raw[at:].replace(b"\x08\x01", b"\x08\x09"))
    with pytest.raises(EngineError, match="it hands out no bool"):
        FastDeployEngine(files, EngineOptions())


@pytest.mark.parametrize("prepare", [np.asfortranarray, lambda x: x[:, ::-1], lambda x: x[:, :, ::2]])
def test_memory_in_another_order_is_answered_right(build, tmp_path, prepare):
    build("ort")
    x = prepare(picture(2, 3, 16, 16))
    feeds = {"x": x}
    engine = FastDeployEngine(tiny.model("onnx", tmp_path), EngineOptions())
    np.testing.assert_allclose(engine.run(feeds)[0], tiny.answer(x)[0], atol=1e-5)
    assert feeds["x"] is x


def test_bytes_in_the_other_order_are_refused(build, tmp_path):
    build("ort")
    engine = FastDeployEngine(tiny.model("onnx", tmp_path), EngineOptions())
    with pytest.raises(EngineError):
        engine.run({"x": picture(1, 3, 8, 8).astype(">f4")})
    check(engine)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda: [np.empty(0, np.int8)] * 2, id="both-empty"),
        pytest.param(lambda: [], id="none"),
        pytest.param(lambda: [np.zeros((1, 4), np.float32), np.empty(0, np.int8)], id="one-empty"),
    ],
)
def test_nonsense_in_place_of_an_error_is_an_error(build, tmp_path, monkeypatch, answer):
    build("ort")
    engine = FastDeployEngine(tiny.model("onnx", tmp_path), EngineOptions())
    with monkeypatch.context() as patch:
        patch.setattr(engine._runtime, "infer", lambda feeds: answer())
        with pytest.raises(EngineError) as caught:
            engine.run({"x": picture(1, 3, 8, 8)})
        assert str(caught.value) == EngineError.default
    check(engine)


def test_outputs_in_another_order_than_their_names_are_noticed(build, cpu, tmp_path, monkeypatch):
    build("openvino")
    cpu(False)
    engine = FastDeployEngine(tiny.model("onnx", tmp_path), EngineOptions())
    infer = engine._runtime.infer
    monkeypatch.setattr(engine._runtime, "infer", lambda feeds: infer(feeds)[::-1])
    with pytest.raises(EngineError) as caught:
        engine.run({"x": picture(1, 3, 8, 8)})
    assert "another order" in str(caught.value.__cause__)


@pytest.mark.parametrize("package", ["fastdeploy", "ultra_infer"])
def test_logging_and_standard_output_stay_ours(build, tmp_path, capfd, package):
    """Builds with TensorRT configure the root logger, or take its handlers away; all of them print."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    build("ort,trt,gpu", package)
    engine = FastDeployEngine(tiny.model("onnx", tmp_path), EngineOptions())
    engine.run({"x": picture(1, 3, 8, 8)})
    assert (root.level, root.handlers) == (level, handlers)
    out, err = capfd.readouterr()
    assert out == ""
    assert "Runtime initialized" in err
    os.write(1, b"still here")
    assert capfd.readouterr().out == "still here"


def test_a_package_that_does_not_load_is_one_line(tmp_path, monkeypatch):
    for name, text in (
        ("fastdeploy", "raise RuntimeError('FastDeploy initalized failed! Error: libnvinfer.so.8')"),
        ("ultra_infer", "version = 'a stub'"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(text)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    vendors.forget()
    with pytest.raises(
        EngineError, match=r"fastdeploy cannot be imported: .*libnvinfer.so.8; ultra_infer cannot"
    ):
        FastDeployEngine(tiny.model("onnx", tmp_path / "model"), EngineOptions())
    assert FastDeployEngine.gpus() == 0
    vendors.forget()


def test_fastdeploy_2_is_another_program(tmp_path, monkeypatch):
    (tmp_path / "fastdeploy/entrypoints").mkdir(parents=True)
    (tmp_path / "fastdeploy/__init__.py").write_text("")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    vendors.forget()
    assert "neither" in FastDeployEngine.available()


def test_python_without_asserts_is_refused(build, tmp_path, monkeypatch):
    build("ort")
    without = SimpleNamespace(flags=SimpleNamespace(optimize=1), modules=sys.modules)
    monkeypatch.setattr(engine_module, "sys", without)
    with pytest.raises(EngineError, match="python -O"):
        FastDeployEngine(tiny.model("onnx", tmp_path), EngineOptions())


class TestGpu:
    """Against the interface; no GPU computes here."""

    def model(self, tmp_path, digest="a" * 64):
        files = tiny.model("onnx", tmp_path / "model")
        (tmp_path / "model/inference.yml").write_text(SHAPES)
        return msgspec.structs.replace(files, sha256={"inference.onnx": digest})

    def test_a_build_without_gpu_says_so(self, build, gpu, tmp_path):
        build("ort")
        assert FastDeployEngine.gpus() == 0
        with pytest.raises(EngineError, match="sees no GPU"):
            FastDeployEngine(self.model(tmp_path), EngineOptions("gpu:0"))

    def test_tensorrt_is_built_once_for_the_shapes_of_the_model(self, build, gpu, tmp_path):
        build("trt,ort,gpu")
        assert FastDeployEngine.gpus() == 2
        options = EngineOptions("gpu:1", cache_dir=str(tmp_path / "cache"))
        engine = FastDeployEngine(self.model(tmp_path), options)
        ((file, shapes),) = backends.builds
        assert shapes == {"x": [[1, 3, 8, 8], [1, 3, 16, 16], [4, 3, 64, 64]]}
        assert Path(file).parent == tmp_path / "cache/fastdeploy"
        check(engine)
        check(FastDeployEngine(self.model(tmp_path), options))
        assert len(backends.builds) == 1

    @pytest.mark.parametrize("other", ["digest", "precision", "gpu"])
    def test_an_engine_of_another_kind_is_built_anew(self, build, gpu, tmp_path, monkeypatch, other):
        build("trt,gpu")
        options = EngineOptions("gpu:0", cache_dir=str(tmp_path / "cache"))
        FastDeployEngine(self.model(tmp_path), options)
        if other == "gpu":
            monkeypatch.setattr(engine_module, "gpu_model", lambda index: "NVIDIA Other")
        options = msgspec.structs.replace(options, precision="fp16" if other == "precision" else "f32")
        FastDeployEngine(self.model(tmp_path, ("b" if other == "digest" else "a") * 64), options)
        assert len(backends.builds) == 2

    @pytest.mark.parametrize(
        ("precision", "half"), [("f32", False), ("fp16", True), ("auto", True), ("bf16", False)]
    )
    def test_fp16_is_a_permission(self, build, gpu, tmp_path, precision, half):
        build("trt,gpu")
        engine = FastDeployEngine(self.model(tmp_path), EngineOptions("gpu:0", precision=precision))
        assert engine._runtime.runtime_option.trt_option.enable_fp16 is half

    def test_a_shape_outside_never_builds_while_requests_wait(self, build, gpu, tmp_path):
        build("trt,gpu")
        engine = FastDeployEngine(self.model(tmp_path), EngineOptions("gpu:0"))
        for shape in ((1, 3, 7, 8), (5, 3, 8, 8), (1, 3, 8, 65)):
            with pytest.raises(EngineError):
                engine.run({"x": picture(*shape)})
        check(engine)
        assert len(backends.builds) == 1

    def test_without_shapes_the_next_backend_takes_over(self, build, gpu, tmp_path, caplog):
        build("trt,ort,gpu")
        with caplog.at_level(logging.INFO):
            check(FastDeployEngine(tiny.model("onnx", tmp_path), EngineOptions("gpu:0")))
        assert "on its backend ort" in caplog.text
        assert backends.builds == []

    def test_paddle_takes_its_programs(self, build, gpu, tmp_path):
        build("paddle,trt,gpu")
        options = EngineOptions("gpu:1", precision="fp16")
        engine = FastDeployEngine(tiny.model("pdmodel", tmp_path), options)
        option = engine._runtime.runtime_option
        assert option.paddle_infer_option.inference_precision == "float16"
        assert (option._option.device_id, int(option._option.device)) == (1, 1)
        check(engine)


MISUSE = {
    "threads": "fd.RuntimeOption().set_cpu_thread_num()",
    "backend": "fd.RuntimeOption().use_trt_backend()",
    "missing-file": "load('/nothing.onnx')",
    "int16": "load(model).infer({'x': np.zeros((1, 3, 8, 8), np.int16)})",
    "big-endian": "load(model).infer({'x': np.zeros((1, 3, 8, 8), '>f4')})",
}


@pytest.mark.parametrize("call", MISUSE.values(), ids=MISUSE)
def test_the_stand_in_ends_its_process_like_the_real_one(tmp_path, call):
    """Else the tests above would prove little."""
    code = (
        "import sys, numpy as np, fastdeploy as fd\n"
        f"model = {tiny.model('onnx', tmp_path).files['onnx']!r}\n"
        "def load(path):\n"
        "    option = fd.RuntimeOption()\n"
        "    option.set_model_path(path, '', fd.ModelFormat.ONNX)\n"
        "    option.use_ort_backend()\n"
        "    return fd.Runtime(option)\n" + call
    )
    paths = os.pathsep.join([str(vendors.VENDOR / "fastdeploy"), str(ROOT), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": paths, "STANDIN_BUILT": "ort"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == -signal.SIGABRT, done.stderr
    assert "[ERROR]" in done.stdout
