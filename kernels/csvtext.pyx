"""Thin face of csvtext.h: check the arguments once, then work without the GIL."""

from collections import namedtuple

import numpy as np

from libc.stdint cimport int32_t, int64_t, uint8_t

cdef extern from "csvtext.h" nogil:
    ctypedef struct csv_outline:
        int64_t rows, names, columns, header, header_stop, crowded, crowded_fields
        int open_quote, wide

    void cpu_detect()
    csv_outline csv_rows_of(const uint8_t *text, int64_t size, int64_t *starts, int64_t keep)
    void csv_size_of(const uint8_t *text, int64_t size, int64_t *lines, int64_t *commas)
    void csv_cells_of(const uint8_t *text, int64_t at, int64_t size, const int32_t *place, int64_t columns,
                      int64_t (*spans)[2])
    int csv_number(const uint8_t *at, const uint8_t *stop, double *value)
    int csv_whole(const uint8_t *at, const uint8_t *stop, int64_t *value)
    int csv_time(const uint8_t *at, const uint8_t *stop, int64_t *seconds)
    enum:
        CSV_NEITHER, CSV_WHOLE, CSV_DATE, CSV_MINUTE, CSV_SECOND

NEITHER, WHOLE, DATE, MINUTE, SECOND = CSV_NEITHER, CSV_WHOLE, CSV_DATE, CSV_MINUTE, CSV_SECOND

Outline = namedtuple("Outline", "rows names columns header header_stop crowded open_quote is_ascii")


def csv_size(const uint8_t[::1] text not None):
    """See csvtext.pyi."""
    cdef int64_t lines = 0, commas = 0, size = text.shape[0]
    if size:
        with nogil:
            csv_size_of(&text[0], size, &lines, &commas)
    return lines, commas


def csv_rows(const uint8_t[::1] text not None, int64_t[::1] starts not None):
    """See csvtext.pyi."""
    cdef int64_t size = text.shape[0], keep = starts.shape[0]
    cdef int64_t *into = &starts[0] if keep else NULL
    cdef csv_outline found
    if not size:
        return Outline(0, 0, 0, 0, 0, None, False, True)
    with nogil:
        found = csv_rows_of(&text[0], size, into, keep)
    crowded = (found.crowded, found.crowded_fields) if found.crowded else None
    return Outline(
        found.rows, found.names, found.columns, found.header, found.header_stop, crowded,
        bool(found.open_quote), not found.wide,
    )


def csv_cells(const uint8_t[::1] text not None, const int64_t[::1] starts not None, columns):
    """See csvtext.pyi."""
    cdef int64_t size = text.shape[0], rows = starts.shape[0], wanted = len(columns), row
    cdef int64_t width = max(columns) + 1 if wanted else 0
    place_array = np.full(width, -1, dtype=np.int32)
    for number, column in enumerate(columns):
        if not 0 <= column < width or place_array[column] >= 0:
            raise ValueError("columns must be different numbers from 0 on")
        place_array[column] = number
    for row in range(rows):
        if not 0 <= starts[row] < size:
            raise ValueError(f"row {row} begins outside the text")
    spans_array = np.empty((rows, wanted, 2), dtype=np.int64)
    if not rows or not wanted:
        return spans_array
    cdef const int32_t[::1] place = place_array
    cdef int64_t[:, :, ::1] spans = spans_array
    with nogil:
        for row in range(rows):
            csv_cells_of(&text[0], starts[row], size, &place[0], width, <int64_t (*)[2]> &spans[row, 0, 0])
    return spans_array


cdef inline bint is_span(int64_t start, int64_t stop, int64_t size) noexcept nogil:
    return 0 <= start <= stop <= size


cdef bint read_numbers(const uint8_t* text, int64_t size, const int64_t[:, :, :] spans,
                       double[:, :] values) noexcept nogil:
    cdef int64_t row, column, start, stop
    for row in range(spans.shape[0]):
        for column in range(spans.shape[1]):
            start, stop = spans[row, column, 0], spans[row, column, 1]
            if not is_span(start, stop, size):
                return False
            if not csv_number(text + start, text + stop, &values[row, column]):
                return False
    return True


def csv_numbers(
    const uint8_t[::1] text not None, const int64_t[:, :, :] spans not None, double[:, :] values not None
):
    """See csvtext.pyi."""
    cdef int64_t size = text.shape[0]
    cdef const uint8_t *first = &text[0] if size else NULL
    cdef bint plain
    if spans.shape[2] != 2 or (values.shape[0], values.shape[1]) != (spans.shape[0], spans.shape[1]):
        raise ValueError("spans must be [N, C, 2] and values [N, C]")
    with nogil:
        plain = read_numbers(first, size, spans, values)
    return plain


cdef int read_times(const uint8_t* text, int64_t size, const int64_t[:, :] spans,
                    int64_t[::1] times) noexcept nogil:
    cdef int64_t row, start, stop
    cdef int kind = CSV_NEITHER, this
    cdef uint8_t between = 0
    for row in range(spans.shape[0]):
        start, stop = spans[row, 0], spans[row, 1]
        if not is_span(start, stop, size):
            return CSV_NEITHER
        if csv_whole(text + start, text + stop, &times[row]):
            this = CSV_WHOLE
        else:
            this = csv_time(text + start, text + stop, &times[row])
        if row == 0:
            kind = this
            between = text[start + 10] if kind > CSV_DATE else 0
        if kind == CSV_NEITHER or this != kind or (kind > CSV_DATE and text[start + 10] != between):
            return CSV_NEITHER
    return kind


def csv_times(
    const uint8_t[::1] text not None, const int64_t[:, :] spans not None, int64_t[::1] times not None
):
    """See csvtext.pyi."""
    cdef int64_t size = text.shape[0]
    cdef const uint8_t *first = &text[0] if size else NULL
    cdef int kind
    if spans.shape[1] != 2 or times.shape[0] != spans.shape[0]:
        raise ValueError("spans must be [N, 2] and times [N]")
    with nogil:
        kind = read_times(first, size, spans, times)
    return kind


cpu_detect()
