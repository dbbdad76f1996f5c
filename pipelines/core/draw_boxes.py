"""Boxes with their labels on a picture, by PaddleX's recipe (API reference, section 4).

The pixels are those of Pillow, which PaddleX draws with; but only what is under a label goes through it:
to turn a whole picture into Pillow's format and back takes longer than all else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .draw import Pen

Colour = tuple[int, int, int]

#: PaddleX's twenty colours, (red, green, blue).
PALETTE: tuple[Colour, ...] = (
    (255, 0, 0), (204, 255, 0), (0, 255, 102), (0, 102, 255), (204, 0, 255),
    (255, 77, 0), (128, 255, 0), (0, 255, 178), (0, 26, 255), (255, 0, 229),
    (255, 153, 0), (51, 255, 0), (0, 255, 255), (51, 0, 255), (255, 0, 153),
    (255, 229, 0), (0, 255, 26), (0, 178, 255), (128, 0, 255), (255, 0, 77),
)  # fmt: skip
#: Colours on which text is white; on the others it is nearly black.
_DARK = frozenset({0, 3, 4, 8, 9, 13, 14, 18, 19})
_LIGHT_TEXT, _DARK_TEXT = (255, 255, 255), (20, 14, 53)
#: Stands for infinity; beyond every picture.
_FAR = 1e6


class Recipe(msgspec.Struct, frozen=True):
    """Sizes that differ between the generations: shares of the longest side, and of the width."""

    line: float
    font: float


RECIPE_V3 = Recipe(line=0.002, font=0.018)
RECIPE_2024 = Recipe(line=0.005, font=0.024)


def font_colour(index: int) -> Colour:
    """Of text on the palette's colour ``index``, (red, green, blue)."""
    return _LIGHT_TEXT if index in _DARK else _DARK_TEXT


def colour_indices(labels: Iterable[str]) -> list[int]:
    """Palette index per box: a label keeps the one of its first box, which is that box's place mod 20."""
    first: dict[str, int] = {}
    return [first.setdefault(label, place % len(PALETTE)) for place, label in enumerate(labels)]


def draw_boxes(
    picture: NDArray[np.uint8],
    boxes: NDArray[np.float32],
    labels: Sequence[str],
    scores: Iterable[float],
    pen: Pen,
    recipe: Recipe = RECIPE_V3,
) -> None:
    """Draw into ``picture``.

    Args:
        picture: uint8 ``[H, W, 3]`` BGR, writable.
        boxes: float32 ``[N, 4]``: x1, y1, x2, y2 inside the picture.
        labels: N names, which choose the colours too.
        scores: N of them.
        pen: draws the labels; without a font there are only frames.
        recipe: sizes.
    """
    height, width = picture.shape[:2]
    # Pillow before 12 drew a line of width 0 one pixel wide, later ones draw none.
    thickness = max(1, int(max(height, width) * recipe.line))
    font = pen.font(int(recipe.font * width) + 2)
    finite = np.nan_to_num(boxes, nan=0.0, posinf=_FAR, neginf=-_FAR).tolist()
    indices = colour_indices(labels)
    for box, label, score, index in zip(finite, labels, scores, indices, strict=True):
        frame(picture, box, PALETTE[index], thickness)
        if font is not None:
            left, top, *_ = box
            _label(picture, left, top, f"{label} {score:.2f}", PALETTE[index], font_colour(index), font)


def frame(picture: NDArray[np.uint8], box: Sequence[float], colour: Colour, thickness: int) -> None:
    """A rectangle's outline as Pillow draws it, down, right, up and left: an even line leans to one side."""
    x1, y1, x2, y2 = (int(side) for side in box)
    less, more = (thickness - 1) // 2, thickness // 2
    parts = [(x1, y1, x1, y1), (x2, y2, x2, y2)]
    if y1 != y2:
        parts += [(x1 - less, y1, x1 + more, y2), (x2 - more, y1, x2 + less, y2)]
    if x1 != x2:
        parts += [(x1, y2 - less, x2, y2 + more), (x1, y1 - more, x2, y1 + less)]
    for left, top, right, bottom in parts:
        picture[max(0, top) : max(0, bottom + 1), max(0, left) : max(0, right + 1)] = colour[::-1]


def _label(
    picture: NDArray[np.uint8],
    left: float,
    top: float,
    text: str,
    ground: Colour,
    ink: Colour,
    font: ImageFont.FreeTypeFont,
) -> None:
    """Text on a filled rectangle, above the corner (left, top) or below it where there is no room."""
    ink_left, ink_top, ink_right, ink_bottom = font.getbbox(text)
    wide, high = ink_right - ink_left, ink_bottom - ink_top + 4
    rise, fall = (0, high) if top < high else (high, 0)
    text_left, text_top = left + 2, top - rise - 2
    # Everything that is drawn lies in this part; a part starts on whole pixels, as the picture does.
    x, y = max(0, int(left) - 2), max(0, int(text_top) - 2)
    right = int(max(left + wide + 4, text_left + ink_right)) + 3
    bottom = int(max(top + fall + 1, text_top + ink_bottom)) + 3
    part = picture[y:bottom, x:right]
    if not part.size:  # in the 2024 generation a box may lie outside
        return
    canvas = Image.fromarray(np.ascontiguousarray(part))
    draw = ImageDraw.Draw(canvas)
    corners = [(left - x, top - rise - y), (left + wide + 4 - x, top + fall + 1 - y)]
    draw.rectangle(corners, fill=ground[::-1])
    draw.text((text_left - x, text_top - y), text, fill=ink[::-1], font=font)
    part[...] = np.asarray(canvas)
