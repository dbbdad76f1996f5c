"""Masks as COCO's compressed run lengths (the ``counts`` of pycocotools) and back."""

import numpy as np
from numpy.typing import NDArray

def encode_mask(mask: NDArray[np.uint8] | NDArray[np.int32]) -> bytes:
    """Column-major run lengths of the pixels that are not 0, as pycocotools writes them.

    The mask is read where it lies, 64 columns at a time; memory beside the text is 8 bytes per row of the
    mask. The GIL is released.

    Args:
        mask: uint8 or int32 ``[h, w]``, last stride the item's size, below 2**30 pixels; may be read-only.

    Returns:
        ASCII text of at most h * w + 2 bytes (a chequerboard needs so many); ``b"0"`` for an empty mask.

    Raises:
        ValueError: wrong shape or strides, or too many pixels.
        TypeError: another dtype.
    """

def decode_mask(runs: bytes, columns: NDArray[np.uint8], value: int = 1) -> None:
    """Write the mask of ``runs``: 0, and ``value`` where it is set. The GIL is released.

    Args:
        runs: what :func:`encode_mask` gives; anything else is refused, never read past its end.
        columns: uint8 ``[w, h]``, C-contiguous, writable: the transposed mask.
        value: 0 to 255.

    Raises:
        ValueError: wrong shape, dtype or strides, or runs that do not add up to h * w pixels.
    """
