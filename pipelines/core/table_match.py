"""Which text belongs to which cell of a table (API reference, 9.9 and 10.9). Boxes are x1, y1, x2, y2."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .box_rules import Boxes
from .ocr_api import OcrPage

#: A line belongs to a table when they overlap by more than this both ways, pixels (3.x).
_OVERLAP = 3
#: Distances in memory at once; a table of 500 cells takes its lines 500 at a time.
_PAIRS = 250_000


class Crop(NamedTuple):
    """A table cut out of a page.

    Attributes:
        pixels: uint8 ``[h, w, 3]``, a view of the page.
        box: float32 ``[4]``, where the layout says the table is.
        corners: the box in whole pixels, cut off.
    """

    pixels: NDArray[np.uint8]
    box: NDArray[np.float32]
    corners: list[int]


def crops_of(page: NDArray[np.uint8], layout: Boxes | None) -> list[Crop]:
    """Tables of a page that have a whole pixel; without a layout the page is one."""
    if layout is None:
        height, width = page.shape[:2]
        corners = [0, 0, width - 1, height - 1]
        return [Crop(page, np.array(corners, np.float32), corners)]
    crops = []
    for box, label in zip(layout.rows[:, 2:], layout.labels, strict=True):
        corners = box.astype(np.int64).tolist()
        pixels = page[corners[1] : corners[3], corners[0] : corners[2]]
        if label.lower() == "table" and pixels.size:
            crops.append(Crop(pixels, box, corners))
    return crops


def merged(page: OcrPage, crops: Sequence[Crop], pages: Sequence[OcrPage]) -> OcrPage:
    """2024: the page's lines outside of all tables, then the lines that were read in each table."""
    quads = page.quads[page.kept]
    boxes = hulls(quads)
    taken = {line for crop in crops for line in inside(boxes, crop.box, overlap=0).tolist()}
    outside = [line for line in range(len(quads)) if line not in taken]
    found = [quads[outside]]
    texts, scores = [page.texts[line] for line in outside], [page.scores[line] for line in outside]
    for crop, read in zip(crops, pages, strict=True):
        found.append(read.quads[read.kept] + np.array(crop.corners[:2], np.int16))
        texts, scores = texts + read.texts, scores + read.scores
    return OcrPage(page.angle, np.concatenate(found), [], list(range(len(texts))), texts, scores)


def grouped(cells: Iterable[int], texts: Iterable[str]) -> dict[int, list[str]]:
    """Number of a cell to its texts, in their order."""
    found: dict[int, list[str]] = {}
    for cell, text in zip(cells, texts, strict=False):
        found.setdefault(int(cell), []).append(text)
    return found


def hulls(polygons: NDArray[Any]) -> NDArray[Any]:
    """Upright boxes ``[N, 4]`` around polygons ``[N, K, 2]``."""
    return np.concatenate([polygons.min(axis=1), polygons.max(axis=1)], axis=1)


def inside(boxes: NDArray[Any], table: NDArray[np.float32], overlap: float = _OVERLAP) -> NDArray[np.int64]:
    """Numbers of the boxes that overlap a table by more than ``overlap`` pixels both ways.

    Args:
        boxes: ``[N, 4]``.
        table: float32 ``[4]``; the comparison is in float32, as in PaddleX.
        overlap: pixels.
    """
    low, high = np.maximum(boxes[:, :2], table[:2]), np.minimum(boxes[:, 2:], table[2:])
    return np.flatnonzero((high - low > overlap).all(axis=1))


def cells_of(boxes: NDArray[Any], cells: NDArray[Any]) -> NDArray[np.int64]:
    """For each text box the number of its cell: the one with the largest IoU, of several the nearest.

    Near is the sum of the differences of both corners and the smaller of the two once more; of cells that
    are equally near it is the first. In double precision, as PaddleX compares.

    Args:
        boxes: ``[N, 4]``.
        cells: ``[M, 4]``, at least one.
    """
    cells = np.asarray(cells, np.float64)
    areas = _areas(cells)
    chosen = np.empty(len(boxes), np.int64)
    step = max(1, _PAIRS // len(cells))
    for start in range(0, len(boxes), step):
        part = np.asarray(boxes[start : start + step], np.float64)
        chosen[start : start + step] = _nearest(part, cells, areas)
    return chosen


def _areas(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), np.float64)


def _nearest(
    boxes: NDArray[np.float64], cells: NDArray[np.float64], areas: NDArray[np.float64]
) -> NDArray[np.int64]:
    x1, y1, x2, y2 = (boxes[:, side, np.newaxis] for side in range(4))
    a1, b1, a2, b2 = cells.T
    across = np.minimum(x2, a2) - np.maximum(x1, a1)
    down = np.minimum(y2, b2) - np.maximum(y1, b1)
    common = np.maximum(across, 0) * np.maximum(down, 0)
    union = (areas + _areas(boxes)[:, np.newaxis]) - common
    apart = 1.0 - np.divide(common, union, out=np.zeros_like(common), where=common > 0)
    first, second = np.abs(x1 - a1) + np.abs(y1 - b1), np.abs(x2 - a2) + np.abs(y2 - b2)
    distance = first + second + np.minimum(first, second)
    distance[apart > apart.min(axis=1, keepdims=True)] = np.inf
    return np.asarray(distance.argmin(axis=1), np.int64)
