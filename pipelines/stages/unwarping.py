"""Unwarping: a photographed page, flat (API reference, 9.8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from kernels.resize import resize_normalize_chw
from pipelines.core.config import ModelFiles
from pipelines.core.errors import EngineError
from pipelines.core.examples import pages
from pipelines.core.inference_yml import Description
from pipelines.core.stage import Call, Stage
from pipelines.core.tensors import Scratch, contiguous_float32
from pipelines.engines.base import Engine

#: One-thread time per pixel. Nobody has measured UVDoc here (its weights are on PaddleX's hubs only): two
#: tensors of the page's size read and written. A device corrects its estimates by what pages take.
MS_PER_PIXEL = 1e-3
#: What may differ between two engines: brightness levels, and the share of numbers that differ by more.
_LEVELS, _SHARE = 8, 0.005


class Unwarping(Stage):
    """A page without its folds, of the same size. ``UVDoc`` takes and gives a page in 0..1.

    PaddleX hands it BGR and takes what comes back for BGR; so does this.
    """

    name: ClassVar[str] = "unwarp"

    def __init__(self, model: ModelFiles, engine: str) -> None:
        super().__init__(model, engine)
        Description(model.directory)  # raises ConfigError: it must be there, and nothing in it is needed
        self._scratch = Scratch()

    def call(self, image: NDArray[np.uint8]) -> Call:
        """The call for one page, uint8 ``[H, W, 3]`` BGR; its result is another one."""
        height, width = image.shape[:2]
        return Call(self, image, (height, width), height * width * MS_PER_PIXEL)

    def run(self, engine: Engine, inputs: Sequence[NDArray[np.uint8]]) -> Sequence[NDArray[np.uint8]]:
        """Flat pages. Raises EngineError where the model answers with anything but a page of that size."""
        return [self._one(engine, image) for image in inputs]

    def _one(self, engine: Engine, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = image.shape[:2]
        tensor = self._scratch.tensor(1, 3, height, width)
        resize_normalize_chw(image, tensor[0], width, height, (1 / 255,) * 3, (0.0,) * 3)
        found = contiguous_float32(engine.run({engine.inputs[0].name: tensor})[0])
        if found.shape != tensor.shape:
            raise EngineError from ValueError(f"{self.model.name}: {found.shape} for a page {tensor.shape}")
        # PaddleX truncates; what is above 1 by rounding would begin at 0 again there.
        levels = np.clip(found[0] * np.float32(255), 0, 255)
        return np.ascontiguousarray(levels.astype(np.uint8).transpose(1, 2, 0))

    def canary(self) -> Sequence[Call]:
        """A small page."""
        return [self.call(np.ascontiguousarray(pages()[0][:256, :192]))]

    def judge(self, expected: Sequence[NDArray[np.uint8]], found: Sequence[NDArray[np.uint8]]) -> str | None:
        """By the pixels of every page."""
        for one, other in zip(expected, found, strict=True):
            if one.shape != other.shape:
                return f"a page {other.shape} for {one.shape}"
            off = np.abs(one.astype(np.int16) - other) > _LEVELS
            if off.mean() > _SHARE:
                return f"{100 * off.mean():.1f} % of a page's pixels are others"
        return None
