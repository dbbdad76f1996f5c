"""Label maps as JSON text, without a Python integer per pixel."""

import numpy as np
from numpy.typing import NDArray

def label_map_json(
    labels: NDArray[np.uint8] | NDArray[np.uint16], rows: NDArray[np.int32], columns: NDArray[np.int32]
) -> bytes:
    """The JSON array of ``labels[rows][:, columns]``, row after row in one flat list, without spaces.

    With the places that a nearest-neighbour resize takes its pixels from, the map is enlarged while it is
    written: the text of a row is made once and copied for the output rows that repeat it. The GIL is
    released.

    Args:
        labels: uint8 or uint16 ``[h, w]``, last stride the item's size; may be read-only.
        rows: int32 ``[H]``, contiguous, 0 <= row < h; repeated rows side by side cost a copy only.
        columns: int32 ``[W]``, contiguous, 0 <= column < w.

    Returns:
        ``b"[0,0,1,...]"``, at most 2 + H * W * (digits of the largest label + 1) bytes.

    Raises:
        ValueError: wrong shape or strides, or a place outside the map.
        TypeError: another dtype of labels.
    """
