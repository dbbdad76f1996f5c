"""Semantic segmentation: a class for every pixel (API reference, 7.2, 10.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipelines.core.config import ModelFiles
from pipelines.core.deploy_transforms import SizeRule, batch_key, check_fixed, segmentation_input
from pipelines.core.errors import EngineError
from pipelines.core.label_maps import Labels, compact
from pipelines.core.likeness import pixels
from pipelines.core.stage import Call, Stage
from pipelines.core.tensors import Scratch
from pipelines.engines.base import Engine

#: One-thread time per input pixel: MediaPipe's selfie segmentation on ONNX Runtime, on a core of an AMD EPYC
#: with AVX-512 (every device corrects estimates by what it measures).
MS_PER_PIXEL = 8e-5


class Picture(msgspec.Struct, frozen=True):
    """Input of one call: uint8 ``[H, W, 3]`` BGR, its size in the network, OpenCV's code for the resize."""

    image: np.ndarray
    rows: int
    columns: int
    interpolation: int


class Segmentation(Stage):
    """Labels of a picture's pixels, at the network's size.

    Raises:
        ConfigError: the model's ``inference.yml`` describes something else.
    """

    name: ClassVar[str] = "segmentation"
    max_batch = 8  # not on a CPU: on one thread a picture in a batch of two or four takes 10 to 20 % longer

    def __init__(self, model: ModelFiles, engine: str) -> None:
        super().__init__(model, engine)
        self._input = segmentation_input(model.directory)
        self._scratch = Scratch()

    def call(self, image: NDArray[np.uint8], rule: SizeRule) -> Call:
        """The call for one picture; its result is uint8 or uint16 ``[h, w]``.

        Raises BadRequest when the rule makes the picture too large for a network.
        """
        rows, columns = rule.checked_size(*image.shape[:2])
        picture = Picture(image, rows, columns, rule.interpolation)
        return Call(self, picture, batch_key(rows, columns, image), 0.5 + rows * columns * MS_PER_PIXEL)

    def run(self, engine: Engine, inputs: Sequence[Picture]) -> Sequence[Labels]:
        """Labels of every picture; all have one size in the network."""
        rows, columns = inputs[0].rows, inputs[0].columns
        check_fixed(engine.inputs[0].shape, rows, columns)
        tensor = self._scratch.tensor(len(inputs), 3, rows, columns)
        for planes, picture in zip(tensor, inputs, strict=True):
            self._input.fill(picture.image, rows, columns, picture.interpolation, planes)
        maps = engine.run({engine.inputs[0].name: tensor})[0]
        if len(maps) != len(inputs):
            raise EngineError(f"the model gives {len(maps)} maps for {len(inputs)} pictures")
        return [compact(found) for found in maps]

    def canary(self) -> Sequence[Call]:
        """A grey picture."""
        return [self.call(np.full((64, 64, 3), 127, np.uint8), self._input.size_rule)]

    def judge(self, expected: Sequence[Labels], found: Sequence[Labels]) -> str | None:
        """By the share of pixels that get the same label."""
        maps = zip(expected, found, strict=True)
        return next((words for pair in maps if (words := pixels(*pair)) is not None), None)
