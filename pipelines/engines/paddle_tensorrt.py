"""TensorRT inside Paddle Inference, for ``.pdmodel`` files: operators that TensorRT lacks stay with Paddle.

NOT RUN ON HARDWARE. Written after PaddleX 3.7.2 (run modes ``trt_fp32``, ``trt_fp16``), tested over Paddle's
CPU build. PIR ``.json`` files are left to ``paddle``: they take another converter.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np

from pipelines.core.config import ModelFiles
from pipelines.core.download import locked
from pipelines.core.engine_cache import engine_file
from pipelines.core.errors import ConfigError, EngineError
from pipelines.core.gpus import gpu_model, keep_float32
from pipelines.core.paddle_program import read_ports
from pipelines.core.shape_ranges import ShapeRange, first_outside, read_ranges

from .base import EngineOptions
from .paddle import GPU_START_MB, PaddleEngine, import_paddle

#: PaddleX's settings for models that it has none of their own for.
_TENSORRT = {
    "workspace_size": 1 << 30,
    "max_batch_size": 32,
    "min_subgraph_size": 3,
    "use_calib_mode": False,
}

_log = logging.getLogger(__name__)


class PaddleTensorRtEngine(PaddleEngine):
    """A predictor whose subgraphs are TensorRT engines, kept beside the shapes that were seen in them."""

    name: ClassVar[str] = "paddle_tensorrt"
    formats: ClassVar[tuple[str, ...]] = ("pdmodel",)

    @classmethod
    def precisions(cls, device: str) -> tuple[str, ...]:
        """fp16 too; nothing on a CPU."""
        return () if device == "cpu" else ("f32", "fp16")

    @classmethod
    def refuses(cls, files: ModelFiles) -> str | None:
        """TensorRT builds for known shapes only."""
        try:
            return None if read_ranges(files.directory) else "inference.yml has no Hpi shapes"
        except ConfigError as error:
            return str(error)

    def __init__(self, files: ModelFiles, options: EngineOptions) -> None:
        self._ranges: dict[str, ShapeRange] = {}
        if "pdmodel" in files.files:
            if options.device == "cpu":
                raise EngineError(f"{self.name} runs on GPUs only")
            try:
                self._ranges = read_ranges(files.directory)
            except ConfigError as error:
                raise EngineError(f"{self.name} cannot load {files.name}: {error}") from error
            if not self._ranges:
                raise EngineError(f"{self.name} cannot load {files.name}: inference.yml has no Hpi shapes")
        super().__init__(files, options)

    @contextlib.contextmanager
    def _configured(self, inference: Any, program: str, params: str) -> Iterator[Any]:
        with self._folder(program) as folder:
            index = int(self._options.device.partition(":")[2] or 0)
            keep_float32(self._options.precision)
            shapes = folder / "shape_range_info.pbtxt"
            if not shapes.is_file():
                self._collect(inference, (program, params), index, shapes)
            config = inference.Config(program, params)
            config.disable_glog_info()
            config.set_optim_cache_dir(str(folder / "optim_cache"))
            config.enable_use_gpu(GPU_START_MB, index)
            if not config.use_gpu():
                raise EngineError("this build of PaddlePaddle cannot use the GPU")
            kept = self._options.cache_dir is not None
            config.enable_tensorrt_engine(
                **_TENSORRT, precision_mode=self._gpu_precision(inference), use_static=kept
            )
            # False: no shape may cost a build of minutes while requests wait.
            config.enable_tuned_tensorrt_dynamic_shape(str(shapes), False)
            config.exp_disable_mixed_precision_ops({"feed", "fetch"})
            config.enable_memory_optim()
            _log.info("%s: Paddle has TensorRT build its subgraphs, which may take minutes", self._files.name)
            yield config

    @contextlib.contextmanager
    def _folder(self, program: str) -> Iterator[Path]:
        """Where shapes and engines are kept, for one process at a time; else a folder that goes away."""
        index = int(self._options.device.partition(":")[2] or 0)
        what = (
            gpu_model(index),
            import_paddle().__version__,
            self._options.precision,
            sorted(self._ranges.items()),
        )
        file = engine_file(self._options.cache_dir, self.name, self._files, program, *what)
        if file is None:
            with tempfile.TemporaryDirectory(prefix="paddle-tensorrt-") as name:
                yield Path(name)
            return
        folder = file.with_suffix("")
        folder.mkdir(exist_ok=True)
        with locked(file.with_suffix(".lock")):
            yield folder

    def _collect(self, inference: Any, paths: tuple[str, str], index: int, shapes: Path) -> None:
        """Run the model at both ends of its ranges and write down the shapes of everything inside."""
        config = inference.Config(*paths)
        config.enable_use_gpu(GPU_START_MB, index)
        staged = shapes.with_suffix(".part")
        config.collect_shape_range_info(str(staged))
        config.disable_glog_info()
        config.delete_pass("matmul_add_act_fuse_pass")
        predictor = inference.create_predictor(config)
        ports = read_ports(paths[0])
        for end in ("low", "usual", "usual", "high"):  # PaddleX's order: what is seen most often is tuned for
            for name in predictor.get_input_names():
                fixed = ports[name].shape
                shape = getattr(self._ranges[name], end) if name in self._ranges else fixed
                if -1 in shape:
                    raise EngineError(f"inference.yml has no Hpi shapes for the input {name}")
                handle = predictor.get_input_handle(name)
                handle.reshape(shape)
                handle.copy_from_cpu(np.ones(shape, ports[name].dtype))
            predictor.run()
        del predictor  # writes the file
        staged.replace(shapes)

    def sibling(self, threads: int) -> PaddleTensorRtEngine:
        """Another predictor over the same kept engines."""
        return PaddleTensorRtEngine(self._files, msgspec.structs.replace(self._options, threads=threads))

    def run(self, feeds: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        """See :meth:`Engine.run`. What lies outside its shapes is refused."""
        if (reason := first_outside(self._ranges, feeds)) is not None:
            raise EngineError from ValueError(reason)
        return super().run(feeds)


ENGINE = PaddleTensorRtEngine
