"""Thin face of series.h: check the arguments once, then work without the GIL."""

from libc.stdint cimport int64_t

cdef extern from "series.h" nogil:
    void series_standardize(double *row, const double *mean, const double *scale, float *out, int64_t columns)
    void series_features(int64_t seconds, int all, float *out)

CALENDAR, CALENDAR_ALL = 4, 7

# Years 1 to 9999: what a datetime64 in seconds and pandas both know.
cdef int64_t EARLIEST = -62135596800
cdef int64_t LATEST = 253402300799


def standardize(
    double[:, ::1] values not None, const double[::1] mean not None, const double[::1] scale not None,
    float[:, :] out not None,
):
    """See series.pyi."""
    cdef int64_t rows = values.shape[0], columns = values.shape[1], row
    if mean.shape[0] != columns or scale.shape[0] != columns:
        raise ValueError(f"mean and scale must hold {columns} numbers")
    if (out.shape[0], out.shape[1]) != (rows, columns) or (columns > 1 and out.strides[1] != sizeof(float)):
        raise ValueError(f"out must be [{rows}, {columns}], columns side by side")
    if not rows or not columns:
        return
    with nogil:
        for row in range(rows):
            series_standardize(&values[row, 0], &mean[0], &scale[0], &out[row, 0], columns)


def calendar_features(const int64_t[::1] seconds not None, float[:, :] out not None):
    """See series.pyi."""
    cdef int64_t rows = seconds.shape[0], row
    cdef int every = out.shape[1] == CALENDAR_ALL
    if out.shape[0] != rows or out.shape[1] not in (CALENDAR, CALENDAR_ALL) or (
        out.strides[1] != sizeof(float)
    ):
        raise ValueError(f"out must be [{rows}, {CALENDAR} or {CALENDAR_ALL}], columns side by side")
    for row in range(rows):
        if not EARLIEST <= seconds[row] <= LATEST:
            raise ValueError("times must lie in the years 1 to 9999")
    with nogil:
        for row in range(rows):
            series_features(seconds[row], every, &out[row, 0])
