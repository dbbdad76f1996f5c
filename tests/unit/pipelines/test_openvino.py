"""OpenVINO's compiled models on disk, and the memory of idle forms."""

import multiprocessing

import msgspec
import numpy as np
import pytest

from pipelines.core.download import sha256_of
from pipelines.core.errors import EngineError
from pipelines.engines.base import LARGE_INPUT_BYTES, EngineOptions
from pipelines.engines.openvino import OpenVinoEngine
from tests import tiny


@pytest.fixture
def files(tmp_path):
    model = tiny.model("onnx", tmp_path / "model")
    return msgspec.structs.replace(
        model, sha256={"inference.onnx": sha256_of(tmp_path / "model/inference.onnx")}
    )


@pytest.fixture
def options(tmp_path):
    return EngineOptions(cache_dir=str(tmp_path / "cache"))


def check(engine, x=None):
    x = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32) if x is None else x
    np.testing.assert_allclose(engine.run({"x": x})[0], tiny.answer(x)[0], atol=1e-5)


def entries(tmp_path):
    """Compiled models by folder, with time and size; no other kind of folder may be there."""
    folders = [path for path in (tmp_path / "cache/openvino").iterdir() if path.suffix != ".lock"]
    assert all(path.name.startswith("tiny-") for path in folders)
    return {
        folder.name: sorted(
            (file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in folder.iterdir()
        )
        for folder in folders
    }


def test_the_second_load_takes_what_the_first_compiled(files, options, tmp_path):
    check(OpenVinoEngine(files, options))
    first = entries(tmp_path)
    assert len(first) == 1
    check(OpenVinoEngine(files, options))
    assert entries(tmp_path) == first


def test_threads_and_precision_have_their_own_entries(files, options, tmp_path):
    engine = OpenVinoEngine(files, options)
    check(engine.sibling(2))
    OpenVinoEngine(files, msgspec.structs.replace(options, precision="bf16"))
    assert len(entries(tmp_path)) == 3


def test_other_weights_are_compiled_anew(files, options, tmp_path):
    check(OpenVinoEngine(files, options))
    OpenVinoEngine(msgspec.structs.replace(files, sha256={"inference.onnx": "0" * 64}), options)
    assert len(entries(tmp_path)) == 2


@pytest.mark.parametrize("content", [b"", b"garbage" * 1000], ids=["empty", "garbage"])
def test_a_damaged_entry_does_no_harm(files, options, tmp_path, content):
    check(OpenVinoEngine(files, options))
    for blob in (tmp_path / "cache/openvino").glob("tiny-*/*"):
        blob.write_bytes(content)
    check(OpenVinoEngine(files, options))
    check(OpenVinoEngine(files, options))


@pytest.mark.parametrize("cache", [None, "/dev/null/x"], ids=["none", "not-writable"])
def test_without_a_cache(files, cache, caplog):
    check(OpenVinoEngine(files, EngineOptions(cache_dir=cache)))
    assert ("compiled models are not kept" in caplog.text) == (cache is not None)


def test_without_a_digest_nothing_is_kept(files, options, tmp_path):
    check(OpenVinoEngine(msgspec.structs.replace(files, sha256={}), options))
    assert not (tmp_path / "cache").exists()


def _load(files, options):
    check(OpenVinoEngine(files, options))


def test_two_processes_at_once(files, options, tmp_path):
    """As two devices at a first start."""
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=_load, args=(files, options)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
        assert process.exitcode == 0
    assert len(entries(tmp_path)) == 1


class Counted:
    """Stands before a compiled model and counts what is released."""

    def __init__(self, compiled):
        self.compiled, self.released = compiled, 0

    def release_memory(self):
        self.released += 1
        self.compiled.release_memory()

    def __getattr__(self, name):
        return getattr(self.compiled, name)


def counted(engine):
    """The engine, and what counts its releases."""
    engine._compiled = Counted(engine._compiled)
    return engine, engine._compiled


def picture(nbytes):
    side = int((nbytes / 12) ** 0.5)
    return np.ones((1, 3, side, side), np.float32)


def test_memory_is_given_back_once_after_large_inputs_and_never_after_small_ones(files):
    engine, counter = counted(OpenVinoEngine(files, EngineOptions()))
    check(engine)
    engine.trim()
    assert counter.released == 0
    for _ in range(2):
        engine.run({"x": picture(LARGE_INPUT_BYTES * 1.05)})
    engine.trim()
    engine.trim()
    assert counter.released == 1
    check(engine)


def test_ir_is_read(files, tmp_path):
    import openvino

    model = openvino.Core().read_model(files.files["onnx"])
    openvino.save_model(model, tmp_path / "inference.xml", compress_to_fp16=False)
    ir = msgspec.structs.replace(files, files={"ir": str(tmp_path / "inference.xml")}, sha256={})
    check(OpenVinoEngine(ir, EngineOptions()))


def test_reduced_precision_is_a_wish_and_f32_the_default(files):
    import openvino

    for precision, expected in (("f32", "f32"), ("auto", None), ("int8", "f32")):
        engine = OpenVinoEngine(files, EngineOptions(precision=precision))
        found = engine._compiled.get_property("INFERENCE_PRECISION_HINT")
        assert expected is None or found == getattr(openvino.Type, expected)
        engine.close()
    with pytest.raises(EngineError, match=r"runs on the CPU only"):
        OpenVinoEngine(files, EngineOptions(device="gpu:0"))
