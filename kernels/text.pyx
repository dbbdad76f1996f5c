"""Thin face of ctc.h: check the arguments once, then work without the GIL."""

import numpy as np

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t

cdef extern from "ctc.h" nogil:
    void cpu_detect()
    int32_t ctc_best(const float *step, ptrdiff_t classes)
    ptrdiff_t ctc_keep(
        const int32_t *classes,
        const float *values,
        ptrdiff_t steps,
        int32_t *kept_classes,
        int32_t *kept_steps,
        float *kept_values,
    )
    float pairwise_sum(const float *values, ptrdiff_t count)


def ctc_argmax(
    const float[:, :, :] logits not None, int32_t[:, :] indices not None, float[:, :] scores not None
):
    """See text.pyi."""
    cdef Py_ssize_t lines = logits.shape[0], steps = logits.shape[1], classes = logits.shape[2]
    cdef Py_ssize_t line, step
    cdef int32_t best
    if classes < 1 or logits.strides[2] != sizeof(float):
        raise ValueError("logits must be [N, T, C] with at least one class, classes side by side")
    if (indices.shape[0], indices.shape[1]) != (lines, steps):
        raise ValueError(f"indices must be [{lines}, {steps}]")
    if (scores.shape[0], scores.shape[1]) != (lines, steps):
        raise ValueError(f"scores must be [{lines}, {steps}]")
    with nogil:
        for line in range(lines):
            for step in range(steps):
                best = ctc_best(&logits[line, step, 0], classes)
                indices[line, step] = best
                scores[line, step] = logits[line, step, best]


def ctc_collapse(const int32_t[:, :] indices not None, const float[:, :] scores not None):
    """See text.pyi."""
    cdef Py_ssize_t lines = indices.shape[0], steps = indices.shape[1], line, count
    cdef int32_t[::1] kept_classes, kept_steps
    cdef float[::1] kept_values
    if (scores.shape[0], scores.shape[1]) != (lines, steps):
        raise ValueError(f"scores must be [{lines}, {steps}]")
    if steps and (indices.strides[1] != sizeof(int32_t) or scores.strides[1] != sizeof(float)):
        raise ValueError("the steps of a line must lie side by side")
    values = np.empty(steps, dtype=np.float32)
    kept_values = values
    result = []
    for line in range(lines):
        classes = np.empty(steps, dtype=np.int32)
        places = np.empty(steps, dtype=np.int32)
        kept_classes, kept_steps = classes, places
        count = 0
        mean = 0.0
        if steps:
            count = ctc_keep(
                &indices[line, 0], &scores[line, 0], steps, &kept_classes[0], &kept_steps[0], &kept_values[0]
            )
        if count:
            mean = <double> (pairwise_sum(&kept_values[0], count) / <float> count)
        result.append((classes[:count], places[:count], mean))
    return result


cpu_detect()
