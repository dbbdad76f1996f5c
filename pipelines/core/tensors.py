"""Input tensors that a stage fills again and again."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Bytes that stay allocated between runs: a recognition batch of six lines of 3200 px is 11 MB, a
#: detection input of 1600 x 2000 is 38 MB. What is larger is allocated for its run alone.
KEEP_BYTES = 40 << 20


class Scratch:
    """Float32 memory that grows with the tensors asked of it, up to :data:`KEEP_BYTES`.

    One stage on one thread uses it; a tensor is valid until the next call.
    """

    def __init__(self) -> None:
        self._flat: NDArray[np.float32] = np.empty(0, dtype=np.float32)

    def tensor(self, *shape: int) -> NDArray[np.float32]:
        """C-contiguous float32 of ``shape``; its content is whatever was there."""
        size = math.prod(shape)
        if size * 4 > KEEP_BYTES:
            return np.empty(shape, dtype=np.float32)
        if size > self._flat.size:
            self._flat = np.empty(size, dtype=np.float32)
        return self._flat[:size].reshape(shape)


def contiguous_float32(array: NDArray[Any]) -> NDArray[np.float32]:
    """An engine's output as the kernels take it: float32, last stride 4; copied only when it is not."""
    return np.ascontiguousarray(array, dtype=np.float32)
