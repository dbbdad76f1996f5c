"""The picture of a table's cells (API reference, 10.9)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

#: Colour and width of a cell's frame, BGR and pixels.
_COLOUR, _LINE = (0, 0, 255), 2


def cell_picture(page: NDArray[np.uint8], tables: Iterable[NDArray[np.float64]]) -> NDArray[np.uint8]:
    """The page with a frame inside the edge of every cell.

    Args:
        page: uint8 BGR, may be read-only.
        tables: boxes ``[N, 4]`` of cells on the page.
    """
    picture: NDArray[np.uint8] = page.copy()
    for cells in tables:
        for left, top, right, bottom in cells.astype(np.int64).tolist():
            cell = picture[top : bottom + 1, left : right + 1]
            for side in (cell[:_LINE], cell[-_LINE:], cell[:, :_LINE], cell[:, -_LINE:]):
                side[...] = _COLOUR
    return picture
