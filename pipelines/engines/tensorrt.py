"""TensorRT 10 and 11 on NVIDIA GPUs: ONNX, built once per GPU into an engine that is kept.

NOT RUN ON HARDWARE. Written against the Python bindings of 10.16 and 11.4, and tested over a strict stand-in.
Without CUDA graphs: nobody has seen such a capture run here.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import msgspec
import numpy as np

from pipelines.core.config import ModelFiles
from pipelines.core.contained import contained, import_contained, last_line
from pipelines.core.cuda import Buffer, Cuda, CudaError, cuda_device, missing_binding, tensor_bytes
from pipelines.core.engine_cache import engine_file, load_or_build
from pipelines.core.errors import EngineError
from pipelines.core.gpus import gpu_model, keep_float32
from pipelines.core.onnx_ports import read_onnx_ports
from pipelines.core.precision_flags import set_precision
from pipelines.core.shape_ranges import first_outside, lacks_ranges, ranges_for

from .base import LARGE_INPUT_BYTES, Engine, EngineOptions, TensorSpec, check_feeds, nvidia_gpus

#: Memory that the builder may take for a layer's scratch space: TensorRT's and FastDeploy's usual figure.
_WORKSPACE = 1 << 30

_log = logging.getLogger(__name__)


@functools.cache
def _tensorrt() -> Any:
    """The package. Raises ImportError without its libraries: PyPI's ``tensorrt`` alone is a shell."""
    return import_contained("tensorrt")


@functools.cache
def _logger() -> Any:
    """TensorRT's messages in our log; ``reason`` is the last error, the only place where it says what failed.

    TensorRT keeps the first logger of a process for good, so there is one.
    """
    trt = _tensorrt()

    class Log(trt.ILogger):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.reason = "it does not say why"

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.Logger.INTERNAL_ERROR, trt.Logger.ERROR):
                self.reason = message
                _log.warning("TensorRT: %s", message)
            elif severity == trt.Logger.WARNING:
                _log.debug("TensorRT: %s", message)

    return Log()


class _Loaded(NamedTuple):
    """An engine, which siblings share, and what must live as long."""

    engine: Any
    runtime: Any


def _loaded(plan: bytes) -> _Loaded | None:
    """None for a plan of another GPU or release."""
    runtime = _tensorrt().Runtime(_logger())
    engine = runtime.deserialize_cuda_engine(plan)
    return None if engine is None else _Loaded(engine, runtime)


