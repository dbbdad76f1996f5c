"""Paddle Inference: Paddle's own programs, ``.pdmodel`` and PIR ``.json``; the reference engine.

NOT RUN ON HARDWARE: the GPU, which is written against the calls that PaddleX 3.7.2 makes.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import msgspec
import numpy as np

from pipelines.core.config import ModelFiles
from pipelines.core.cpu import reduced_precisions
from pipelines.core.errors import ConfigError, EngineError
from pipelines.core.gpus import keep_float32
from pipelines.core.paddle_program import Port, read_ports

from .base import LARGE_INPUT_BYTES, Engine, EngineOptions, TensorSpec, check_feeds, nvidia_gpus

#: Shapes for which oneDNN keeps its primitives, PaddleX's own figure.
ONEDNN_CACHE = 10
#: MB of GPU memory taken at the start; it grows.
GPU_START_MB = 100

_INSTALL = "the extra 'paddle' brings it: python -m pip install -e '.[paddle]'"


class PaddleEngine(Engine):
    """A predictor. Paddle copies inputs and outputs."""

    name: ClassVar[str] = "paddle"
    formats: ClassVar[tuple[str, ...]] = ("pir", "pdmodel")
    packages: ClassVar[tuple[str, ...]] = ("paddlepaddle-gpu", "paddlepaddle")

    @classmethod
    def available(cls) -> str | None:
        """None when a release is installed that runs these models.

        3.3 fails or crashes with oneDNN on any net with bilinear resizing.
        """
        if importlib.util.find_spec("paddle") is None:
            return f"PaddlePaddle is not installed; {_INSTALL}"
        for package in ("paddlepaddle", "paddlepaddle-gpu"):
            try:
                version = importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                continue
            if tuple(int(part) for part in version.split(".")[:2]) >= (3, 3):
                return f"{package} {version} crashes on these models, 3.2.2 does not; {_INSTALL}"
        return None

    @classmethod
    def precisions(cls, device: str) -> tuple[str, ...]:
        """bf16 through oneDNN, fp16 on a GPU."""
        if device != "cpu":
            return ("f32", "fp16")
        return ("f32", *(precision for precision in reduced_precisions() if precision == "bf16"))

    @classmethod
    def gpus(cls) -> int:
        """GPUs that this build of Paddle can use."""
        if cls.available() is not None or nvidia_gpus() == 0:
            return 0
        paddle = import_paddle()
        return int(paddle.device.cuda.device_count()) if paddle.device.is_compiled_with_cuda() else 0

    def __init__(self, files: ModelFiles, options: EngineOptions) -> None:
        self._files, self._options = files, options
        kind = next((kind for kind in self.formats if kind in files.files), None)
        if kind is None or "params" not in files.files:
            raise EngineError(f"{self.name} cannot run {files.name}: it has no Paddle program with weights")
        if options.device != "cpu" and self.gpus() == 0:
            raise EngineError("this build of PaddlePaddle sees no GPU here")
        import_paddle()
        from paddle import inference  # noqa: PLC0415

        try:
            ports = read_ports(files.files[kind])
            with self._configured(inference, files.files[kind], files.files["params"]) as config:
                self._predictor: Any = inference.create_predictor(config)
            inputs, outputs = self._predictor.get_input_names(), self._predictor.get_output_names()
        except ConfigError as error:
            raise EngineError(f"{self.name} cannot load {files.name}: {error}") from error
        except Exception as error:
            raise EngineError(f"{self.name} cannot load {files.name}: {_reason(error)}") from error
        self.inputs, self.outputs = _specs(inputs, ports), _specs(outputs, ports)
        self._swollen = False

    @contextlib.contextmanager
    def _configured(self, inference: Any, program: str, params: str) -> Iterator[Any]:
        """The settings of a predictor, which is to be made inside."""
        yield self._config(inference, program, params)

    def _config(self, inference: Any, program: str, params: str) -> Any:
        config = inference.Config(program, params)
        config.disable_glog_info()
        config.enable_memory_optim()
        # The new IR, its executor and level 3: PaddleX's own default, loads twice as fast as the old IR.
        config.enable_new_ir(True)
        config.enable_new_executor()
        config.set_optimization_level(3)
        kind, _, index = self._options.device.partition(":")
        if kind == "gpu":
            keep_float32(self._options.precision)
            config.exp_disable_mixed_precision_ops({"feed", "fetch"})
            config.disable_mkldnn()
            config.enable_use_gpu(GPU_START_MB, int(index or 0), self._gpu_precision(inference))
            if not config.use_gpu():  # a build for the CPU says nothing else
                raise EngineError("this build of PaddlePaddle cannot use the GPU")
            return config
        config.disable_gpu()
        config.set_cpu_math_library_num_threads(self._options.threads)
        config.enable_mkldnn()
        config.set_mkldnn_cache_capacity(ONEDNN_CACHE)
        if self._options.precision == "bf16":
            config.enable_mkldnn_bfloat16()
        return config

    def _gpu_precision(self, inference: Any) -> Any:
        half = self._options.precision in ("fp16", "auto")
        return inference.PrecisionType.Half if half else inference.PrecisionType.Float32

    def sibling(self, threads: int) -> PaddleEngine:
        """Another predictor: Paddle fixes the thread count of a predictor and all its clones."""
        return PaddleEngine(self._files, msgspec.structs.replace(self._options, threads=threads))

    def run(self, feeds: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        """See :meth:`Engine.run`."""
        if self._predictor is None:
            raise EngineError("the engine is closed")
        # Paddle keeps what it was fed before, and takes shapes that its kernels then crash on.
        check_feeds(feeds, self.inputs)
        try:
            self._swollen = self._swollen or sum(array.nbytes for array in feeds.values()) > LARGE_INPUT_BYTES
            return self._run(feeds)
        except Exception as error:
            raise EngineError from error

    def _run(self, feeds: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        for name, array in feeds.items():
            handle = self._predictor.get_input_handle(name)
            handle.reshape(array.shape)
            handle.copy_from_cpu(np.ascontiguousarray(array))
        self._predictor.run()
        return [self._predictor.get_output_handle(spec.name).copy_to_cpu() for spec in self.outputs]

    def trim(self) -> None:
        """See :meth:`Engine.trim`."""
        if self._swollen and self._predictor is not None:
            self._predictor.try_shrink_memory()
        self._swollen = False

    def close(self) -> None:
        """See :meth:`Engine.close`."""
        self._predictor = None


def import_paddle() -> Any:
    """The framework, without the advice that it gives developers on import."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import paddle  # noqa: PLC0415 - frameworks are loaded by devices only

    # Its handlers print a page and swallow what the supervisor should see.
    paddle.disable_signal_handler()
    return paddle


def _reason(error: Exception) -> str:
    """The line of Paddle's page-long messages that says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next(
        (line for line in lines if "Error" in line and ":" in line), lines[-1] if lines else "unknown"
    )


def _specs(names: Sequence[str], ports: Mapping[str, Port]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, *ports.get(name, Port((), ""))) for name in names)


ENGINE = PaddleEngine
