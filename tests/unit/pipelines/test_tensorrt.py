"""TensorRT and CUDA over stand-ins that check every call; no GPU computes here."""

import gc
import importlib

import msgspec
import numpy as np
import pytest

from pipelines.core.cuda import Buffer, CudaError, cuda_device
from pipelines.core.errors import EngineError
from pipelines.engines import tensorrt as engine_module
from pipelines.engines.base import LARGE_INPUT_BYTES, EngineOptions
from pipelines.engines.tensorrt import TensorRtEngine
from tests import tiny, vendors

RANGES = (
    "Hpi: {backend_configs: {tensorrt: {dynamic_shapes: {x: [[1,3,8,8], [1,3,32,32], [4,3,1024,1024]]}}}}"
)

pytestmark = pytest.mark.skipif(vendors.installed("tensorrt"), reason="a real TensorRT is here")


@pytest.fixture(params=["10", "11"])
def trt(request, monkeypatch):
    """The stand-in of each version; nothing may be left on the GPU or pinned when engines are closed."""
    monkeypatch.setattr(engine_module, "nvidia_gpus", lambda: 2)
    monkeypatch.setattr(engine_module, "gpu_model", lambda index: "NVIDIA Test")
    with vendors.stand_in("tensorrt", STANDIN_TENSORRT=request.param):
        yield importlib.import_module("tensorrt")


@pytest.fixture
def cudart(trt):
    return importlib.import_module("cuda.bindings.runtime")


@pytest.fixture
def files(tmp_path):
    made = tiny.model("onnx", tmp_path / "model")
    (tmp_path / "model/inference.yml").write_text(RANGES)
    return msgspec.structs.replace(made, sha256={"inference.onnx": "a" * 64})


@pytest.fixture
def options(tmp_path):
    return EngineOptions("gpu:1", cache_dir=str(tmp_path / "cache"))


def picture(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def check(engine, x=None):
    x = picture(2, 3, 16, 24) if x is None else x
    for found, expected in zip(engine.run({"x": x}), tiny.answer(x), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_answers_come_through_pinned_memory_and_one_stream(trt, cudart, files, options):
    engine = TensorRtEngine(files, options)
    twin = engine.sibling(2)
    for _ in range(2):
        check(engine)
        check(twin, picture(1, 3, 8, 8))
    assert cudart.current == [1]
    assert len(cudart.streams) == 1
    assert len(trt.builds) == 1  # siblings share the engine
    engine.close()
    check(twin)
    twin.close()
    assert (cudart.device, cudart.pinned) == ({}, {})


def test_a_built_engine_is_kept(trt, files, options):
    check(TensorRtEngine(files, options))
    check(TensorRtEngine(files, options))
    ((_, shapes),) = trt.builds
    assert shapes == {"x": [[1, 3, 8, 8], [1, 3, 32, 32], [4, 3, 1024, 1024]]}


@pytest.mark.parametrize("other", ["model", "gpu", "version", "precision", "shapes"])
def test_an_engine_for_something_else_is_another_one(trt, files, options, tmp_path, monkeypatch, other):
    TensorRtEngine(files, options)
    if other == "model":
        files = msgspec.structs.replace(files, sha256={"inference.onnx": "b" * 64})
    elif other == "gpu":
        monkeypatch.setattr(engine_module, "gpu_model", lambda index: "NVIDIA Other")
    elif other == "version":
        monkeypatch.setattr(trt, "__version__", "10.99")
    elif other == "precision":
        options = msgspec.structs.replace(options, precision="fp16")
    else:
        (tmp_path / "model/inference.yml").write_text(RANGES.replace("1024", "512"))
    TensorRtEngine(files, options)
    assert len(trt.builds) == 2


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, b"PLAN\x02\x00\x00\x00{}"])
def test_a_kept_engine_that_does_not_load_is_built_again(trt, files, options, tmp_path, content):
    TensorRtEngine(files, options)
    (kept,) = (tmp_path / "cache/tensorrt").glob("*.engine")
    if content.startswith(b"PLAN"):  # of another release
        content = kept.read_bytes().replace(trt.__version__.encode(), b"99.9.9")
    kept.write_bytes(content)
    check(TensorRtEngine(files, options))
    assert len(trt.builds) == 2
    check(TensorRtEngine(files, options))
    assert len(trt.builds) == 2


def test_without_a_cache_or_a_digest_nothing_is_kept(trt, files, options, tmp_path):
    check(TensorRtEngine(files, msgspec.structs.replace(options, cache_dir=None)))
    check(TensorRtEngine(msgspec.structs.replace(files, sha256={}), options))
    assert len(trt.builds) == 2
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("precision", "flags_of_10", "flags_of_11"),
    [
        ("f32", set(), set()),
        ("fp16", {"FP16", "TF32"}, {"TF32"}),
        ("auto", {"FP16", "TF32"}, {"TF32"}),
        ("bf16", {"BF16", "TF32"}, {"TF32"}),
        ("int8", {"TF32"}, {"TF32"}),
    ],
)
def test_precision_is_a_permission(trt, files, options, precision, flags_of_10, flags_of_11):
    """Float32 means that: no TF32. Version 11 has no flags for half precision."""
    check(TensorRtEngine(files, msgspec.structs.replace(options, precision=precision)))
    ((flags, _),) = trt.builds
    assert flags == (flags_of_10 if trt.MAJOR == 10 else flags_of_11)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("build", "Network has dynamic"), ("context", "no memory for its activations")],
)
def test_none_from_tensorrt_is_an_error_of_one_line(trt, files, options, fault, reason):
    trt.refuses.add(fault)
    with pytest.raises(EngineError, match=rf"tensorrt cannot load tiny: .*{reason}") as caught:
        TensorRtEngine(files, options)
    assert "\n" not in str(caught.value)


