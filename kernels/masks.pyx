"""Thin face of masks.h: check the arguments once, then work without the GIL."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t, uint8_t

cdef extern from "masks.h" nogil:
    const char *mask_runs(
        const char *mask, ptrdiff_t stride, ptrdiff_t height, ptrdiff_t width, int size, size_t *length
    )
    void mask_done()
    int mask_fill(const char *text, size_t length, uint8_t value, uint8_t *out, int64_t total)

ctypedef fused pixel:
    uint8_t
    int32_t

cdef enum:
    #: Far above any image; run lengths below it take at most seven groups of five bits.
    MOST_PIXELS = 1 << 30


def encode_mask(const pixel[:, :] mask not None):
    """See masks.pyi."""
    cdef Py_ssize_t height = mask.shape[0], width = mask.shape[1]
    cdef ptrdiff_t stride = mask.strides[0]
    cdef const char *text
    cdef size_t length = 0
    if height == 0 or width == 0:
        return b"0"
    if mask.strides[1] != sizeof(pixel) or stride % <ptrdiff_t> sizeof(pixel):
        raise ValueError("the mask must have contiguous rows")
    if height >= MOST_PIXELS // width:
        raise ValueError("the mask is too large")
    with nogil:
        text = mask_runs(<const char *> &mask[0, 0], stride, height, width, sizeof(pixel), &length)
    if text == NULL:
        raise MemoryError
    runs = PyBytes_FromStringAndSize(text, length)
    mask_done()
    return runs


def decode_mask(bytes runs not None, uint8_t[:, ::1] columns not None, uint8_t value=1):
    """See masks.pyi."""
    cdef const char *text = PyBytes_AS_STRING(runs)
    cdef size_t length = PyBytes_GET_SIZE(runs)
    cdef int64_t total = columns.shape[0] * columns.shape[1]
    cdef uint8_t *out = &columns[0, 0] if total else NULL
    cdef int failed
    if total >= MOST_PIXELS:
        raise ValueError("the mask is too large")
    with nogil:
        failed = mask_fill(text, length, value, out, total)
    if failed:
        raise ValueError("the run lengths do not fit the mask")
