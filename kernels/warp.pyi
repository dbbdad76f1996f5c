"""Perspective crop of a text line (API reference, 9.6), alone or straight into a recogniser's input.

A line's picture is PaddleX's: minimum-area rectangle of the box's integer corners, ordered
top-left, top-right, bottom-right, bottom-left, warped with cubic interpolation and replicated
border to whole pixels, turned 90 degrees counter-clockwise when height/width >= 1.5.
Pixels equal ``cv2.warpPerspective`` (OpenCV 4.10) bit for bit. The GIL is released.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

def crop_size(quad: NDArray[np.int16]) -> tuple[int, int, bool]:
    """Size of a line's picture.

    Args:
        quad: int16 or int32 ``[4, 2]``, x and y of the four corners.

    Returns:
        Width and height of the picture after the turn, and whether it was turned.

    Raises:
        ValueError: a wrong shape or dtype, or a box without a whole pixel of width and height.
    """

def crop_line(image: NDArray[np.uint8], quad: NDArray[np.int16], out: NDArray[np.uint8]) -> None:
    """Write a line's picture into ``out``.

    Args:
        image: uint8 ``[H, W, 3]``, packed pixels, sides up to 32767; may be read-only.
        quad: as for :func:`crop_size`.
        out: uint8 ``[h, w, 3]`` of exactly ``crop_size``, writable, packed pixels.

    Raises:
        ValueError: wrong shape, dtype, strides or size.
    """

def crop_line_normalize_chw(
    image: NDArray[np.uint8],
    quad: NDArray[np.int16],
    out: NDArray[np.float32],
    width: int,
    scale: Sequence[float],
    shift: Sequence[float],
    *,
    divisor: float = 1.0,
    reverse: bool = False,
    pad: float = 0.0,
    flip: bool = False,
) -> None:
    """Crop a line and write it, resized and normalised, into ``out``.

    The same as :func:`crop_line` followed by :func:`kernels.resize.resize_normalize_chw` with the
    height of ``out``, without the picture in between: only the rows that the resize reads are warped.

    Args:
        image: uint8 ``[H, W, 3]``, packed pixels, sides up to 32767; may be read-only.
        quad: as for :func:`crop_size`.
        out: float32 ``[3, h, w]``, writable, last stride 4; columns from ``width`` on become ``pad``.
        width: resized width, 1..32767.
        scale, shift, divisor, reverse, pad: as for ``resize_normalize_chw``.
        flip: turn the picture by 180 degrees before the resize (line orientation).

    Raises:
        ValueError: wrong shape, dtype, strides or size, or a box without a whole pixel.
    """
