"""The GPU side of ONNX Runtime and Paddle: which calls are made. The CPU computes, over the real packages."""

import importlib
import importlib.metadata
import sys
import types
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime as ort
import pytest

from pipelines.core.errors import EngineError
from pipelines.core.registry import load_engine
from pipelines.engines import onnxruntime as ort_engine
from pipelines.engines import paddle as paddle_engine
from pipelines.engines.base import EngineOptions
from pipelines.engines.onnxruntime import OnnxRuntimeEngine
from pipelines.engines.onnxruntime_tensorrt import OnnxRuntimeTensorRtEngine
from pipelines.engines.paddle import PaddleEngine
from pipelines.engines.paddle_tensorrt import PaddleTensorRtEngine
from tests import tiny

RANGES = "Hpi: {backend_configs: {tensorrt: {dynamic_shapes: {x: [[1,3,8,8], [1,3,16,16], [4,3,64,64]]}}}}"
#: Provider options that ONNX Runtime documents, of which these engines use some.
DOCUMENTED = {
    "CUDAExecutionProvider": {"device_id", "cudnn_conv_algo_search", "use_tf32", "arena_extend_strategy"},
    "TensorrtExecutionProvider": {
        "device_id",
        "trt_max_workspace_size",
        "trt_fp16_enable",
        "trt_int8_enable",
        "trt_engine_cache_enable",
        "trt_engine_cache_path",
        "trt_profile_min_shapes",
        "trt_profile_opt_shapes",
        "trt_profile_max_shapes",
    },
}


@pytest.fixture(autouse=True)
def one_gpu(monkeypatch):
    monkeypatch.setattr(ort_engine, "nvidia_gpus", lambda: 1)
    monkeypatch.setattr(paddle_engine, "nvidia_gpus", lambda: 1)
    monkeypatch.setattr("pipelines.engines.paddle_tensorrt.gpu_model", lambda index: "NVIDIA Test")
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)


