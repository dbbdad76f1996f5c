"""What the two classification routes answer (API reference, 10.1 and 10.5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec
import numpy as np

from .base import Page, Reply
from .draw import Pen
from .draw_labels import Draw
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


def answer(reply: Reply, draw: Draw, scores: Sequence[float]) -> dict[str, Any]:
    """``{categories, image}``; without ``image`` where no picture is wanted.

    Args:
        reply: with one page.
        draw: makes the picture.
        scores: as they are sent, one for each of the page's categories.
    """
    page = reply.pages[0]
    found = categories(page)
    columns = zip(found.classes, found.names, scores, strict=True)
    result: dict[str, Any] = {
        "categories": [{"id": index, "name": name, "score": score} for index, name, score in columns]
    }
    if page.pixels is not None and reply.visualize:
        result["image"] = picture(draw(page.pixels, found.names, scores, Pen(reply.font)))
    return result


def categories(page: Page) -> Categories:
    """What the device found."""
    return cast("Categories", page.result)


def rounded(scores: Sequence[float], kind: type[np.floating[Any]]) -> list[float]:
    """Five decimals, rounded in the precision ``kind``: float32 leaves its traces in the JSON of 3.x."""
    return cast("list[float]", np.round(np.asarray(scores, kind), _DECIMALS).tolist())
