"""Thin face of nms.h: check the arguments once, then work without the GIL."""

import numpy as np

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t

cdef extern from "cpu.h" nogil:
    void cpu_detect()

cdef extern from "nms.h" nogil:
    ctypedef struct nms_limits:
        float same
        float other
        float plus

    ptrdiff_t nms_keep(const float *rows, ptrdiff_t pitch, ptrdiff_t count, nms_limits limit, int64_t *kept)

#: More rows than any network has anchors; the places of rows are kept in 32 bits.
cdef enum:
    MOST_ROWS = 1 << 24


def nms(const float[:, :] rows not None, double same, double other, *, double plus=0.0):
    """See nms.pyi."""
    cdef Py_ssize_t count = rows.shape[0], stay
    cdef nms_limits limit
    cdef int64_t[::1] kept
    if rows.shape[1] < 6 or rows.strides[1] != sizeof(float) or rows.strides[0] % <ptrdiff_t> sizeof(float):
        raise ValueError("rows must be [N, 6] or wider, with contiguous rows")
    if count > MOST_ROWS:
        raise ValueError(f"there must be at most {MOST_ROWS} rows, not {count}")
    found = np.empty(count, dtype=np.int64)
    if count == 0:
        return found
    kept = found
    limit.same, limit.other, limit.plus = <float> same, <float> other, <float> plus
    with nogil:
        stay = nms_keep(&rows[0, 0], rows.strides[0] // <ptrdiff_t> sizeof(float), count, limit, &kept[0])
    if stay < 0:
        raise MemoryError
    return found[:stay]


cpu_detect()