class TensorRtEngine(Engine):
    """An execution context with pinned buffers. One stream serves all models of a process."""

    name: ClassVar[str] = "tensorrt"
    formats: ClassVar[tuple[str, ...]] = ("onnx",)
    packages: ClassVar[tuple[str, ...]] = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12")

    @classmethod
    def available(cls) -> str | None:
        """See :meth:`Engine.available`."""
        if importlib.util.find_spec("tensorrt") is not None:
            return missing_binding()
        return "TensorRT is not installed; the extra 'tensorrt' brings it: pip install -e '.[tensorrt]'"

    @classmethod
    def gpus(cls) -> int:
        """GPUs of this machine, where TensorRT loads."""
        if cls.available() is not None or nvidia_gpus() == 0:
            return 0
        with contextlib.suppress(ImportError):  # its libraries are not there, or not for this driver
            return nvidia_gpus() if _tensorrt() else 0
        return 0

    @classmethod
    def precisions(cls, device: str) -> tuple[str, ...]:
        """fp16 too, up to TensorRT 10: later ones compute in the types of the ONNX file."""
        short = ("fp16",) if cls.version().partition(" ")[2].startswith("10.") else ()
        return () if device == "cpu" else ("f32", *short)

    @classmethod
    def refuses(cls, files: ModelFiles) -> str | None:
        """It builds for known shapes only."""
        return lacks_ranges(files)

    def __init__(self, files: ModelFiles, options: EngineOptions) -> None:
        self._open(files, options)

    def _open(self, files: ModelFiles, options: EngineOptions, shared: _Loaded | None = None) -> None:
        self._files, self._options, self._swollen = files, options, False
        self._context: Any = None
        self._receivers: dict[str, Any] = {}
        if "onnx" not in files.files:
            raise EngineError(f"tensorrt cannot run {files.name}: it has no ONNX file")
        if not options.device.startswith("gpu"):
            raise EngineError("tensorrt runs on GPUs only")
        self._index = int(options.device.partition(":")[2] or 0)
        try:
            with contained():
                keep_float32(options.precision)
                self._cuda: Cuda = cuda_device(self._index)
                self._cuda.use()
                self._ports, _ = read_onnx_ports(files.files["onnx"])
                self._ranges = ranges_for(files.directory, self._ports)
                self._shared: _Loaded | None = shared or self._load()
                self._describe(self._shared.engine)
                self._context = self._new_context(self._shared.engine)
        except Exception as error:
            raise EngineError(f"tensorrt cannot load {files.name}: {last_line(error)}") from error
        self._buffers = {spec.name: Buffer(self._cuda) for spec in (*self.inputs, *self.outputs)}

    def _load(self) -> _Loaded:
        """The engine, from the cache or built and put there. Raises EngineError."""
        where = (gpu_model(self._index), _tensorrt().__version__)
        how = (self._options.precision, sorted(self._ranges.items()))
        program = self._files.files["onnx"]
        file = engine_file(self._options.cache_dir, self.name, self._files, program, where, how)
        loaded = load_or_build(file, _loaded, self._build)
        if loaded is None:
            raise EngineError(_logger().reason)
        return loaded

    def _build(self) -> bytes:
        """The serialized engine: minutes for a large model. Raises EngineError."""
        trt, path = _tensorrt(), self._files.files["onnx"]
        builder = trt.Builder(_logger())
        network = builder.create_network(0)
        parser = trt.OnnxParser(network, _logger())
        if not parser.parse_from_file(path):
            errors = [parser.get_error(i).desc() for i in range(parser.num_errors)]
            raise EngineError("; ".join(errors) or _logger().reason)
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE)
        quantized = b"QuantizeLinear" in Path(path).read_bytes()
        set_precision(trt.BuilderFlag, config, self._options.precision, quantized)
        dynamic = [name for name, port in self._ports.items() if -1 in port.shape]
        if dynamic:
            profile = builder.create_optimization_profile()
            for name in dynamic:
                profile.set_shape(name, *self._ranges[name])
            config.add_optimization_profile(profile)
        _log.info("%s: TensorRT builds its engine, which may take minutes", self._files.name)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise EngineError(_logger().reason)
        return bytes(plan)

    def _new_context(self, engine: Any) -> Any:
        context = engine.create_execution_context()
        if context is None:
            raise EngineError(f"no memory for its activations: {_logger().reason}")
        if any(-1 in spec.shape for spec in self.inputs):
            self._check(context.set_optimization_profile_async(0, self._cuda.stream))
            self._cuda.synchronize()
        return context

    def _describe(self, engine: Any) -> None:
        trt = _tensorrt()
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        dtypes = [np.dtype(trt.nptype(engine.get_tensor_dtype(name))).name for name in names]
        shapes = [tuple(engine.get_tensor_shape(name)) for name in names]
        specs = tuple(map(TensorSpec, names, shapes, dtypes))
        given = {name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT}
        self.inputs = tuple(spec for spec in specs if spec.name in given)
        self.outputs = tuple(spec for spec in specs if spec.name not in given)

    def sibling(self, threads: int) -> TensorRtEngine:
        """Another context of the same engine: threads mean nothing on a GPU."""
        twin = TensorRtEngine.__new__(TensorRtEngine)
        twin._open(self._files, msgspec.structs.replace(self._options, threads=threads), self._shared)
        return twin

    def run(self, feeds: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        """See :meth:`Engine.run`."""
        if self._context is None:
            raise EngineError("the engine is closed")
        check_feeds(feeds, self.inputs)
        if (reason := first_outside(self._ranges, feeds)) is not None:
            raise EngineError from ValueError(reason)
        self._swollen = self._swollen or sum(array.nbytes for array in feeds.values()) > LARGE_INPUT_BYTES
        try:
            self._cuda.use()
            return self._run(feeds)
        except Exception as error:
            with contextlib.suppress(CudaError):  # nothing may be under way when the buffers are used again
                self._cuda.synchronize()
            raise EngineError from error

    def _run(self, feeds: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        context = self._context
        for spec in self.inputs:
            self._upload(spec, feeds[spec.name])
        if missing := context.infer_shapes():
            raise ValueError(f"TensorRT misses shapes of {missing}")
        shapes = {spec.name: tuple(context.get_tensor_shape(spec.name)) for spec in self.outputs}
        for spec in self.outputs:
            unknown = -1 in shapes[spec.name]  # the data decide
            self._buffers[spec.name].fit(0 if unknown else tensor_bytes(shapes[spec.name], spec.dtype))
            self._bind(spec.name)
            if unknown and spec.name not in self._receivers:
                self._receivers[spec.name] = _receiver(self._buffers[spec.name])
                self._check(context.set_output_allocator(spec.name, self._receivers[spec.name]))
        self._check(context.execute_async_v3(self._cuda.stream))
        if self._receivers:
            self._cuda.synchronize()
            shapes |= {name: receiver.shape for name, receiver in self._receivers.items()}
        answers = []
        for spec in self.outputs:
            buffer = self._buffers[spec.name]
            answers.append(buffer.view(shapes[spec.name], spec.dtype))
            self._cuda.download(answers[-1], buffer.address)
        self._cuda.synchronize()
        return answers

    def _upload(self, spec: TensorSpec, array: np.ndarray) -> None:
        buffer = self._buffers[spec.name]
        buffer.fit(array.nbytes)
        staged = buffer.view(array.shape, spec.dtype)
        np.copyto(staged, array)
        self._cuda.upload(buffer.address, staged)
        self._check(self._context.set_input_shape(spec.name, tuple(array.shape)))
        self._bind(spec.name)

    def _bind(self, name: str) -> None:
        self._check(self._context.set_tensor_address(name, self._buffers[name].address))

    @staticmethod
    def _check(fine: bool) -> None:
        if not fine:
            raise ValueError(_logger().reason)

    def trim(self) -> None:
        """See :meth:`Engine.trim`: pinned memory is what hurts others most."""
        if self._swollen and self._context is not None:
            for buffer in self._buffers.values():
                buffer.close()
        self._swollen = False

    def close(self) -> None:
        """See :meth:`Engine.close`. The engine itself goes with its last context."""
        if self._context is not None:
            for buffer in self._buffers.values():
                buffer.close()
        self._context = self._shared = None


def _receiver(buffer: Buffer) -> Any:
    """Takes an output whose size only the data tell (boxes that are left after suppression)."""
    trt = _tensorrt()

    class Receiver(trt.IOutputAllocator):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            trt.IOutputAllocator.__init__(self)
            self.shape: tuple[int, ...] = ()

        def reallocate_output_async(
            self, tensor_name: str, memory: int, size: int, alignment: int, stream: int
        ) -> int:
            buffer.fit(size)  # cudaMalloc aligns to 256 bytes, more than any kernel asks for
            return buffer.address

        def notify_shape(self, tensor_name: str, shape: Sequence[int]) -> None:
            self.shape = tuple(shape)

    return Receiver()


ENGINE = TensorRtEngine
