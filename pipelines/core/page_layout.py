"""The layout of a page as answers have it: boxes in JSON, and drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .box_rules import Boxes
from .draw import Pen
from .draw_boxes import Recipe, draw_boxes


def layout_result(layout: Boxes) -> dict[str, Any]:
    """``layout_det_res`` (3.x)."""
    boxes = [
        {"cls_id": int(row[0]), "label": label, "score": row[1], "coordinate": row[2:]}
        for row, label in zip(layout.rows.tolist(), layout.labels, strict=True)
    ]
    return {"boxes": boxes}


def layout_picture(page: NDArray[np.uint8], layout: Boxes, pen: Pen, recipe: Recipe) -> NDArray[np.uint8]:
    """The page, uint8 BGR and perhaps read-only, with the parts of its layout."""
    picture: NDArray[np.uint8] = page.copy()
    draw_boxes(picture, layout.rows[:, 2:], layout.labels, layout.rows[:, 1].tolist(), pen, recipe)
    return picture
