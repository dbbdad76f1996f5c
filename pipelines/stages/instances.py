"""Instance segmentation: boxes of objects, and the pixels of each (API reference, 7.2, 9.4, 10.4)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from kernels.masks import encode_mask
from pipelines.core.box_rules import above, within
from pipelines.core.config import ModelFiles
from pipelines.core.detection_input import DetectionInput, Fitted, feeds_of
from pipelines.core.errors import BadRequest, EngineError
from pipelines.core.inference_yml import Description
from pipelines.core.instances import Instances, mask_iou
from pipelines.core.likeness import boxes
from pipelines.core.stage import Call, Stage
from pipelines.core.tensors import Scratch
from pipelines.engines.base import Engine

#: Masks come at the picture's size, 32 bits a pixel: 18 of a 12-megapixel photo make a run of 3 s and 2 GB.
#: A network is told that larger pictures have this many pixels (1920 x 1080 fits); what it finds is enlarged.
MAX_MASK_PIXELS = 1 << 21
#: One-thread time of a picture and per pixel of its masks: a network with EfficientNet-lite0 and 256 x 256
#: input that finds 18 objects, on ONNX Runtime; machine as in segmentation.py.
_MS, _MS_PER_PIXEL = 40.0, 6e-5
#: Largest side of a picture, pixels: that of OpenCV's warp.
MAX_SIDE = 32766
#: Larger masks are not batched, for memory's sake.
_BATCHED_PIXELS = 1 << 18
#: Exported models that take one picture at a time (PaddleX 3.7.2, instance_segmentation/predictor.py).
_ALONE = frozenset(
    {"PP-YOLOE_seg-S", "Cascade-MaskRCNN-ResNet50-FPN", "Cascade-MaskRCNN-ResNet50-vd-SSLDv2-FPN"}
)
#: Overlap (intersection over union) of two masks of one object for another engine to be as good.
_MASK_IOU = 0.9
#: Score from which an object counts when the model does not say.
_DRAW_THRESHOLD = 0.5


class Picture(msgspec.Struct, frozen=True):
    """Input of one call.

    Attributes:
        image: uint8 ``[H, W, 3]`` BGR.
        fitted: its sizes in the tensor, and the scale factor that the network is told.
        size: (height, width) of the masks, which the network concludes from them.
        threshold: scores above it count; None: what the model says.
        solid: leave out boxes without an area.
    """

    image: np.ndarray
    fitted: Fitted
    size: tuple[int, int]
    threshold: float | None
    solid: bool


class InstanceSegmentation(Stage):
    """Finds objects with their masks.

    Raises:
        ConfigError: the model's ``inference.yml`` describes something else.
    """

    name: ClassVar[str] = "instances"
    max_batch = 4

    def __init__(self, model: ModelFiles, engine: str) -> None:
        super().__init__(model, engine)
        about = Description(model.directory)
        self._input = DetectionInput(about)
        drawn = about.top("draw_threshold")
        self._threshold = _DRAW_THRESHOLD if drawn is None else about.number(drawn)
        self._names = about.label_list()
        self._scratch = Scratch()

    def call(self, image: NDArray[np.uint8], threshold: float | None, *, solid: bool = True) -> Call:
        """The call for one picture; its result is :class:`Instances`.

        Only pictures of one size may run together: a batch has one size of masks. Raises BadRequest.
        """
        height, width = image.shape[:2]
        if max(height, width) > MAX_SIDE:
            raise BadRequest(f"The image has a side of more than {MAX_SIDE} pixels")
        fitted, size = self._input.fitted(height, width), mask_size(height, width)
        if size != (height, width):
            fitted = msgspec.structs.replace(
                fitted, scale_factor=(fitted.height / size[0], fitted.width / size[1])
            )
        picture = Picture(image, fitted, size, threshold, solid)
        together = size[0] * size[1] <= _BATCHED_PIXELS and self.model.name not in _ALONE
        key = (size, fitted.rows, fitted.columns, None if together else id(image))
        return Call(self, picture, key, cost_ms(height, width))

    def run(self, engine: Engine, inputs: Sequence[Picture]) -> Sequence[Instances]:
        """Objects of every picture."""
        first = inputs[0].fitted
        tensor = self._scratch.tensor(len(inputs), 3, first.rows, first.columns)
        for planes, picture in zip(tensor, inputs, strict=True):
            self._input.fill(picture.image, picture.fitted, planes)
        names = [spec.name for spec in engine.inputs]
        outputs = engine.run(feeds_of(names, tensor, [picture.fitted for picture in inputs]))
        rows, counts, masks = _checked(outputs, len(inputs))
        ends = np.cumsum(counts)
        return [
            self._found(rows[end - count : end], masks[end - count : end], picture)
            for picture, count, end in zip(inputs, counts, ends.tolist(), strict=True)
        ]

    def canary(self) -> Sequence[Call]:
        """A grey picture."""
        return [self.call(np.full((64, 64, 3), 127, np.uint8), None)]

    def judge(self, expected: Sequence[Instances], found: Sequence[Instances]) -> str | None:
        """By objects as in detection, and by the pixels of each."""
        for one, other in zip(expected, found, strict=True):
            words, partners = boxes(one.boxes.rows, other.boxes.rows)
            if words is not None:
                return words
            for index, partner in enumerate(partners):
                overlap = mask_iou(one, index, other, partner)
                if overlap < _MASK_IOU:
                    return f"a mask overlaps by {overlap:.2f}"
        return None

    def _found(self, rows: NDArray[np.float32], masks: NDArray[Any], picture: Picture) -> Instances:
        height, width = picture.image.shape[:2]
        kept = above(rows, self._threshold if picture.threshold is None else picture.threshold)
        rows = rows[kept]
        if picture.size != (height, width):
            across, down = width / picture.size[1], height / picture.size[0]
            rows[:, 2:6] *= np.array([across, down, across, down], np.float32)
        boxes, kept = within(rows, kept, self._names, width, height, solid=picture.solid)
        corners = np.rint(np.clip(np.nan_to_num(boxes.rows[:, 2:6]), 0, max(height, width)))
        places = zip(kept, corners.astype(np.int64).tolist(), strict=True)
        parts = [_part(masks[index], corner, picture) for index, corner in places]
        sizes = np.array([part.shape for part in parts], np.int32).reshape(-1, 2)
        return Instances(boxes, [encode_mask(part) for part in parts], sizes)


def mask_size(height: int, width: int) -> tuple[int, int]:
    """(height, width) of the masks of a picture: its own, or that of :data:`MAX_MASK_PIXELS`."""
    if height * width <= MAX_MASK_PIXELS:
        return height, width
    factor = math.sqrt(MAX_MASK_PIXELS / (height * width))
    return max(1, int(height * factor)), max(1, int(width * factor))


def cost_ms(height: int, width: int) -> float:
    """One-thread time of a picture."""
    rows, columns = mask_size(height, width)
    return _MS + rows * columns * _MS_PER_PIXEL


def _checked(
    outputs: Sequence[NDArray[Any]], pictures: int
) -> tuple[NDArray[np.float32], list[int], NDArray[Any]]:
    """Rows, counts and masks of all pictures. Raises EngineError when the model gives something else."""
    if len(outputs) != 3:
        raise EngineError(f"the model gives {len(outputs)} outputs, not boxes, their counts and masks")
    rows, counts, masks = np.asarray(outputs[0], np.float32), outputs[1].ravel(), outputs[2]
    if rows.ndim != 2 or rows.shape[1] != 6 or masks.ndim != 3:
        raise EngineError(
            f"the model gives boxes {rows.shape} and masks {masks.shape}, not [N, 6] and [N, H, W]"
        )
    if len(counts) != pictures or counts.min() < 0 or counts.sum() > min(len(rows), len(masks)):
        raise EngineError(f"the model counts {counts.tolist()} of {len(rows)} boxes and {len(masks)} masks")
    return rows, counts.tolist(), masks


def _part(mask: NDArray[Any], corners: Sequence[int], picture: Picture) -> NDArray[Any]:
    """What a box of corners (x1, y1, x2, y2) covers of the mask, at the size of the picture."""
    left, top, right, bottom = corners
    if picture.size != picture.image.shape[:2]:
        return _enlarged(mask, left, top, max(left, right), max(top, bottom), picture.image.shape)
    part = mask[top : max(top, bottom), left : max(left, right)]
    return part if part.dtype in (np.uint8, np.int32) else np.asarray(part != 0).view(np.uint8)


def _enlarged(
    mask: NDArray[Any], left: int, top: int, right: int, bottom: int, shape: Sequence[int]
) -> NDArray[np.uint8]:
    """A part of a mask whose edges are drawn linearly at the size of the picture."""
    down, across = mask.shape[0] / shape[0], mask.shape[1] / shape[1]
    size = (right - left, bottom - top)
    if not all(size):
        return np.zeros(size[::-1], np.uint8)
    # Only what the part needs, and a pixel around it.
    x, y = max(0, int(left * across) - 1), max(0, int(top * down) - 1)
    covered = np.where(mask[y : int(bottom * down) + 2, x : int(right * across) + 2], 255, 0).astype(np.uint8)
    matrix = np.array([[across, 0, (left + 0.5) * across - 0.5 - x], [0, down, (top + 0.5) * down - 0.5 - y]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    drawn = cv2.warpAffine(covered, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(drawn > 127).view(np.uint8)
