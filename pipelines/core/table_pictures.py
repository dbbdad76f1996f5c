"""Pictures of table recognition (API reference, 10.9). uint8 BGR; inputs may be read-only."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from .box_rules import Boxes
from .draw import Pen
from .draw_boxes import Recipe, draw_boxes

#: Colour and width of a cell's frame, BGR and pixels.
_COLOUR, _LINE = (0, 0, 255), 2


def layout_picture(page: NDArray[np.uint8], layout: Boxes, pen: Pen, recipe: Recipe) -> NDArray[np.uint8]:
    """The page with the parts of its layout."""
    picture: NDArray[np.uint8] = page.copy()
    draw_boxes(picture, layout.rows[:, 2:], layout.labels, layout.rows[:, 1].tolist(), pen, recipe)
    return picture


def cell_picture(page: NDArray[np.uint8], tables: Iterable[NDArray[np.float64]]) -> NDArray[np.uint8]:
    """The page with a frame inside the edge of every cell; ``tables`` are boxes ``[N, 4]`` on the page."""
    picture: NDArray[np.uint8] = page.copy()
    for cells in tables:
        for left, top, right, bottom in cells.astype(np.int64).tolist():
            cell = picture[top : bottom + 1, left : right + 1]
            for side in (cell[:_LINE], cell[-_LINE:], cell[:, :_LINE], cell[:, -_LINE:]):
                side[...] = _COLOUR
    return picture
