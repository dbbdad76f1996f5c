"""Pictures of results: what was found, drawn on the page (API reference, section 4).

Everything is uint8 BGR. Runs in worker processes, off the event loop. The recipes are PaddleX's; the
pixels are not (other font, OpenCV's polygon edges).
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from functools import cache, lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .errors import ConfigError

logger = logging.getLogger(__name__)

_WHITE = (255, 255, 255)
#: Height of the caption under a picture of page preprocessing, and the room for its text, pixels.
_CAPTION, _CAPTION_TEXT = 25, 20
#: Sizes of a font that a process keeps, 0.12 MB each: the first text in a new one takes 1.7 ms, others 0.1.
_FONTS = 96


class Pen:
    """Draws text in one font; without a font it draws none.

    Args:
        font: gives the path of a font file. That it cannot (no network, nothing cached) is logged
            once per process and reason.
    """

    def __init__(self, font: Callable[[], str]) -> None:
        self._path = ""
        try:
            self._path = font()
            _font(self._path, 12)
        except (ConfigError, OSError) as error:
            self._path = ""
            _tell_once(f"{type(error).__name__}: {error}")

    def _load(self, size: int) -> ImageFont.FreeTypeFont:
        return _font(self._path, max(1, size))

    def font(self, size: int) -> ImageFont.FreeTypeFont | None:
        """The font at ``size`` pixels, or None when there is none."""
        return self._load(size) if self._path else None

    def line(self, text: str, width: int, height: int, left: int = 0) -> NDArray[np.uint8]:
        """Grey uint8 ``[height, width]``: black text on white, as high as fits both ways."""
        canvas = Image.new("L", (width, height), 255)
        if text and self._path:
            size = int(height * 0.8)
            length = self._load(size).getlength(text)
            if length > width:
                size = int(size * width / length)
            ImageDraw.Draw(canvas).text((left, 0), text, fill=0, font=self._load(size))
        return np.asarray(canvas, dtype=np.uint8)

    def column(self, text: str, width: int, height: int) -> NDArray[np.uint8]:
        """Grey uint8 ``[height, width]``: characters below each other."""
        canvas = Image.new("L", (width, height), 255)
        if text and self._path:
            size = max(10, int(height / len(text) * 0.8 * 1.2))
            widest = max(self._load(size).getlength(character) for character in text)
            if widest > width:
                size = max(10, int(size * width / widest))
            font, draw, top = self._load(size), ImageDraw.Draw(canvas), 0.0
            for character in text:
                draw.text((0, top), character, fill=0, font=font)
                box = font.getbbox(character)
                top += box[3] - box[1] + 2
        return np.asarray(canvas, dtype=np.uint8)


@lru_cache(maxsize=_FONTS)
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    """Threads share it: Pillow holds the interpreter's lock while it draws text. Raises OSError."""
    # The basic layout engine: no shaping, like the reference's fonts, and faster.
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


@cache
def _tell_once(reason: str) -> None:
    logger.warning("pictures are drawn without text, there is no font: %s", reason)


def ocr_picture(
    page: NDArray[np.uint8],
    quads: NDArray[np.int16],
    texts: Sequence[str],
    pen: Pen,
    shapes: Sequence[NDArray[np.int16]] | None = None,
) -> NDArray[np.uint8]:
    """``[h, 2w, 3]``: left the page under coloured boxes, right the texts in their places.

    Args:
        page: ``[h, w, 3]``; may be read-only.
        quads: ``[N, 4, 2]`` corners.
        texts: N of them.
        pen: draws the texts.
        shapes: N polygons ``[K, 2]`` to colour in place of the boxes.
    """
    height, width = page.shape[:2]
    picture = np.full((height, 2 * width, 3), 255, np.uint8)
    left, right = picture[:, :width], picture[:, width:]
    left[...] = page
    colours = random.Random(0)  # noqa: S311 - the reference's palette, not a secret
    for quad, shape, text in zip(quads, quads if shapes is None else shapes, texts, strict=True):
        red, green, blue = (colours.randint(0, 255) for _ in range(3))
        cv2.fillPoly(left, [shape.astype(np.int32)], (blue, green, red))
        _write(right, quad.astype(np.int32), text, (blue, green, red), pen)
    cv2.addWeighted(left, 0.5, page, 0.5, 0.0, dst=left)
    return picture


def _write(
    canvas: NDArray[np.uint8],
    quad: NDArray[np.int32],
    text: str,
    colour: tuple[int, int, int],
    pen: Pen,
) -> None:
    """Warp a text into its box and outline the box; only pixels around the box are touched."""
    corners = quad.astype(np.float32)
    box_height = int(np.linalg.norm(corners[0] - corners[3]))
    box_width = int(np.linalg.norm(corners[0] - corners[1]))
    if box_height < 1 or box_width < 1:
        return
    upright = box_height > 2 * box_width and box_height > 30
    ink = (pen.column if upright else pen.line)(text, box_width, box_height)
    x, y, w, h = cv2.boundingRect(quad)
    x0, y0 = max(0, x - 1), max(0, y - 1)
    part = canvas[y0 : y + h + 1, x0 : x + w + 1]
    if not part.size:
        return
    source = np.array([[0, 0], [box_width, 0], [box_width, box_height], [0, box_height]], np.float32)
    matrix = cv2.getPerspectiveTransform(source, corners - np.array([x0, y0], np.float32))
    size = (part.shape[1], part.shape[0])
    warped = cv2.warpPerspective(ink, matrix, size, flags=cv2.INTER_NEAREST, borderValue=_WHITE)
    layer = cv2.merge([warped, warped, warped])
    cv2.polylines(layer, [quad - np.array([x0, y0], np.int32)], isClosed=True, color=colour)
    np.bitwise_and(part, layer, out=part)


def preprocessing_picture(
    pages: Sequence[NDArray[np.uint8]], captions: Sequence[str], pen: Pen
) -> NDArray[np.uint8]:
    """Pages side by side with a caption of 25 px below each."""
    height = max(page.shape[0] for page in pages)
    picture = np.full((height + _CAPTION, sum(page.shape[1] for page in pages), 3), 255, np.uint8)
    left = 0
    for page, caption in zip(pages, captions, strict=True):
        rows, columns = page.shape[:2]
        picture[:rows, left : left + columns] = page
        text = pen.line(caption, columns, _CAPTION_TEXT, left=10)
        picture[height + 2 : height + 2 + _CAPTION_TEXT, left : left + columns] = text[..., np.newaxis]
        left += columns
    return picture


def jpeg(image: NDArray[np.uint8], max_size: tuple[int, int] | None = None, quality: int = 95) -> bytes:
    """An encoded JPEG, shrunk first when a side exceeds ``max_size`` (as 3.x does)."""
    height, width = image.shape[:2]
    if max_size is not None and (width > max_size[1] or height > max_size[0]):
        wide = width / height > max_size[0] / max_size[1]
        factor = max_size[0] / width if wide else max_size[1] / height
        size = max(1, int(factor * width)), max(1, int(factor * height))
        image = np.asarray(cv2.resize(image, size), dtype=np.uint8)
    done, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"cannot encode a JPEG of {image.shape[1]} x {image.shape[0]}")
    return encoded.tobytes()
