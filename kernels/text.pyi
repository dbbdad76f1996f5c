"""CTC decoding: best class per time step in one pass, then collapsing."""

import numpy as np
from numpy.typing import NDArray

def ctc_argmax(logits: NDArray[np.float32], indices: NDArray[np.int32], scores: NDArray[np.float32]) -> None:
    """Best class of every time step and its value, as ``argmax`` and ``max`` over the last axis.

    The first of equal maxima wins. NaN never wins; a step without any number above -inf gets
    index 0 and the value of class 0 (so a step of NaN alone gives blank and NaN). The GIL is released.

    Args:
        logits: float32 ``[N, T, C]``, last stride 4, other strides free; C >= 1; may be read-only.
        indices: int32 ``[N, T]``, writable.
        scores: float32 ``[N, T]``, writable.

    Raises:
        ValueError: wrong shape, dtype or strides.
    """

def ctc_collapse(
    indices: NDArray[np.int32], scores: NDArray[np.float32]
) -> list[tuple[NDArray[np.int32], NDArray[np.int32], float]]:
    """Drop repeats and blanks (class 0) of every line.

    A step is kept when its class differs from the step before and is not 0.

    Args:
        indices: int32 ``[N, T]``, last stride 4.
        scores: float32 ``[N, T]``, last stride 4.

    Returns:
        Per line: classes of the kept steps (int32), the kept steps (int32, ascending), and the mean
        of their scores (float32 pairwise sum as ``np.mean``, widened; 0.0 for an empty line).

    Raises:
        ValueError: wrong shape, dtype or strides.
    """
