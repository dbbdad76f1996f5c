"""What every engine promises, on one tiny model whose answer is known; new engines are picked up by name."""

import contextlib
import gc
import itertools
from pathlib import Path

import numpy as np
import pytest

from pipelines.core.config import ModelFiles
from pipelines.core.errors import EngineError
from pipelines.core.registry import engine_names, load_engine
from pipelines.engines.base import LARGE_INPUT_BYTES, EngineOptions
from tests import tiny, vendors

#: They run on GPUs only, inside packages that are here in a form for the CPU (test_gpu_engines.py).
ON_GPU = ("onnxruntime_tensorrt", "paddle_tensorrt")
#: ``fake`` computes rules, not nets; it has its own tests.
ENGINES = [
    name for name in engine_names() if name != "fake" and (name not in ON_GPU or load_engine(name).gpus() > 0)
]
PAIRS = [
    pytest.param(name, kind, id=f"{name}-{kind}")
    for name in ENGINES
    for kind in load_engine(name).formats
    if kind in {"onnx", "pdmodel", "pir"}
]
#: float32 sums over 27 products
TOLERANCE = 1e-5
#: Engines whose package no index has, or that need a GPU: strict stand-ins take the place of what is missing.
STAND_INS = {"fastdeploy": {"STANDIN_BUILT": "openvino,ort,paddle"}, "tensorrt": {"STANDIN_TENSORRT": "10"}}
#: For what shapes TensorRT is to build, as PaddleX writes it.
RANGES = (
    "Hpi: {backend_configs: {tensorrt: {dynamic_shapes: {x: [[1,3,1,1], [1,3,64,64], [8,3,1024,1024]]}}}}"
)


@pytest.fixture(scope="module", autouse=True)
def packages():
    """Every engine has its package, real or not."""
    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        for name, environment in STAND_INS.items():
            if not vendors.installed(name):
                stack.enter_context(vendors.stand_in(name, **environment))
                if name == "tensorrt":
                    patch.setattr("pipelines.engines.tensorrt.nvidia_gpus", lambda: 1)
        yield


def model(kind, folder):
    files = tiny.model(kind, folder)
    (folder / "inference.yml").write_text(RANGES)
    return files


def options(name, **settings):
    """On the CPU where the engine runs there."""
    return EngineOptions(device="gpu:0" if "tensorrt" in name else "cpu", **settings)


