"""Thin face of warp.h and sample.h: check the arguments once, then work without the GIL."""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, uint8_t
from libc.string cimport memcpy

from kernels.pixels cimport (
    LONGEST_SIDE,
    canvas,
    check_image,
    check_side,
    cpu_detect,
    picture,
    resample,
    set_canvas,
)

cdef extern from "sample.h" nogil:
    ctypedef struct point:
        int32_t x
        int32_t y

    ctypedef struct crop:
        const uint8_t *pixels
        ptrdiff_t stride
        int image_width
        int image_height
        int width
        int height
        int turned
        int flipped

    void fill_cubic_weights()
    int crop_measure(const point *quad, crop *of)
    int crop_prepare(crop *of)
    const uint8_t *crop_row(void *self, int y)
    picture crop_picture(crop *of)

ctypedef fused coordinate:
    short
    int


cdef bint is_far(int32_t value) noexcept:
    return value < -LONGEST_SIDE or value > LONGEST_SIDE


cdef int measure(const coordinate[:, :] quad, crop *of) except -1:
    cdef point points[4]
    cdef int i
    if quad.shape[0] != 4 or quad.shape[1] != 2:
        raise ValueError("a box has four corners of x and y")
    for i in range(4):
        points[i].x, points[i].y = quad[i, 0], quad[i, 1]
        if is_far(points[i].x) or is_far(points[i].y):
            raise ValueError(f"corners must lie within {LONGEST_SIDE} pixels")
    if not crop_measure(points, of):
        raise ValueError("the box has no whole pixel of width and height")
    of.flipped = 0
    return 0


cdef int measure_any(object quad, crop *of) except -1:
    cdef str form = memoryview(quad).format
    if form == "h":
        return measure[short](quad, of)
    if form == "i":
        return measure[int](quad, of)
    raise ValueError("corners must be int16 or int32")


cdef int prepare(crop *of, const uint8_t[:, :, :] image) except -1:
    check_image(image)
    of.pixels = &image[0, 0, 0]
    of.stride = image.strides[0]
    of.image_width, of.image_height = <int> image.shape[1], <int> image.shape[0]
    cdef int failed = crop_prepare(of)
    if failed < 0:
        raise MemoryError
    if failed:
        raise ValueError("the box is too thin to be straightened")
    return 0


def crop_size(object quad not None):
    """See warp.pyi."""
    cdef crop of
    measure_any(quad, &of)
    return (of.height, of.width, True) if of.turned else (of.width, of.height, False)


def crop_line(const uint8_t[:, :, :] image not None, object quad not None, uint8_t[:, :, :] out not None):
    """See warp.pyi."""
    cdef crop of
    cdef picture whole
    cdef int y
    measure_any(quad, &of)
    prepare(&of, image)
    whole = crop_picture(&of)
    if (out.shape[0], out.shape[1], out.shape[2]) != (whole.height, whole.width, 3):
        raise ValueError(f"out must be [{whole.height}, {whole.width}, 3]")
    if out.strides[2] != 1 or out.strides[1] != 3:
        raise ValueError("out must have packed pixels")
    with nogil:
        for y in range(whole.height):
            memcpy(&out[y, 0, 0], whole.row(whole.self, y), 3 * whole.width)


def crop_line_normalize_chw(
    const uint8_t[:, :, :] image not None,
    object quad not None,
    float[:, :, :] out not None,
    Py_ssize_t width,
    object scale,
    object shift,
    *,
    double divisor=1.0,
    bint reverse=False,
    double pad=0.0,
    bint flip=False,
):
    """See warp.pyi."""
    cdef crop of
    cdef picture whole
    cdef canvas to
    cdef int failed
    measure_any(quad, &of)
    prepare(&of, image)
    of.flipped = flip
    check_side("width", width)
    set_canvas(&to, out, scale, shift, divisor, reverse, pad)
    to.width, to.height = <int> width, to.rows
    whole = crop_picture(&of)
    with nogil:
        failed = resample(&whole, &to)
    if failed:
        raise MemoryError


cpu_detect()
fill_cubic_weights()
