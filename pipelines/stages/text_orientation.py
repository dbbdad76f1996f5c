"""Line orientation: which text lines stand on their head (API reference, 9.8)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kernels.warp import crop_line_normalize_chw
from pipelines.core.config import ModelFiles
from pipelines.core.inference_yml import Description, Normalization
from pipelines.core.likeness import same
from pipelines.core.lines import Line
from pipelines.core.stage import Call, Stage
from pipelines.core.tensors import Scratch, contiguous_float32
from pipelines.engines.base import Engine

#: Lines in one call and in one engine run.
CALL_LINES = 8
#: One-thread time per line; source as in text_detection.py.
MS_PER_LINE = 1.5


class TextOrientation(Stage):
    """Class 1 for a line that has to be turned by 180 degrees, else 0.

    Two families, told apart by their ``inference.yml``: PaddleOCR's ``ClsResizeImg`` (BGR, ratio kept,
    zeros on the right, class 1 only above a threshold) and PaddleX's ``ResizeImage`` (RGB, stretched).

    Raises:
        ConfigError: the model's ``inference.yml`` describes something else.
    """

    name: ClassVar[str] = "textline_ori"
    max_batch = 1

    def __init__(self, model: ModelFiles, engine: str) -> None:
        super().__init__(model, engine)
        about = Description(model.directory)
        keep_ratio = about.operation("ClsResizeImg")
        self._keep_ratio = keep_ratio is not None
        if keep_ratio is not None:
            shape = about.shape(keep_ratio.get("image_shape"), 3, "ClsResizeImg.image_shape")
            self._height, self._width = shape[1:]
            self._norm, self._divisor = Normalization((2.0, 2.0, 2.0), (-1.0, -1.0, -1.0)), 255.0
            self._thresh = about.number(about.postprocess.get("thresh", 0.9))
        else:
            size = about.shape(about.required("ResizeImage").get("size"), 2, "ResizeImage.size")
            self._width, self._height = size
            self._norm, self._divisor = about.normalization(), 1.0
            self._thresh = 0.5
        self._scratch = Scratch()

    def calls(self, lines: Sequence[Line]) -> list[Call]:
        """Calls for the lines of a page; the results together are one class per line, in order."""
        cuts = [tuple(lines[start : start + CALL_LINES]) for start in range(0, len(lines), CALL_LINES)]
        return [Call(self, cut, None, 0.5 + MS_PER_LINE * len(cut)) for cut in cuts]

    def run(self, engine: Engine, inputs: Sequence[tuple[Line, ...]]) -> Sequence[list[int]]:
        """Classes of the lines of every call."""
        return [self._classify(engine, lines) for lines in inputs]

    def canary(self) -> Sequence[Call]:
        """A white line."""
        page = np.full((self._height, self._width, 3), 255, np.uint8)
        right, bottom = self._width, self._height
        quad = np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]], np.int16)
        return self.calls([Line(page, quad, right, bottom)])

    def judge(self, expected: Sequence[list[int]], found: Sequence[list[int]]) -> str | None:
        """By the class of every line."""
        return same(expected, found)

    def _classify(self, engine: Engine, lines: Sequence[Line]) -> list[int]:
        tensor = self._scratch.tensor(len(lines), 3, self._height, self._width)
        for plane, line in zip(tensor, lines, strict=True):
            width = self._width
            if self._keep_ratio:
                width = min(width, math.ceil(self._height * line.ratio))
            crop_line_normalize_chw(
                line.page,
                line.quad,
                plane,
                width,
                self._norm.scale,
                self._norm.shift,
                divisor=self._divisor,
                reverse=not self._keep_ratio,
            )
        scores = contiguous_float32(engine.run({engine.inputs[0].name: tensor})[0])
        return [int(score > self._thresh) for score in scores[:, 1].tolist()]
