"""TensorRT inside ONNX Runtime: for models of which TensorRT alone cannot run every operator.

NOT RUN ON HARDWARE. Written against the documented options of ONNX Runtime's TensorRT provider.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np

from pipelines.core.config import ModelFiles
from pipelines.core.contained import import_contained
from pipelines.core.errors import ConfigError, EngineError
from pipelines.core.onnx_ports import read_onnx_ports
from pipelines.core.shape_ranges import first_outside, lacks_ranges, ranges_for

from .base import EngineOptions
from .onnxruntime import OnnxRuntimeEngine
from .tensorrt import TensorRtEngine

#: Memory that TensorRT may take for a layer's scratch space.
_WORKSPACE = 1 << 30


class OnnxRuntimeTensorRtEngine(OnnxRuntimeEngine):
    """A session whose graph runs on TensorRT where that can, on CUDA else. ONNX Runtime keeps the engines."""

    name: ClassVar[str] = "onnxruntime_tensorrt"

    @classmethod
    def available(cls) -> str | None:
        """See :meth:`Engine.available`."""
        if importlib.util.find_spec("tensorrt") is None:
            return "TensorRT is not installed; the extra 'tensorrt' brings it: pip install -e '.[tensorrt]'"
        return super().available()

    @classmethod
    def precisions(cls, device: str) -> tuple[str, ...]:
        """fp16 too; nothing on a CPU."""
        return () if device == "cpu" else ("f32", "fp16")

    @classmethod
    def refuses(cls, files: ModelFiles) -> str | None:
        """As TensorRT alone, it builds for known shapes only."""
        return lacks_ranges(files)

    @classmethod
    def version(cls) -> str:
        """Both frameworks'."""
        return " in ".join(filter(None, (TensorRtEngine.version(), super().version())))

    @classmethod
    def gpus(cls) -> int:
        """GPUs, where ONNX Runtime has both providers."""
        count = super().gpus()
        if count == 0:
            return 0
        import onnxruntime as ort  # noqa: PLC0415

        return count if "TensorrtExecutionProvider" in ort.get_available_providers() else 0

    def __init__(self, files: ModelFiles, options: EngineOptions) -> None:
        if "onnx" not in files.files:
            raise EngineError(f"{self.name} cannot run {files.name}: it has no ONNX file")
        if options.device == "cpu":
            raise EngineError(f"{self.name} runs on GPUs only")
        try:
            inputs, _ = read_onnx_ports(files.files["onnx"])
            self._ranges = ranges_for(files.directory, inputs)
            self._dynamic = [name for name, port in inputs.items() if -1 in port.shape]
            import_contained("tensorrt")  # so that the provider finds libnvinfer where pip has put it
        except (ConfigError, OSError, ImportError) as error:
            raise EngineError(f"{self.name} cannot load {files.name}: {error}") from error
        super().__init__(files, options)

    def _gpu_providers(self) -> list[tuple[str, dict[str, Any]]]:
        cuda = super()._gpu_providers()
        settings: dict[str, Any] = {
            "device_id": cuda[0][1]["device_id"],
            "trt_max_workspace_size": _WORKSPACE,
            "trt_fp16_enable": self._options.precision in ("fp16", "auto"),
        }
        if self._dynamic:
            for which, field in (("min", "low"), ("opt", "usual"), ("max", "high")):
                settings[f"trt_profile_{which}_shapes"] = self._shapes(field)
        if self._options.cache_dir is not None and (digest := self._digest()) is not None:
            folder = (
                Path(self._options.cache_dir) / "onnxruntime" / f"{digest[:24]}-{self._options.precision}"
            )
            folder.mkdir(parents=True, exist_ok=True)
            # The files' names hold graph, GPU generation and release; shapes lie beside them in a profile.
            settings |= {"trt_engine_cache_enable": True, "trt_engine_cache_path": str(folder)}
        return [("TensorrtExecutionProvider", settings), *cuda]

    def _digest(self) -> str | None:
        return self._files.sha256.get(Path(self._files.files["onnx"]).name)

    def _shapes(self, field: str) -> str:
        """One end of the ranges: ``x:1x3x32x32,y:1x2``."""
        ends = [(name, getattr(self._ranges[name], field)) for name in self._dynamic]
        return ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in ends)

    def sibling(self, threads: int) -> OnnxRuntimeTensorRtEngine:
        """Another session over the same kept engines."""
        options = msgspec.structs.replace(self._options, threads=threads)
        return OnnxRuntimeTensorRtEngine(self._files, options)

    def run(self, feeds: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        """See :meth:`Engine.run`. Outside its shapes the provider would build for minutes."""
        if (reason := first_outside(self._ranges, feeds)) is not None:
            raise EngineError from ValueError(reason)
        return super().run(feeds)


ENGINE = OnnxRuntimeTensorRtEngine