def picture(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def check(engine, shape=(2, 3, 16, 24)):
    x = picture(*shape)
    for found, expected in zip(engine.run({"x": x}), tiny.answer(x), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def model(kind, tmp_path, name="inference.onnx"):
    files = tiny.model(kind, tmp_path / "model")
    (tmp_path / "model/inference.yml").write_text(RANGES)
    return msgspec.structs.replace(files, sha256={name: "a" * 64})


@pytest.mark.parametrize("name", ["tensorrt", "onnxruntime_tensorrt", "paddle_tensorrt"])
def test_what_a_plan_can_ask(name, tmp_path):
    engine, files = (
        load_engine(name),
        tiny.model("pdmodel" if "paddle" in name else "onnx", tmp_path / "model"),
    )
    assert engine.precisions("cpu") == ()
    assert engine.precisions("gpu:0")[0] == "f32"
    assert "Hpi shapes" in engine.refuses(files)
    (tmp_path / "model/inference.yml").write_text(RANGES)
    assert engine.refuses(files) is None
    (tmp_path / "model/inference.yml").write_text(
        "Hpi: {backend_configs: {tensorrt: {dynamic_shapes: {x: [1]}}}}"
    )
    assert "three lists" in engine.refuses(files)


def test_versions_are_those_of_what_computes(monkeypatch):
    found = {"tensorrt-cu12": "10.16.0.1", "onnxruntime-gpu": "1.32.0"}

    def version(package):
        if package not in found:
            raise importlib.metadata.PackageNotFoundError(package)
        return found[package]

    monkeypatch.setattr("importlib.metadata.version", version)
    assert load_engine("tensorrt").precisions("gpu:0") == ("f32", "fp16")
    assert OnnxRuntimeTensorRtEngine.version() == "tensorrt-cu12 10.16.0.1 in onnxruntime-gpu 1.32.0"
    found["tensorrt-cu12"] = "11.4.0.1"
    assert load_engine("tensorrt").precisions("gpu:0") == ("f32",)
    assert OnnxRuntimeEngine.precisions("gpu:0") == ("f32", "fp16")
    assert load_engine("fastdeploy").precisions("gpu:0") == ("f32", "fp16")


class TestOnnxRuntime:
    @pytest.fixture
    def sessions(self, monkeypatch):
        """A GPU build of ONNX Runtime: providers and options of each session, which computes on the CPU."""
        made, real = [], ort.InferenceSession
        lost = set()

        class Session:
            def __init__(self, path, settings, providers):
                for name, options in providers[:-1]:
                    assert set(options) <= DOCUMENTED[name], name
                    assert all(isinstance(value, str | int | bool) for value in options.values())
                assert providers[-1] == "CPUExecutionProvider"
                made.append(dict(providers[:-1]))
                self._names = [name for name in (*made[-1], providers[-1]) if name not in lost]
                self._real = real(path, settings, providers=["CPUExecutionProvider"])

            def get_providers(self):
                return self._names

            def __getattr__(self, name):
                return getattr(self._real, name)

        monkeypatch.setattr(ort, "InferenceSession", Session)
        monkeypatch.setattr(ort, "get_available_providers", lambda: [*DOCUMENTED, "CPUExecutionProvider"])
        return types.SimpleNamespace(made=made, lost=lost)

    @pytest.mark.parametrize(("precision", "tf32"), [("f32", 0), ("fp16", 1)])
    def test_cuda(self, sessions, tmp_path, monkeypatch, precision, tf32):
        import os

        assert OnnxRuntimeEngine.gpus() == 1
        engine = OnnxRuntimeEngine(model("onnx", tmp_path), EngineOptions("gpu:1", precision=precision))
        ((name, options),) = sessions.made[0].items()
        assert name == "CUDAExecutionProvider"
        assert (options["device_id"], options["use_tf32"]) == (1, tf32)
        assert os.environ.get("NVIDIA_TF32_OVERRIDE") == (None if tf32 else "0")
        check(engine)
        check(engine.sibling(2), (1, 3, 8, 8))

    @pytest.mark.parametrize(
        "feeds",
        [
            pytest.param(lambda x: {}, id="nothing"),
            pytest.param(lambda x: {"y": x}, id="another-name"),
            pytest.param(lambda x: {"x": x[:, :2]}, id="channels"),
            pytest.param(lambda x: {"x": x.astype(np.float64)}, id="float64"),
        ],
    )
    def test_wrong_feeds_are_not_bound(self, sessions, tmp_path, feeds):
        engine = OnnxRuntimeEngine(model("onnx", tmp_path), EngineOptions("gpu:0"))
        with pytest.raises(EngineError):
            engine.run(feeds(picture(1, 3, 8, 8)))
        check(engine)

    def test_a_provider_that_does_not_load_is_no_silent_cpu(self, sessions, tmp_path):
        sessions.lost.add("CUDAExecutionProvider")
        with pytest.raises(EngineError, match="cannot load its CUDAExecutionProvider"):
            OnnxRuntimeEngine(model("onnx", tmp_path), EngineOptions("gpu:0"))

    @pytest.fixture
    def tensorrt(self, tmp_path, monkeypatch):
        (tmp_path / "lib").mkdir()
        (tmp_path / "lib/tensorrt.py").write_text("")
        monkeypatch.syspath_prepend(tmp_path / "lib")
        monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
        yield
        sys.modules.pop("tensorrt", None)

    def test_tensorrt_goes_before_cuda_with_the_shapes_of_the_model(self, sessions, tensorrt, tmp_path):
        assert OnnxRuntimeTensorRtEngine.gpus() == 1
        options = EngineOptions("gpu:0", precision="fp16", cache_dir=str(tmp_path / "cache"))
        engine = OnnxRuntimeTensorRtEngine(model("onnx", tmp_path), options)
        assert list(sessions.made[0]) == ["TensorrtExecutionProvider", "CUDAExecutionProvider"]
        trt = sessions.made[0]["TensorrtExecutionProvider"]
        assert trt["trt_fp16_enable"] is True
        assert [trt[f"trt_profile_{each}_shapes"] for each in ("min", "opt", "max")] == [
            "x:1x3x8x8",
            "x:1x3x16x16",
            "x:4x3x64x64",
        ]
        assert Path(trt["trt_engine_cache_path"]).is_dir()
        check(engine.sibling(1))
        with pytest.raises(EngineError) as caught:
            engine.run({"x": picture(5, 3, 8, 8)})
        assert "is not between" in str(caught.value.__cause__)

    def test_without_shapes_or_gpu_it_says_so(self, sessions, tensorrt, tmp_path):
        files = tiny.model("onnx", tmp_path / "bare")
        with pytest.raises(EngineError, match=r"no Hpi shapes for the input x"):
            OnnxRuntimeTensorRtEngine(files, EngineOptions("gpu:0"))
        with pytest.raises(EngineError, match="GPUs only"):
            OnnxRuntimeTensorRtEngine(files, EngineOptions())


class TestPaddle:
    @pytest.fixture
    def calls(self, monkeypatch):
        """Paddle's real Config takes every call; only what a CPU build cannot do is answered for it."""
        paddle_engine.import_paddle()
        inference = importlib.import_module("paddle").inference
        made = []

        class Config:
            def __init__(self, program, params):
                self._real, self.calls = inference.Config(program, params), []
                self._range_file = None
                made.append(self.calls)

            def use_gpu(self):
                return any(name == "enable_use_gpu" for name, *_ in self.calls)

            def enable_tensorrt_engine(
                self,
                workspace_size,
                max_batch_size,
                min_subgraph_size,
                precision_mode,
                use_static,
                use_calib_mode,
            ):
                assert isinstance(precision_mode, inference.PrecisionType)
                self.calls.append(("enable_tensorrt_engine", precision_mode, use_static, use_calib_mode))

            def collect_shape_range_info(self, path):
                self.calls.append(("collect_shape_range_info", path))
                self._range_file = Path(path)

            def enable_tuned_tensorrt_dynamic_shape(self, path, allow_build_at_runtime):
                assert Path(path).is_file()
                self.calls.append(("enable_tuned_tensorrt_dynamic_shape", path, allow_build_at_runtime))

            def __getattr__(self, name):
                real = getattr(self._real, name)

                def call(*arguments):
                    self.calls.append((name, *arguments))
                    return real(*arguments)

                return call

        def create_predictor(config):
            if config._range_file:
                config._range_file.write_text("ranges")
            config._real.disable_gpu()
            return inference.create_predictor(config._real)

        fake = types.SimpleNamespace(
            Config=Config, create_predictor=create_predictor, PrecisionType=inference.PrecisionType
        )
        monkeypatch.setattr(importlib.import_module("paddle"), "inference", fake)
        monkeypatch.setattr(PaddleEngine, "gpus", classmethod(lambda cls: 1))
        return made

    @pytest.mark.parametrize("kind", ["pir", "pdmodel"])
    @pytest.mark.parametrize(("precision", "half"), [("f32", False), ("fp16", True), ("bf16", False)])
    def test_gpu(self, calls, tmp_path, kind, precision, half):
        check(PaddleEngine(tiny.model(kind, tmp_path), EngineOptions("gpu:1", precision=precision)))
        names = [name for name, *_ in calls[0]]
        (use,) = [call for call in calls[0] if call[0] == "enable_use_gpu"]
        assert (use[2], use[3].name) == (1, "Half" if half else "Float32")
        assert names.index("exp_disable_mixed_precision_ops") < names.index("enable_use_gpu")
        assert "enable_new_executor" in names  # without it the memory pass fails on PIR files
        assert "enable_mkldnn" not in names

    def test_a_build_for_the_cpu_is_noticed(self, monkeypatch, tmp_path):
        monkeypatch.setattr(PaddleEngine, "gpus", classmethod(lambda cls: 1))
        with pytest.raises(EngineError, match="cannot use the GPU"):
            PaddleEngine(tiny.model("pdmodel", tmp_path), EngineOptions("gpu:0"))

    def test_tensorrt_collects_shapes_once_and_keeps_its_engines(self, calls, tmp_path):
        files = model("pdmodel", tmp_path, "inference.pdmodel")
        options = EngineOptions("gpu:0", precision="fp16", cache_dir=str(tmp_path / "cache"))
        engine = PaddleTensorRtEngine(files, options)
        check(engine)
        collecting, serving = calls
        assert "collect_shape_range_info" in [name for name, *_ in collecting]
        found = {name: rest for name, *rest in serving}
        precision, use_static, use_calib = found["enable_tensorrt_engine"]
        assert (precision.name, use_static, use_calib) == ("Half", True, False)
        assert found["enable_tuned_tensorrt_dynamic_shape"][1] is False
        assert Path(found["set_optim_cache_dir"][0]).is_relative_to(tmp_path / "cache/paddle_tensorrt")
        check(engine.sibling(2))
        assert len(calls) == 3  # nothing was collected again

    def test_tensorrt_without_a_cache_leaves_nothing(self, calls, tmp_path):
        engine = PaddleTensorRtEngine(model("pdmodel", tmp_path), EngineOptions("gpu:0"))
        folder = Path({name: rest for name, *rest in calls[1]}["set_optim_cache_dir"][0]).parent
        assert not folder.exists()
        with pytest.raises(EngineError) as caught:
            engine.run({"x": picture(1, 3, 8, 65)})
        assert "is not between" in str(caught.value.__cause__)

    def test_tensorrt_without_shapes_or_gpu_says_so(self, calls, tmp_path):
        files = tiny.model("pdmodel", tmp_path)
        with pytest.raises(EngineError, match="has no Hpi shapes"):
            PaddleTensorRtEngine(files, EngineOptions("gpu:0"))
        with pytest.raises(EngineError, match="GPUs only"):
            PaddleTensorRtEngine(files, EngineOptions())
        with pytest.raises(EngineError, match="paddle_tensorrt cannot run tiny"):
            PaddleTensorRtEngine(tiny.model("pir", tmp_path / "pir"), EngineOptions("gpu:0"))
