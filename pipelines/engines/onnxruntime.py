"""ONNX Runtime: ONNX files on CPU, and on GPU where ``onnxruntime-gpu`` is installed."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
import numpy as np

from pipelines.core.config import ModelFiles
from pipelines.core.errors import EngineError
from pipelines.core.float_env import FloatEnv

from .base import LARGE_INPUT_BYTES, Engine, EngineOptions, TensorSpec, nvidia_gpus

if TYPE_CHECKING:
    import onnxruntime

#: ONNX Runtime's words for element types to NumPy's.
_DTYPES = {"float": "float32", "double": "float64", "bool": "bool", "float16": "float16"}


def _dtype(kind: str) -> str:
    name = kind.removeprefix("tensor(").removesuffix(")")
    return _DTYPES.get(name, name)


def _specs(nodes: Sequence[Any]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            node.name,
            tuple(n if isinstance(n, int) and n >= 0 else -1 for n in node.shape),
            _dtype(node.type),
        )
        for node in nodes
    )


@functools.cache
def _register_shared_arena() -> None:
    """One arena for all sessions of this process.

    A device runs one model at a time, so the sum of the sessions' peaks is never needed: measured on
    PP-OCRv4 in two forms with pages up to 1600 x 2016 px, 617 MB resident and flat, against 1350 MB
    with an arena per session. ONNX Runtime keeps it in its process-wide environment, hence the cache.
    Doubling regions (strategy 0): exact ones fragment when shapes vary (1126 MB in the same run).
    """
    import onnxruntime as ort  # noqa: PLC0415 - frameworks are loaded by devices only

    where = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    settings = {
        "max_mem": 0,
        "arena_extend_strategy": 0,
        "initial_chunk_size_bytes": -1,
        "max_dead_bytes_per_chunk": -1,
    }
    ort.create_and_register_allocator(where, ort.OrtArenaCfg(settings))


class OnnxRuntimeEngine(Engine):
    """An inference session. Inputs are read in place, outputs are views of the session's memory."""

    name: ClassVar[str] = "onnxruntime"
    formats: ClassVar[tuple[str, ...]] = ("onnx",)

    @classmethod
    def available(cls) -> str | None:
        """See :meth:`Engine.available`."""
        if importlib.util.find_spec("onnxruntime") is None:
            return "onnxruntime is not installed: python -m pip install onnxruntime"
        return None

    @classmethod
    def gpus(cls) -> int:
        """GPUs that the CUDA provider can see; 0 with the CPU build."""
        if cls.available() is not None or nvidia_gpus() == 0:
            return 0
        import onnxruntime as ort  # noqa: PLC0415

        return nvidia_gpus() if "CUDAExecutionProvider" in ort.get_available_providers() else 0

    def __init__(self, files: ModelFiles, options: EngineOptions) -> None:
        self._files, self._options = files, options
        if "onnx" not in files.files:
            raise EngineError(f"onnxruntime cannot run {files.name}: it has no ONNX file")
        import onnxruntime as ort  # noqa: PLC0415

        _register_shared_arena()
        before = FloatEnv()
        try:
            session = ort.InferenceSession(
                files.files["onnx"], self._session_options(ort), providers=self._providers(ort)
            )
        except EngineError:
            raise
        except Exception as error:
            reason = str(error).strip().splitlines()[0]
            raise EngineError(f"onnxruntime cannot load {files.name}: {reason}") from error
        finally:
            #: With subnormal numbers as zero: ONNX Runtime switches that on for the thread that loads.
            self._inside = FloatEnv()
            before.restore()
        self._session: Any = session
        self._large = ort.RunOptions()
        self._large.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self.inputs, self.outputs = _specs(session.get_inputs()), _specs(session.get_outputs())

    def _session_options(self, ort: Any) -> onnxruntime.SessionOptions:
        settings = ort.SessionOptions()
        settings.log_severity_level = 3
        settings.intra_op_num_threads = self._options.threads
        settings.inter_op_num_threads = 1
        settings.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        # ALL adds the NCHWc layout: a third faster than EXTENDED on detection; PP-OCRv6 recognition
        # differs from the unoptimised graph by 4e-6 with equal argmax.
        settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        # Plans memory per input shape, and keeps every plan: shapes vary with each page here.
        settings.enable_mem_pattern = False
        settings.add_session_config_entry("session.use_env_allocators", "1")
        # Several threads wait for each other's part of a layer in a loop: to sleep and be woken takes longer
        # than a layer of a small model (one picture on two threads: 2.5 ms, else 3.5, and more CPU time).
        # Idle threads must not take cycles from the other devices on the same cores: that ends with the run.
        settings.add_session_config_entry(
            "session.intra_op.allow_spinning", str(int(self._options.threads > 1))
        )
        settings.add_session_config_entry("session.force_spinning_stop", "1")
        # PP-OCRv6's detector is full of them: 247 ms a page, 675 ms without.
        settings.add_session_config_entry("session.set_denormal_as_zero", "1")
        return settings

    def _providers(self, ort: Any) -> list[Any]:
        if self._options.device == "cpu":
            return ["CPUExecutionProvider"]
        if "CUDAExecutionProvider" not in ort.get_available_providers():
            raise EngineError("onnxruntime has no CUDA provider here: install onnxruntime-gpu in its place")
        index = int(self._options.device.partition(":")[2] or 0)
        return [("CUDAExecutionProvider", {"device_id": index}), "CPUExecutionProvider"]

    def sibling(self, threads: int) -> OnnxRuntimeEngine:
        """Another session. ONNX Runtime repacks weights per session: 46 MB for the four OCR models."""
        return OnnxRuntimeEngine(self._files, msgspec.structs.replace(self._options, threads=threads))

    def run(self, feeds: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        """See :meth:`Engine.run`."""
        if self._session is None:
            raise EngineError("the engine is closed")
        large = sum(array.nbytes for array in feeds.values()) > LARGE_INPUT_BYTES
        return self._run(feeds, self._large if large else None)

    def _run(self, feeds: Mapping[str, np.ndarray], options: Any) -> Sequence[np.ndarray]:
        before = FloatEnv()
        self._inside.restore()
        try:
            outputs: Sequence[np.ndarray] = self._session.run(None, feeds, options)
        except Exception as error:
            raise EngineError from error
        finally:
            before.restore()
        return outputs

    def close(self) -> None:
        """See :meth:`Engine.close`."""
        self._session = None


ENGINE = OnnxRuntimeEngine