def picture(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """Engines of the tiny model, one per (name, format), closed at the end."""
    loaded = {}

    def get(name, kind):
        if (name, kind) not in loaded:
            files = model(kind, tmp_path_factory.mktemp(kind))
            loaded[name, kind] = load_engine(name)(files, options(name, threads=1))
        return loaded[name, kind]

    yield get
    for engine in loaded.values():
        engine.close()


def check(engine, x):
    results = engine.run({engine.inputs[0].name: x})
    for found, expected in zip(results, tiny.answer(x), strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def resident_kb():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Rss:"))


@pytest.mark.parametrize("name", ENGINES)
def test_engine_is_installed_with_the_test_extra(name):
    cls = load_engine(name)
    assert cls.available() is None
    assert cls.name == name
    assert cls.formats


@pytest.mark.parametrize(("name", "kind"), PAIRS)
class TestEngine:
    def test_specs_say_what_the_file_says(self, load, name, kind):
        engine = load(name, kind)
        assert [(spec.shape, spec.dtype) for spec in engine.inputs] == [((-1, 3, -1, -1), "float32")]
        assert [spec.dtype for spec in engine.outputs] == ["float32", "float32"]
        assert [spec.shape for spec in engine.outputs] == [(-1, 4), (-1, 4, -1, -1)]
        assert engine.inputs[0].name == "x"

    def test_answer(self, load, name, kind):
        check(load(name, kind), picture(2, 3, 9, 13))

    def test_dynamic_shapes_in_any_order(self, load, name, kind):
        for shape in ((1, 3, 1, 1), (3, 3, 40, 8), (1, 3, 8, 40), (2, 3, 33, 65), (1, 3, 1, 1)):
            check(load(name, kind), picture(*shape))

    def test_input_is_left_as_it_was(self, load, name, kind):
        x = picture(1, 3, 16, 16)
        before = x.copy()
        check(load(name, kind), x)
        assert np.array_equal(x, before)

    def test_arithmetic_of_the_caller_stays_as_it_was(self, load, name, kind, tmp_path):
        """Engines like to flush subnormal numbers to zero, and to leave the thread like that."""
        subnormal = np.full(3, 1e-45, np.float32)
        engine = load_engine(name)(model(kind, tmp_path), options(name))
        assert (subnormal * np.float32(1)).all()
        engine.run({"x": picture(1, 3, 8, 8)})
        assert (subnormal * np.float32(1)).all()
        with pytest.raises(EngineError):
            engine.run({"x": picture(1, 2, 8, 8)})
        assert (subnormal * np.float32(1)).all()
        engine.close()

    def test_input_that_must_not_be_written(self, load, name, kind):
        x = picture(1, 3, 16, 16)
        x.flags.writeable = False
        check(load(name, kind), x)

    def test_result_belongs_to_the_last_input(self, load, name, kind):
        engine = load(name, kind)
        first, second = picture(1, 3, 16, 16, seed=1), picture(1, 3, 16, 16, seed=2)
        check(engine, first)
        check(engine, second)
        # The caller's memory is used again and again (a stage's scratch tensor).
        first[...] = second
        check(engine, first)

    @pytest.mark.parametrize(
        "feeds",
        [
            pytest.param(lambda x: {}, id="nothing"),
            pytest.param(lambda x: {"y": x}, id="another-name"),
            pytest.param(lambda x: {"x": x, "y": x}, id="one-too-many"),
            pytest.param(lambda x: {"x": x[0]}, id="rank"),
            pytest.param(lambda x: {"x": np.ascontiguousarray(x[:, :2])}, id="channels"),
            pytest.param(lambda x: {"x": x.astype(np.float64)}, id="float64"),
            pytest.param(lambda x: {"x": (x * 255).astype(np.uint8)}, id="uint8"),
        ],
    )
    def test_wrong_feeds_are_engine_errors_and_harm_nothing(self, load, name, kind, feeds):
        engine = load(name, kind)
        with pytest.raises(EngineError) as caught:
            engine.run(feeds(picture(1, 3, 8, 8)))
        assert str(caught.value) == EngineError.default  # nothing of the framework reaches a client
        check(engine, picture(1, 3, 8, 8))

    def test_sibling_answers_alike_and_lives_on_its_own(self, load, name, kind):
        engine = load(name, kind)
        sibling = engine.sibling(2)
        assert sibling.inputs == engine.inputs
        x = picture(2, 3, 32, 48)
        for _ in range(3):  # the two forms take turns in a device
            check(engine, x)
            check(sibling, x)
        sibling.close()
        check(engine, x)

    def test_closing_twice_does_no_harm_and_a_closed_engine_says_so(self, load, name, kind):
        engine = load(name, kind).sibling(1)
        engine.close()
        engine.close()
        with pytest.raises(EngineError, match="closed"):
            engine.run({"x": picture(1, 3, 8, 8)})

    def test_memory_stays_flat(self, load, name, kind):
        engine = load(name, kind)
        shapes = [(1, 3, 16 * (1 + i % 4), 16 * (1 + i // 4)) for i in range(16)]
        pictures = [picture(*shape) for shape in shapes]

        def rounds(count):
            for _ in range(count):
                for x in pictures:
                    engine.run({"x": x})
            gc.collect()
            return resident_kb()

        after = [rounds(10), *(rounds(40) for _ in range(3))]
        # One float32 map kept per run would be 5 MB in every 40 rounds; what else this process does is not.
        assert min(later - before for before, later in itertools.pairwise(after)) < 3000


@pytest.mark.parametrize("name", ENGINES)
class TestLoading:
    def test_a_format_it_does_not_run(self, name, tmp_path):
        cls = load_engine(name)
        kind = next(kind for kind in ("pir", "onnx") if kind not in cls.formats)
        with pytest.raises(EngineError, match=f"{name} cannot run tiny"):
            cls(model(kind, tmp_path), options(name))

    @pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"not a model"], ids=["empty", "zeros", "text"])
    def test_a_broken_file(self, name, tmp_path, content):
        cls = load_engine(name)
        kind = "onnx" if "onnx" in cls.formats else "pdmodel"
        files = model(kind, tmp_path)
        Path(files.files[kind]).write_bytes(content)
        with pytest.raises(EngineError, match=f"{name} cannot load tiny") as caught:
            cls(files, options(name))
        assert "\n" not in str(caught.value)

    def test_a_missing_file(self, name, tmp_path):
        cls = load_engine(name)
        kind = "onnx" if "onnx" in cls.formats else "pdmodel"
        files = model(kind, tmp_path)
        gone = {each: path + ".gone" for each, path in files.files.items()}
        with pytest.raises(EngineError):
            cls(ModelFiles(files.name, files.directory, gone), options(name))

    def test_a_gpu_that_is_not_there(self, name, tmp_path):
        cls = load_engine(name)
        if cls.gpus():
            pytest.skip("there is a GPU")
        kind = "onnx" if "onnx" in cls.formats else "pdmodel"
        with pytest.raises(EngineError):
            cls(model(kind, tmp_path), EngineOptions(device="gpu:0"))


@pytest.mark.parametrize("name", ENGINES)
def test_precision_that_may_be_reduced_stays_near(name, tmp_path):
    """``bf16`` is a permission: engines without it compute in float32."""
    cls = load_engine(name)
    kind = "onnx" if "onnx" in cls.formats else "pdmodel"
    engine = cls(model(kind, tmp_path), options(name, precision="bf16"))
    x = picture(1, 3, 24, 24)
    scores = engine.run({"x": x})[0]
    engine.close()
    np.testing.assert_allclose(scores, tiny.answer(x)[0], atol=2e-2)


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_a_large_input_is_answered_and_its_memory_given_back(name, kind, tmp_path):
    """Before and after :meth:`Engine.trim`, which may be called at any time between runs."""
    side = int((LARGE_INPUT_BYTES * 1.1 / 12) ** 0.5)
    engine = load_engine(name)(
        model(kind, tmp_path / "model"), options(name, cache_dir=str(tmp_path / "cache"))
    )
    x = picture(1, 3, side, side)
    expected = tiny.answer(x)
    for _ in range(2):
        engine.trim()
        scores, maps = engine.run({"x": x})
        np.testing.assert_allclose(scores, expected[0], atol=TOLERANCE)
        np.testing.assert_allclose(maps, expected[1], atol=TOLERANCE)
        engine.trim()
        small = picture(1, 3, 16, 16)
        np.testing.assert_allclose(engine.run({"x": small})[0], tiny.answer(small)[0], atol=TOLERANCE)
    engine.close()
    engine.trim()
