"""Page orientation: by how much a page is turned (API reference, 9.8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from kernels.resize import resize_normalize_chw
from pipelines.core.config import ModelFiles
from pipelines.core.inference_yml import Description
from pipelines.core.likeness import same
from pipelines.core.stage import Call, Stage
from pipelines.core.tensors import Scratch, contiguous_float32
from pipelines.engines.base import Engine

#: One-thread time per page; source as in text_detection.py.
MS_PER_PAGE = 8.0
#: A strip longer than this many times its short side is cut to its middle before the resize; the centre
#: crop sees no more of it, and the resized picture stays below the 32,767 px of OpenCV's arithmetic.
_LONGEST = 100


class DocOrientation(Stage):
    """The angle, in degrees counter-clockwise, by which a page must be turned to stand upright.

    Raises:
        ConfigError: the model's ``inference.yml`` describes something else.
    """

    name: ClassVar[str] = "doc_ori"
    max_batch = 4

    def __init__(self, model: ModelFiles, engine: str) -> None:
        super().__init__(model, engine)
        about = Description(model.directory)
        self._short = int(about.number(about.required("ResizeImage").get("resize_short")))
        self._size = int(about.number(about.required("CropImage").get("size")))
        if not 0 < self._size <= self._short <= 300:
            raise about.error("ResizeImage.resize_short and CropImage.size do not fit each other")
        self._norm = about.normalization()
        labels = about.labels("Topk")
        if not set(labels) <= {"0", "90", "180", "270"}:
            raise about.error("PostProcess.Topk.label_list must be angles")
        self._angles = [int(label) for label in labels]
        self._scratch = Scratch()

    def call(self, image: NDArray[np.uint8]) -> Call:
        """The call for one page, uint8 ``[H, W, 3]`` BGR; its result is the angle."""
        return Call(self, image, None, MS_PER_PAGE)

    def run(self, engine: Engine, inputs: Sequence[NDArray[np.uint8]]) -> Sequence[int]:
        """Angles of the pages."""
        tensor = self._scratch.tensor(len(inputs), 3, self._size, self._size)
        for plane, image in zip(tensor, inputs, strict=True):
            self._prepare(_middle(image), plane)
        scores = contiguous_float32(engine.run({engine.inputs[0].name: tensor})[0])
        return [self._angles[best] for best in scores.argmax(axis=1).tolist()]

    def canary(self) -> Sequence[Call]:
        """A white page."""
        return [self.call(np.full((64, 64, 3), 255, np.uint8))]

    def judge(self, expected: Sequence[int], found: Sequence[int]) -> str | None:
        """By the angle of every page."""
        return same(expected, found)

    def _prepare(self, image: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
        """Short side to ``resize_short``, centre crop, RGB."""
        height, width = image.shape[:2]
        ratio = self._short / min(height, width)
        height, width = round(height * ratio), round(width * ratio)
        left, top = max(0, (width - self._size) // 2), max(0, (height - self._size) // 2)
        norm = self._norm
        resize_normalize_chw(
            image, out, width, height, norm.scale, norm.shift, reverse=True, left=left, top=top
        )


def _middle(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    most = _LONGEST * min(height, width)
    if max(height, width) <= most:
        return image
    top, left = max(0, height - most) // 2, max(0, width - most) // 2
    return image[top : top + most, left : left + most]
