"""Labels on a picture, by PaddleX's recipes (API reference, section 4). Pixels are Pillow's, as there."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .draw import Pen
from .draw_boxes import PALETTE, font_colour

#: Draws ``names`` with ``scores`` on uint8 ``[H, W, 3]`` BGR, which may be read-only; gives a new picture.
Draw = Callable[[NDArray[np.uint8], Sequence[str], Sequence[float], Pen], NDArray[np.uint8]]

#: The ground of labels and the text on it, blue first.
_GROUND, _INK = PALETTE[0][::-1], font_colour(0)[::-1]
#: Shares of the picture's width: sizes of the label, and of the text under a picture.
_LARGEST, _SMALLEST, _UNDER = 0.05, 0.02, 0.06
#: Rows of text under a picture end before they are this many times as high as its longer side.
_MOST_UNDER = 1.0


def best_label(
    image: NDArray[np.uint8], names: Sequence[str], scores: Sequence[float], pen: Pen
) -> NDArray[np.uint8]:
    """The first label with two decimals in the top left corner, as large as fits: 5 to 2 % of the width."""
    drawn: NDArray[np.uint8] = image.copy()
    width = image.shape[1]
    font = pen.font(int(width * _SMALLEST))
    if font is None or not names:
        return drawn
    text = f"{names[0]} {scores[0]:.2f}"
    font = _largest(pen, text, width) or font
    left, top, right, bottom = font.getbbox(text)
    wide, high = int(right - left) + 3, int(bottom - top) + 6
    # Only what lies under the label goes through Pillow: a whole large picture there and back takes long.
    part = drawn[: 3 + high + 1, : 6 + int(max(wide, right)) + 1]
    canvas = Image.fromarray(np.ascontiguousarray(part))
    draw = ImageDraw.Draw(canvas)
    draw.rectangle([(3, 3), (3 + wide, 3 + high)], fill=_GROUND)
    draw.text((6, 6 - top), text, fill=_INK, font=font)  # PaddleX's font begins higher; this one is centred
    part[...] = np.asarray(canvas)
    return drawn


def _largest(pen: Pen, text: str, width: int) -> ImageFont.FreeTypeFont | None:
    """The largest font between the bounds in which the text fits, or None when none does."""
    low, high, found = int(width * _SMALLEST), int(width * _LARGEST), None
    while low <= high:
        font = pen.font(middle := (low + high) // 2)
        left, _, right, _ = font.getbbox(text) if font is not None else (0, 0, 0, 0)
        if right - left <= width:
            low, found = middle + 1, font
        else:
            high = middle - 1
    return found


def all_labels(
    image: NDArray[np.uint8], names: Sequence[str], scores: Sequence[float], pen: Pen
) -> NDArray[np.uint8]:
    """The picture, and below it rows of ``name(score)``. With very many labels the last rows are left out."""
    height, width = image.shape[:2]
    font = pen.font(int(width * _UNDER))
    if font is None or not names:
        return image
    gap, high = font.getlength("  "), max(1, int(1.2 * font.getbbox("(Ág)")[3]))
    most = max(1, int(_MOST_UNDER * max(height, width)) // high)
    texts = (f"{name}({score})" for name, score in zip(names, scores, strict=True))
    measured = ((text, font.getlength(text) + gap) for text in texts)
    rows = list(itertools.islice(_rows(measured, width - gap), most))
    under = Image.new("RGB", (width, high * len(rows)), _GROUND)
    draw = ImageDraw.Draw(under)
    for number, row in enumerate(rows):
        left = gap
        for text, wide in row:
            draw.text((left, number * high), text, fill=_INK, font=font)
            left += wide
    whole: NDArray[np.uint8] = np.concatenate([image, np.asarray(under)])
    return whole


def _rows(texts: Iterable[tuple[str, float]], width: float) -> Iterator[list[tuple[str, float]]]:
    """Texts with their widths, as many in a row as fit, at least one."""
    row: list[tuple[str, float]] = []
    left = width
    for text, wide in texts:
        if row and wide > left:
            yield row
            row, left = [], width
        row.append((text, wide))
        left -= wide
    yield row
