"""Objects with their pixels: how they travel, and what they become in a picture (API reference, 4, 10.4)."""

from __future__ import annotations

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from kernels.masks import decode_mask

from .box_rules import Boxes
from .draw import Pen
from .draw_boxes import PALETTE, RECIPE_V3, Recipe, colour_indices, draw_boxes
from .errors import EngineError

#: Share of the colour over the picture, and of the white that is added for every object of a class.
_COVER, _WHITEN = 0.7, 0.4
#: Room in a slot beside the masks: objects, and bytes of each (its row, its label, its part of the record).
_OBJECTS, _OBJECT_BYTES = 300, 256
#: Bytes per column for masks of that many objects: two runs a column, of four characters each, in a hundred.
_COLUMN_BYTES = 800


class Instances(msgspec.Struct, frozen=True):
    """Objects of one picture.

    Attributes:
        boxes: N boxes.
        masks: per box COCO's run lengths of its part of the mask, which reaches from
            ``round(x1)`` to ``round(x2)`` and from ``round(y1)`` to ``round(y2)``.
        sizes: int32 ``[N, 2]``, (height, width) of these parts.
    """

    boxes: Boxes
    masks: list[bytes]
    sizes: np.ndarray


def packed_bytes(height: int, width: int) -> int:
    """Upper bound of the packed objects of a picture, which :func:`check_packed` keeps.

    A chequerboard as large as the picture takes a byte per pixel; networks' masks take a few per column.
    """
    return _OBJECTS * _OBJECT_BYTES + width * _COLUMN_BYTES + height * width


def check_packed(found: Instances, height: int, width: int) -> None:
    """Raise EngineError for objects whose masks are too many and too ragged for their slot."""
    labels = sum(len(label.encode()) for label in found.boxes.labels)
    size = labels + sum(map(len, found.masks)) + 64 * len(found.masks)
    if size + 1024 > packed_bytes(height, width):
        raise EngineError(f"the masks of {len(found.masks)} objects take {size} bytes")


def mask_iou(one: Instances, index: int, other: Instances, partner: int) -> float:
    """Intersection over union of the pixels of two objects; 1.0 when neither has any."""
    masks, corners = [], []
    for found, place in ((one, index), (other, partner)):
        height, width = found.sizes[place].tolist()
        columns: NDArray[np.uint8] = np.zeros((width, height), np.uint8)
        if columns.size:
            decode_mask(found.masks[place], columns)
        masks.append(columns.T)
        corners.append(np.rint(found.boxes.rows[place, 2:4]).astype(np.int64)[::-1])
    low = np.minimum(*corners)
    high = np.maximum(*(corner + mask.shape for corner, mask in zip(corners, masks, strict=True)))
    covered = np.zeros((2, *(high - low)), bool)
    for page, mask, (top, left) in zip(covered, masks, (corner - low for corner in corners), strict=True):
        page[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    union = int(covered.any(axis=0).sum())
    return int(covered.all(axis=0).sum()) / union if union else 1.0


def draw_instances(
    picture: NDArray[np.uint8], found: Instances, pen: Pen, recipe: Recipe = RECIPE_V3
) -> None:
    """Draw objects into ``picture``, uint8 ``[H, W, 3]`` BGR, writable."""
    rows, labels = found.boxes.rows, found.boxes.labels
    colours: dict[str, tuple[int, ...]] = {}
    corners = np.rint(rows[:, 2:4]).astype(np.int64).tolist()
    parts = zip(corners, found.sizes.tolist(), found.masks, strict=True)
    for ((left, top), (height, width), runs), label, index in zip(
        parts, labels, colour_indices(labels), strict=True
    ):
        # As in PaddleX a class fades to white from object to object.
        colour = colours.get(label, PALETTE[index])
        colours[label] = tuple(int(level * (1 - _WHITEN) + _WHITEN * 255) for level in colour)
        _cover(picture[top : top + height, left : left + width], runs, colours[label][::-1])
    draw_boxes(picture, rows[:, 2:], labels, rows[:, 1].tolist(), pen, recipe)


def _cover(part: NDArray[np.uint8], runs: bytes, colour: tuple[int, ...]) -> None:
    """Lay a BGR colour over the pixels of a mask, in place."""
    if not part.size:
        return
    mask: NDArray[np.uint8] = np.empty((part.shape[1], part.shape[0]), np.uint8)
    decode_mask(runs, mask, 255)
    levels = np.arange(256, dtype=np.float32)[:, np.newaxis] * np.float32(1 - _COVER)
    table = (levels + _COVER * np.array(colour)).astype(np.uint8).reshape(256, 1, 3)
    cv2.copyTo(cv2.LUT(part, table), cv2.transpose(mask), part)
