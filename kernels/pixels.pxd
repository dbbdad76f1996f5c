"""What the image kernels share: declarations of resample.h and the checks of their arguments."""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, uint8_t

cdef extern from "cpu.h" nogil:
    void cpu_detect()

cdef extern from "resample.h" nogil:
    ctypedef struct picture:
        const uint8_t *(*row)(void *self, int y) noexcept nogil
        void *self
        int width
        int height

    ctypedef struct canvas:
        float *plane[3]
        ptrdiff_t stride
        int columns
        int rows
        int width
        int height
        int left
        int top
        float scale[3]
        float shift[3]
        float divisor
        float pad

    int resample(const picture *source, const canvas *to)

#: OpenCV's remap keeps coordinates in 16 bits; larger pages are refused long before.
cdef enum:
    LONGEST_SIDE = 32767


cdef inline int check_image(const uint8_t[:, :, :] image) except -1:
    if image.shape[2] != 3 or image.strides[2] != 1 or image.strides[1] != 3:
        raise ValueError("the image must be [H, W, 3] with packed pixels")
    if not (1 <= image.shape[0] <= LONGEST_SIDE and 1 <= image.shape[1] <= LONGEST_SIDE):
        raise ValueError(f"the sides of the image must be 1 to {LONGEST_SIDE} pixels")
    return 0


cdef inline int check_side(str name, Py_ssize_t value) except -1:
    if not 1 <= value <= LONGEST_SIDE:
        raise ValueError(f"{name} must be 1 to {LONGEST_SIDE} pixels, not {value}")
    return 0


cdef inline int set_canvas(
    canvas *to, float[:, :, :] out, object scale, object shift, double divisor, bint reverse, double pad
) except -1:
    """Fill all but the resized size and the offset."""
    cdef int plane, channel
    if out.shape[0] != 3 or out.strides[2] != sizeof(float) or out.strides[1] % <ptrdiff_t> sizeof(float):
        raise ValueError("out must be [3, h, w] with contiguous rows")
    if not (1 <= out.shape[1] <= LONGEST_SIDE and 1 <= out.shape[2] <= LONGEST_SIDE):
        raise ValueError(f"the sides of out must be 1 to {LONGEST_SIDE}")
    if len(scale) != 3 or len(shift) != 3:
        raise ValueError("scale and shift need three numbers each")
    for plane in range(3):
        channel = 2 - plane if reverse else plane
        to.plane[channel] = &out[plane, 0, 0]
        to.scale[channel] = scale[plane]
        to.shift[channel] = shift[plane]
    to.stride = out.strides[1] // <ptrdiff_t> sizeof(float)
    to.rows = <int> out.shape[1]
    to.columns = <int> out.shape[2]
    to.divisor = divisor
    to.pad = pad
    to.left = 0
    to.top = 0
    return 0
