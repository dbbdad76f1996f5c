"""Thin face of resample.h: check the arguments once, then work without the GIL."""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport uint8_t

from kernels.pixels cimport canvas, check_image, check_side, cpu_detect, picture, resample, set_canvas

cdef struct plain_image:
    const uint8_t *pixels
    ptrdiff_t stride


cdef const uint8_t *image_row(void *self, int y) noexcept nogil:
    cdef plain_image *image = <plain_image *> self
    return image.pixels + y * image.stride


def resize_normalize_chw(
    const uint8_t[:, :, :] image not None,
    float[:, :, :] out not None,
    Py_ssize_t width,
    Py_ssize_t height,
    object scale,
    object shift,
    *,
    double divisor=1.0,
    bint reverse=False,
    double pad=0.0,
    Py_ssize_t left=0,
    Py_ssize_t top=0,
):
    """See resize.pyi."""
    cdef canvas to
    cdef picture source
    cdef plain_image plain
    cdef int failed
    check_image(image)
    check_side("width", width)
    check_side("height", height)
    set_canvas(&to, out, scale, shift, divisor, reverse, pad)
    if left < 0 or top < 0:
        raise ValueError("left and top must not be negative")
    to.width, to.height = <int> width, <int> height
    to.left, to.top = <int> min(left, width), <int> min(top, height)
    plain.pixels = &image[0, 0, 0]
    plain.stride = image.strides[0]
    source.row = image_row
    source.self = &plain
    source.width, source.height = <int> image.shape[1], <int> image.shape[0]
    with nogil:
        failed = resample(&source, &to)
    if failed:
        raise MemoryError


cpu_detect()
