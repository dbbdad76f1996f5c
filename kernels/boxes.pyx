"""Thin face of db.h: check the arguments once, then work without the GIL; and the reading order."""

import numpy as np

from libc.math cimport isfinite
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int16_t
from libc.stdlib cimport free, malloc

from kernels.pixels cimport LONGEST_SIDE, check_side

cdef extern from "db.h" nogil:
    void cpu_detect()

    ctypedef struct db_options:
        const float *map
        ptrdiff_t stride
        int width
        int height
        int page_width
        int page_height
        float thresh
        double box_thresh
        double unclip_ratio
        double min_size
        ptrdiff_t max_candidates
        int dilation

    ctypedef struct db_box:
        int16_t corners[4][2]
        double score

    ctypedef struct contour_list:
        pass

    ptrdiff_t db_find(const db_options *of, contour_list *found)
    ptrdiff_t db_boxes_of(
        const db_options *of, const contour_list *found, ptrdiff_t candidates, db_box *boxes
    )

#: Boxes of one page that need no allocation; more are rare.
cdef enum:
    FEW = 256
    #: Keeps grown corners far inside 32 bits; PaddleX's ratios are 1 to 3.
    LARGEST_RATIO = 1000


cdef object unpack(const db_box *boxes, ptrdiff_t count):
    corners = np.empty((count, 4, 2), dtype=np.int16)
    scores = np.empty(count, dtype=np.float64)
    cdef int16_t[:, :, ::1] to_corners = corners
    cdef double[::1] to_scores = scores
    cdef ptrdiff_t box
    cdef int corner, axis
    for box in range(count):
        to_scores[box] = boxes[box].score
        for corner in range(4):
            for axis in range(2):
                to_corners[box, corner, axis] = boxes[box].corners[corner][axis]
    return corners, scores


def db_boxes(
    const float[:, :] prob not None,
    Py_ssize_t src_width,
    Py_ssize_t src_height,
    double thresh,
    double box_thresh,
    double unclip_ratio,
    Py_ssize_t max_candidates=1000,
    double min_size=3.0,
    bint dilation=False,
):
    """See boxes.pyi."""
    cdef db_options of
    cdef contour_list found
    cdef db_box few[FEW]
    cdef db_box *boxes = few
    cdef ptrdiff_t candidates, count = -1
    if prob.strides[1] != sizeof(float) or prob.strides[0] % <ptrdiff_t> sizeof(float):
        raise ValueError("prob must be [H, W] with contiguous rows")
    if not (1 <= prob.shape[0] < LONGEST_SIDE and 1 <= prob.shape[1] < LONGEST_SIDE):
        raise ValueError(f"the sides of prob must be 1 to {LONGEST_SIDE - 1}")
    check_side("src_width", src_width)
    check_side("src_height", src_height)
    if not 0 < unclip_ratio <= LARGEST_RATIO:
        raise ValueError(f"unclip_ratio must be above 0 and at most {LARGEST_RATIO}")
    if max_candidates < 0 or not isfinite(min_size) or min_size < 1:
        raise ValueError("max_candidates must not be negative, min_size must be at least 1")
    of.map = &prob[0, 0]
    of.stride = prob.strides[0] // <ptrdiff_t> sizeof(float)
    of.width, of.height = <int> prob.shape[1], <int> prob.shape[0]
    of.page_width, of.page_height = <int> src_width, <int> src_height
    of.thresh, of.box_thresh, of.unclip_ratio = <float> thresh, box_thresh, unclip_ratio
    of.max_candidates, of.min_size, of.dilation = max_candidates, min_size, dilation
    try:
        with nogil:
            candidates = db_find(&of, &found)
            if candidates > FEW:
                boxes = <db_box *> malloc(candidates * sizeof(db_box))
            if candidates >= 0 and boxes != NULL:
                count = db_boxes_of(&of, &found, candidates, boxes)
        if count < 0:
            raise MemoryError
        return unpack(boxes, count)
    finally:
        if boxes != few:
            free(boxes)


def sort_boxes(const int16_t[:, :, :] boxes not None):
    """See boxes.pyi."""
    if boxes.shape[1] != 4 or boxes.shape[2] != 2:
        raise ValueError("boxes must be [N, 4, 2]")
    given = np.asarray(boxes)
    cdef Py_ssize_t[::1] order = np.lexsort((given[:, 0, 0], given[:, 0, 1])).astype(np.intp)
    cdef Py_ssize_t last, index, here, following
    for last in range(order.shape[0] - 1):
        for index in range(last, -1, -1):
            here, following = order[index], order[index + 1]
            if not (
                -10 < boxes[following, 0, 1] - boxes[here, 0, 1] < 10
                and boxes[following, 0, 0] < boxes[here, 0, 0]
            ):
                break
            order[index], order[index + 1] = following, here
    return given[np.asarray(order)]


cpu_detect()
