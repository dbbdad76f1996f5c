"""Image anomaly detection: which pixels are not as they should be (API reference, 7.2, 10.7)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import ClassVar

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from pipelines.core.config import ModelFiles
from pipelines.core.deploy_transforms import anomaly_input, batch_key, check_fixed
from pipelines.core.errors import EngineError
from pipelines.core.likeness import pixels
from pipelines.core.stage import Call, Stage
from pipelines.core.tensors import Scratch
from pipelines.engines.base import Engine

#: One-thread time per input pixel: EfficientNet-lite0 on ONNX Runtime; machine as in segmentation.py.
MS_PER_PIXEL = 1.6e-4
#: Scores above it are anomalies (3.x, fixed in its code; compared as float32 there).
_THRESHOLD = float(np.float32(0.01))
#: Radius of the disk of the opening.
_RADIUS = 4


class Picture(msgspec.Struct, frozen=True):
    """Input of one call: uint8 ``[H, W, 3]`` BGR and its size in the network."""

    image: np.ndarray
    rows: int
    columns: int


class Anomaly(Stage):
    """Masks of what is not normal, at the network's size.

    Raises:
        ConfigError: the model's ``inference.yml`` describes something else.
    """

    name: ClassVar[str] = "anomaly"
    max_batch = 8

    def __init__(self, model: ModelFiles, engine: str) -> None:
        super().__init__(model, engine)
        self._input = anomaly_input(model.directory)
        self._scratch = Scratch()

    def call(self, image: NDArray[np.uint8]) -> Call:
        """The call for one picture; its result is uint8 ``[h, w]``, 0 or 255.

        Raises BadRequest when the model's rule makes the picture too large for a network.
        """
        rows, columns = self._input.size_rule.checked_size(*image.shape[:2])
        cost = 0.5 + rows * columns * MS_PER_PIXEL
        return Call(self, Picture(image, rows, columns), batch_key(rows, columns, image), cost)

    def run(self, engine: Engine, inputs: Sequence[Picture]) -> Sequence[NDArray[np.uint8]]:
        """Masks of the pictures; all have one size in the network."""
        rows, columns = inputs[0].rows, inputs[0].columns
        check_fixed(engine.inputs[0].shape, rows, columns)
        tensor = self._scratch.tensor(len(inputs), 3, rows, columns)
        for planes, picture in zip(tensor, inputs, strict=True):
            self._input.fill(picture.image, rows, columns, self._input.size_rule.interpolation, planes)
        maps = engine.run({engine.inputs[0].name: tensor})[0]
        if maps.ndim != 4 or len(maps) != len(inputs) or maps.dtype != np.float32:
            raise EngineError(f"the model gives {maps.dtype} of shape {maps.shape}, not a score per pixel")
        return [opened((scores[0] > _THRESHOLD).view(np.uint8) * np.uint8(255)) for scores in maps]

    def canary(self) -> Sequence[Call]:
        """A grey picture."""
        return [self.call(np.full((64, 64, 3), 127, np.uint8))]

    def judge(self, expected: Sequence[NDArray[np.uint8]], found: Sequence[NDArray[np.uint8]]) -> str | None:
        """By the share of pixels that get the same label."""
        maps = zip(expected, found, strict=True)
        return next((words for pair in maps if (words := pixels(*pair)) is not None), None)


def opened(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Morphological opening with a disk: specks and thin lines go.

    It is scikit-image's ``opening(mask, disk(4))``. Outside the mask that one sees a reflection and
    OpenCV nothing; this is the same, because the disk also covers the pixel that is reflected.
    """
    return np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, _disk()), np.uint8)


@cache
def _disk() -> NDArray[np.uint8]:
    """Pixels within the radius."""
    squares = np.arange(-_RADIUS, _RADIUS + 1) ** 2
    return (squares[:, np.newaxis] + squares <= _RADIUS**2).astype(np.uint8)
