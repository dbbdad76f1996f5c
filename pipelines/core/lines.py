"""Text lines of a page: boxes that have a picture, in the form that the line stages take."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from kernels.warp import crop_size

#: Largest side of a page: box corners are int16, as in PaddleX.
MAX_SIDE = 32767

_TURNS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}


class Line(msgspec.Struct, frozen=True):
    """One text line, still inside its page.

    Attributes:
        page: uint8 ``[H, W, 3]`` BGR that the box belongs to.
        quad: int16 ``[4, 2]`` corners.
        width, height: pixels of the line's upright picture.
        flip: the picture is upside down and is turned before it is read.
    """

    page: np.ndarray
    quad: np.ndarray
    width: int
    height: int
    flip: bool = False

    @property
    def ratio(self) -> float:
        """Width per height."""
        return self.width / self.height


def cut_lines(page: NDArray[np.uint8], quads: NDArray[np.int16]) -> tuple[list[Line], NDArray[np.int16]]:
    """The lines of a page and their boxes; boxes without a whole pixel are left out of both."""
    lines, kept = [], []
    for index, quad in enumerate(quads):
        try:
            width, height, _ = crop_size(quad)
        except ValueError:
            continue
        lines.append(Line(page, quad, width, height))
        kept.append(index)
    return lines, quads[kept]


def flipped(lines: Sequence[Line], angles: Sequence[int]) -> list[Line]:
    """Lines with ``flip`` where the angle's class is 1 (180 degrees)."""
    return [
        msgspec.structs.replace(line, flip=True) if angle == 1 else line
        for line, angle in zip(lines, angles, strict=True)
    ]


def rotated(page: NDArray[np.uint8], angle: int) -> NDArray[np.uint8]:
    """``page`` turned counter-clockwise by 0, 90, 180 or 270 degrees, every pixel kept.

    PaddleX warps about a centre that is half a pixel off and so loses a row or column.
    """
    if angle not in _TURNS:
        return page
    return np.asarray(cv2.rotate(page, _TURNS[angle]), dtype=np.uint8)
