"""OpenVINO on CPU: ONNX, Paddle's ``.pdmodel`` and its own IR; the engine of ``--use_hpip``."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import logging
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np

from pipelines.core.config import ModelFiles
from pipelines.core.cpu import reduced_precisions
from pipelines.core.download import locked
from pipelines.core.errors import EngineError

from .base import LARGE_INPUT_BYTES, Engine, EngineOptions, TensorSpec

#: Executors that a model keeps for shapes it has seen; a recogniser needs about 25 per shape. Without
#: a bound (OpenVINO's default is 5000) 200 line widths took 560 MB. 27 widths in random order: 12.3 s and
#: 162 MB of heap unbounded, 12.7 s with 1000, 12.8 s with 600 (132 MB), 12.9 s with 400 (127 MB).
RUNTIME_CACHE = 500
#: EngineOptions.precision to OpenVINO's hint; its own default would be bf16 where the CPU has it.
PRECISIONS = {"f32": "f32", "bf16": "bf16", "fp16": "f16", "auto": "dynamic"}

_log = logging.getLogger(__name__)


@functools.cache
def _core() -> Any:
    """The process's OpenVINO core: one plugin and one thread pool for all models."""
    import openvino  # noqa: PLC0415 - frameworks are loaded by devices only

    return openvino.Core()


class OpenVinoEngine(Engine):
    """A compiled model with one inference request. Inputs are read in place."""

    name: ClassVar[str] = "openvino"
    formats: ClassVar[tuple[str, ...]] = ("onnx", "ir", "pdmodel")
    packages: ClassVar[tuple[str, ...]] = ("openvino",)

    @classmethod
    def available(cls) -> str | None:
        """See :meth:`Engine.available`."""
        if importlib.util.find_spec("openvino") is None:
            return "OpenVINO is not installed; the extra 'hpip' brings it: python -m pip install -e '.[hpip]'"
        return None

    @classmethod
    def precisions(cls, device: str) -> tuple[str, ...]:
        """See :meth:`Engine.precisions`."""
        return ("f32", *reduced_precisions()) if device == "cpu" else ()

    def __init__(self, files: ModelFiles, options: EngineOptions) -> None:
        self._files, self._options = files, options
        self._swollen = False
        if options.device != "cpu":
            raise EngineError("openvino runs on the CPU only here")
        kind = next((kind for kind in self.formats if kind in files.files), None)
        if kind is None:
            raise EngineError(f"openvino cannot run {files.name}: it has no ONNX, .pdmodel or IR file")
        try:
            self._compiled = self._compile(files.files[kind])
            self._request: Any = self._compiled.create_infer_request()
        except Exception as error:
            reason = str(error).strip().splitlines()[-1]
            raise EngineError(f"openvino cannot load {files.name}: {reason}") from error
        self.inputs, self.outputs = _specs(self._compiled.inputs), _specs(self._compiled.outputs)

    def _settings(self) -> dict[str, Any]:
        return {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": self._options.threads,
            "INFERENCE_PRECISION_HINT": PRECISIONS.get(self._options.precision, "f32"),
            # Two one-thread processes that are both pinned to the first core would share it.
            "ENABLE_CPU_PINNING": False,
            "CPU_RUNTIME_CACHE_CAPACITY": RUNTIME_CACHE,
        }

    def _compile(self, path: str) -> Any:
        """The compiled model: from the cache, or compiled and put there, or without one."""
        core, settings = _core(), self._settings()
        try:
            folder = self._cache_folder(path)
            if folder is not None:
                with locked(folder.with_suffix(".lock")):
                    return _compile_cached(core, path, settings, folder)
        except OSError as error:
            _log.warning("compiled models are not kept: %s", error)
        return core.compile_model(path, "CPU", settings)

    def _cache_folder(self, path: str) -> Path | None:
        """Where this model is kept in this form, for this CPU and this OpenVINO; None: nowhere."""
        digest = self._files.sha256.get(Path(path).name)
        if self._options.cache_dir is None or digest is None:
            return None
        import openvino  # noqa: PLC0415

        # OpenVINO finds its own entry by the path, so that belongs to the key as well.
        cpu = _core().get_property("CPU", "FULL_DEVICE_NAME")
        what = (digest, path, openvino.__version__, cpu, sorted(self._settings().items()))
        key = hashlib.sha256(repr(what).encode()).hexdigest()[:24]
        folder = Path(self._options.cache_dir) / "openvino" / f"{self._files.name}-{key}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        return folder

    def sibling(self, threads: int) -> OpenVinoEngine:
        """The model compiled for another thread count: 40 MB for the four OCR models."""
        options = msgspec.structs.replace(self._options, threads=threads)
        return OpenVinoEngine(self._files, options)

    def run(self, feeds: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        """See :meth:`Engine.run`."""
        if self._request is None:
            raise EngineError("the engine is closed")
        try:
            self._swollen = self._swollen or sum(array.nbytes for array in feeds.values()) > LARGE_INPUT_BYTES
            return self._run(feeds)
        except Exception as error:
            raise EngineError from error

    def _run(self, feeds: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        import openvino  # noqa: PLC0415

        if len(feeds) != len(self.inputs):
            raise ValueError(f"inputs {sorted(feeds)} where {len(self.inputs)} are wanted")
        held = []  # OpenVINO keeps only the address
        for name, array in feeds.items():
            # Sharing needs a writable array; nothing writes to it.
            shared = array.flags.c_contiguous and array.flags.writeable
            held.append(array if shared else array.copy())
            self._request.set_tensor(name, openvino.Tensor(held[-1], shared_memory=True))
        self._request.infer()
        return [self._request.get_output_tensor(i).data for i in range(len(self.outputs))]

    def trim(self) -> None:
        """See :meth:`Engine.trim`."""
        if self._swollen and self._compiled is not None:
            self._compiled.release_memory()
        self._swollen = False

    def close(self) -> None:
        """See :meth:`Engine.close`."""
        self._request = self._compiled = None


def _compile_cached(core: Any, path: str, settings: dict[str, Any], folder: Path) -> Any:
    """Compile with a cache folder that only ever holds whole entries (the caller holds its lock)."""
    if folder.exists():
        try:
            return core.compile_model(path, "CPU", settings | {"CACHE_DIR": str(folder)})
        except RuntimeError as error:
            _log.warning("dropping a compiled model that does not load: %s", error)
            shutil.rmtree(folder)
    staged = Path(tempfile.mkdtemp(prefix=".compile-", dir=folder.parent))
    try:
        compiled = core.compile_model(path, "CPU", settings | {"CACHE_DIR": str(staged)})
        staged.rename(folder)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return compiled


def _specs(ports: Sequence[Any]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            port.get_any_name(),
            tuple(-1 if size.is_dynamic else size.get_length() for size in port.get_partial_shape()),
            np.dtype(port.get_element_type().to_dtype()).name,
        )
        for port in ports
    )


ENGINE = OpenVinoEngine