def test_false_from_a_run_is_an_error_and_the_next_run_is_fine(trt, files, options):
    engine = TensorRtEngine(files, options)
    trt.refuses.add("run")
    with pytest.raises(EngineError) as caught:
        engine.run({"x": picture(1, 3, 8, 8)})
    assert "Parameter check failed" in str(caught.value.__cause__)
    trt.refuses.clear()
    check(engine)


@pytest.mark.parametrize("call", ["cudaMalloc", "cudaMallocHost", "cudaMemcpyAsync", "cudaStreamSynchronize"])
def test_a_failing_cuda_call_is_an_error_and_the_next_run_is_fine(trt, cudart, files, options, call):
    engine = TensorRtEngine(files, options)
    cudart.failing[call] = "cudaErrorMemoryAllocation"
    with pytest.raises(EngineError) as caught:
        engine.run({"x": picture(1, 3, 8, 8)})
    assert call in str(caught.value.__cause__)
    del caught
    check(engine)
    engine.close()
    gc.collect()
    assert (cudart.device, cudart.pinned) == ({}, {})


def test_a_cuda_error_that_stays_ends_the_process(trt, cudart, monkeypatch, caplog):
    """Else this device would fail every request while the others serve."""
    device = cuda_device(0)
    ended = []
    monkeypatch.setattr("pipelines.core.cuda.os.abort", lambda: ended.append(True))
    cudart.failing["cudaStreamSynchronize"] = "cudaErrorIllegalAddress"
    with pytest.raises(CudaError):
        device.synchronize()
    assert ended == [True]
    assert "cudaErrorIllegalAddress" in caplog.text


def test_an_output_whose_size_the_data_tell(trt, files, options):
    trt.data_dependent.add("maps")
    engine = TensorRtEngine(files, options)
    for shape in ((1, 3, 8, 8), (2, 3, 64, 48), (1, 3, 16, 16)):
        check(engine, picture(*shape))


def test_shapes_outside_are_refused(trt, files, options):
    engine = TensorRtEngine(files, options)
    for shape in ((1, 3, 7, 8), (5, 3, 8, 8), (1, 3, 8, 1025)):
        with pytest.raises(EngineError) as caught:
            engine.run({"x": picture(*shape)})
        assert "is not between" in str(caught.value.__cause__)
    check(engine)
    assert len(trt.builds) == 1


def test_a_model_without_shapes_says_so(trt, options, tmp_path):
    with pytest.raises(EngineError, match=r"inference.yml has no Hpi shapes for the input x"):
        TensorRtEngine(tiny.model("onnx", tmp_path), options)


def test_memory_of_a_large_run_is_given_back_and_taken_again(trt, cudart, files, options):
    engine = TensorRtEngine(files, options)
    check(engine)
    engine.trim()
    assert cudart.pinned
    large = picture(1, 3, *[int((LARGE_INPUT_BYTES * 1.1 / 12) ** 0.5)] * 2)
    check(engine, large)
    engine.trim()
    assert (cudart.device, cudart.pinned) == ({}, {})
    check(engine)


def test_the_cpu_and_other_formats_are_refused(trt, files, options, tmp_path):
    with pytest.raises(EngineError, match="runs on GPUs only"):
        TensorRtEngine(files, EngineOptions())
    with pytest.raises(EngineError, match="tensorrt cannot run tiny"):
        TensorRtEngine(tiny.model("pdmodel", tmp_path), options)


def test_a_result_outlives_its_engine(trt, cudart, files, options):
    engine = TensorRtEngine(files, options)
    x = picture(1, 3, 8, 8)
    scores = engine.run({"x": x})[0]
    engine.close()
    np.testing.assert_allclose(scores, tiny.answer(x)[0], atol=1e-5)
    assert len(cudart.pinned) == 1
    del scores
    assert (cudart.device, cudart.pinned) == ({}, {})


def test_what_is_missing_is_named(monkeypatch):
    assert "the extra 'tensorrt'" in TensorRtEngine.available()
    assert TensorRtEngine.gpus() == 0


def test_a_tensorrt_without_its_libraries_has_no_gpus(monkeypatch, tmp_path):
    (tmp_path / "tensorrt.py").write_text(
        "raise ImportError('libnvinfer.so.10: cannot open shared object file')"
    )
    monkeypatch.setattr(engine_module, "nvidia_gpus", lambda: 1)
    monkeypatch.setattr(engine_module, "missing_binding", lambda: None)
    monkeypatch.syspath_prepend(tmp_path)
    vendors.forget()
    assert TensorRtEngine.gpus() == 0
    vendors.forget()


def test_a_buffer_grows_and_is_freed_once(trt, cudart):
    buffer = Buffer(cuda_device(0))
    buffer.fit(1000)
    first = buffer.address
    buffer.fit(1024)
    assert buffer.address == first
    buffer.fit(5000)
    assert buffer.address != first
    assert buffer.size >= 5000
    with pytest.raises(CudaError):
        buffer.view((3000,), "float32")
    buffer.close()
    buffer.close()
    assert (cudart.device, cudart.pinned) == ({}, {})
