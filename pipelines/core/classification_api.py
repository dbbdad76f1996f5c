"""What the two classification routes answer (API reference, 10.1 and 10.5)."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import numpy as np

from .draw import Pen
from .draw_labels import Draw
from .forms import Reply
from .image_api import picture

#: Decimals of scores, in both generations.
_DECIMALS = 5


class Categories(msgspec.Struct, frozen=True):
    """What a device found in one picture, best first.

    Attributes:
        classes: indices; ``names``: their labels; ``scores``: as the network gave them.
    """

    classes: list[int]
    names: list[str]
    scores: list[float]


def answer(reply: Reply, draw: Draw, precision: type[np.floating[Any]]) -> dict[str, Any]:
    """``{categories, image}``; without ``image`` where no picture is wanted.

    Args:
        reply: with one page.
        draw: makes the picture.
        precision: in which scores are rounded; float32 leaves its traces in the JSON of 3.x.
    """
    (page,) = reply.pages
    found = cast("Categories", page.result)
    scores: list[float] = np.round(np.asarray(found.scores, precision), _DECIMALS).tolist()
    columns = zip(found.classes, found.names, scores, strict=True)
    result: dict[str, Any] = {
        "categories": [{"id": index, "name": name, "score": score} for index, name, score in columns]
    }
    if page.pixels is not None and reply.visualize:
        result["image"] = picture(draw(page.pixels, found.names, scores, Pen(reply.font)))
    return result
