"""Bilinear resize, normalisation and HWC-to-CHW packing in one pass over the pixels.

The arithmetic is that of ``cv2.resize(..., interpolation=INTER_LINEAR)`` on uint8
(OpenCV 4.10, 11-bit fixed point), bit for bit, followed by float32 normalisation.
The GIL is released; scratch is thread-local and kept between calls.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

def resize_normalize_chw(
    image: NDArray[np.uint8],
    out: NDArray[np.float32],
    width: int,
    height: int,
    scale: Sequence[float],
    shift: Sequence[float],
    *,
    divisor: float = 1.0,
    reverse: bool = False,
    pad: float = 0.0,
    left: int = 0,
    top: int = 0,
) -> None:
    """Resize ``image`` to ``width`` x ``height``, normalise, and write it into planes.

    ``out[c, y, x] = resized[top + y, left + x, c] / divisor * scale[c] + shift[c]``, each step
    rounded to float32; whatever of ``out`` lies beyond the resized picture becomes ``pad``.
    PaddleX's two recipes: detection and classification ``scale=1/255/std, shift=-mean/std``;
    recognition ``divisor=255, scale=2, shift=-1``, which equals ``(x/255 - 0.5) / 0.5`` bit for bit.

    Args:
        image: uint8 ``[H, W, 3]``; pixels packed (strides ``[any, 3, 1]``); may be read-only.
        out: float32 ``[3, h, w]``, writable, last stride 4; row and plane strides are free, so a
            slice of a batch tensor will do. Must not share memory with ``image``.
        width, height: size of the resized picture, 1..32767; it may be larger or smaller than ``out``.
        scale, shift: three floats each, by *output* plane.
        divisor: see above; 1.0 costs nothing.
        reverse: plane 0 is channel 2 (BGR to RGB).
        pad: value of canvas pixels outside the picture, after normalisation.
        left, top: offset of ``out`` inside the resized picture (centre crop), not negative.

    Raises:
        ValueError: wrong shape, dtype, strides, size or a read-only ``out``.
    """
