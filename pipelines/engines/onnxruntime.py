"""ONNX Runtime: ONNX files on CPU, and on GPU where ``onnxruntime-gpu`` is installed.

NOT RUN ON HARDWARE: the GPU, which is written against the documented options of the CUDA provider.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
import numpy as np

from pipelines.core.config import ModelFiles
from pipelines.core.contained import contained
from pipelines.core.errors import EngineError
from pipelines.core.float_env import FloatEnv
from pipelines.core.gpus import keep_float32

from .base import LARGE_INPUT_BYTES, Engine, EngineOptions, TensorSpec, check_feeds, nvidia_gpus

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
    packages: ClassVar[tuple[str, ...]] = ("onnxruntime-gpu", "onnxruntime")

    @classmethod
    def available(cls) -> str | None:
        """See :meth:`Engine.available`."""
        if importlib.util.find_spec("onnxruntime") is None:
            return "onnxruntime is not installed: python -m pip install onnxruntime"
        return None

    @classmethod
    def precisions(cls, device: str) -> tuple[str, ...]:
        """On a GPU ``fp16`` permits TF32; the file's own types stay."""
        return ("f32",) if device == "cpu" else ("f32", "fp16")

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
            raise EngineError(f"{self.name} cannot run {files.name}: it has no ONNX file")
        import onnxruntime as ort  # noqa: PLC0415

        _register_shared_arena()
        before, self._gpu = FloatEnv(), options.device != "cpu"
        try:
            session = self._new_session(ort, files.files["onnx"])
        except EngineError:
            raise
        except Exception as error:
            reason = str(error).strip().splitlines()[0]
            raise EngineError(f"{self.name} cannot load {files.name}: {reason}") from error
        finally:
            #: With subnormal numbers as zero: ONNX Runtime switches that on for the thread that loads.
            self._inside = FloatEnv()
            before.restore()
        self._session: Any = session
        self._large = ort.RunOptions()
        arenas = f"cpu:0;{options.device}" if self._gpu else "cpu:0"
        self._large.add_run_config_entry("memory.enable_memory_arena_shrinkage", arenas)
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

    def _new_session(self, ort: Any, path: str) -> Any:
        """A session. Raises EngineError where ONNX Runtime would go on without its GPU provider."""
        if not self._gpu:
            return ort.InferenceSession(path, self._session_options(ort), providers=["CPUExecutionProvider"])
        if "CUDAExecutionProvider" not in ort.get_available_providers():
            raise EngineError("onnxruntime has no CUDA provider here: install onnxruntime-gpu in its place")
        keep_float32(self._options.precision)
        with contained():
            if hasattr(ort, "preload_dlls"):  # from 1.21: takes CUDA and cuDNN from NVIDIA's wheels
                ort.preload_dlls()
            wanted = self._gpu_providers()
            providers = [*wanted, "CPUExecutionProvider"]
            session = ort.InferenceSession(path, self._session_options(ort), providers=providers)
        missing = {name for name, _ in wanted} - set(session.get_providers())
        if missing:
            raise EngineError(
                f"onnxruntime cannot load its {' and '.join(sorted(missing))}; the log says why"
            )
        session.disable_fallback()
        return session

    def _gpu_providers(self) -> list[tuple[str, dict[str, Any]]]:
        """Providers by preference with their options; the CPU comes last by itself."""
        index = int(self._options.device.partition(":")[2] or 0)
        settings = {
            "device_id": index,
            # Shapes change with every page: EXHAUSTIVE, the default, would search for each of them.
            "cudnn_conv_algo_search": "HEURISTIC",
            "use_tf32": int(self._options.precision != "f32"),
        }
        return [("CUDAExecutionProvider", settings)]

    def sibling(self, threads: int) -> OnnxRuntimeEngine:
        """Another session. ONNX Runtime repacks weights per session: 46 MB for the four OCR models."""
        return OnnxRuntimeEngine(self._files, msgspec.structs.replace(self._options, threads=threads))

    def run(self, feeds: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        """See :meth:`Engine.run`."""
        if self._session is None:
            raise EngineError("the engine is closed")
        large = sum(array.nbytes for array in feeds.values()) > LARGE_INPUT_BYTES
        if self._gpu:
            check_feeds(feeds, self.inputs)  # binding takes what it is given
        return self._run(feeds, self._large if large else None)

    def _run(self, feeds: Mapping[str, np.ndarray], options: Any) -> Sequence[np.ndarray]:
        before = FloatEnv()
        self._inside.restore()
        try:
            if self._gpu:
                return self._run_bound(feeds, options)
            outputs: Sequence[np.ndarray] = self._session.run(None, feeds, options)
        except Exception as error:
            raise EngineError from error
        finally:
            before.restore()
        return outputs

    def _run_bound(self, feeds: Mapping[str, np.ndarray], options: Any) -> Sequence[np.ndarray]:
        """Inputs go to the GPU once and outputs come from it once, whichever nodes run on the CPU."""
        binding = self._session.io_binding()
        for name, array in feeds.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(array))
        for spec in self.outputs:
            binding.bind_output(spec.name)
        self._session.run_with_iobinding(binding, options)
        outputs: Sequence[np.ndarray] = binding.copy_outputs_to_cpu()
        return outputs

    def close(self) -> None:
        """See :meth:`Engine.close`."""
        self._session = None


ENGINE = OnnxRuntimeEngine
