"""Thin face of labels.h: check the arguments once, then work without the GIL."""

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.object cimport PyObject
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, uint8_t, uint16_t

cdef extern from "Python.h":
    # As plain pointers: a string may be resized only while nobody else refers to it.
    PyObject *PyBytes_FromStringAndSize(const char *text, Py_ssize_t size) except NULL
    int _PyBytes_Resize(PyObject **text, Py_ssize_t size) except -1
    void Py_DECREF(PyObject *of)

cdef extern from "labels.h" nogil:
    void label_fill_table()
    int label_width(unsigned largest)
    unsigned label8_largest(const uint8_t *map, ptrdiff_t stride, ptrdiff_t height, ptrdiff_t width)
    unsigned label16_largest(const uint16_t *map, ptrdiff_t stride, ptrdiff_t height, ptrdiff_t width)
    char *label8_json(
        const uint8_t *map, ptrdiff_t stride, const int32_t *rows, ptrdiff_t height,
        const int32_t *columns, ptrdiff_t width, unsigned largest, char *to
    )
    char *label16_json(
        const uint16_t *map, ptrdiff_t stride, const int32_t *rows, ptrdiff_t height,
        const int32_t *columns, ptrdiff_t width, unsigned largest, char *to
    )

ctypedef fused label:
    uint8_t
    uint16_t

cdef enum:
    #: A number is stored as four bytes, of which two may not count; the brackets.
    SLACK = 5


cdef bint fits(const int32_t[::1] places, Py_ssize_t size) noexcept nogil:
    """Whether there is a place, and all are inside; the loop vectorises."""
    cdef Py_ssize_t i
    cdef bint outside = False
    for i in range(places.shape[0]):
        outside |= (places[i] < 0) | (places[i] >= size)
    return places.shape[0] > 0 and not outside


def label_map_json(
    const label[:, :] labels not None, const int32_t[::1] rows not None, const int32_t[::1] columns not None
):
    """See labels.pyi."""
    cdef Py_ssize_t height = rows.shape[0], width = columns.shape[0]
    cdef ptrdiff_t stride = labels.strides[0]
    cdef unsigned largest
    cdef PyObject *made
    cdef char *start
    cdef char *end
    if labels.shape[0] < 1 or labels.shape[1] < 1:
        raise ValueError("labels must not be empty")
    if labels.strides[1] != sizeof(label) or stride % <ptrdiff_t> sizeof(label):
        raise ValueError("labels must have contiguous rows")
    if not fits(rows, labels.shape[0]) or not fits(columns, labels.shape[1]):
        raise ValueError("rows and columns must name places inside the map")
    with nogil:
        if label is uint8_t:
            largest = label8_largest(&labels[0, 0], stride, labels.shape[0], labels.shape[1])
        else:
            largest = label16_largest(&labels[0, 0], stride, labels.shape[0], labels.shape[1])
    made = PyBytes_FromStringAndSize(NULL, SLACK + height * width * label_width(largest))
    start = PyBytes_AS_STRING(<object> made)
    with nogil:
        if label is uint8_t:
            end = label8_json(&labels[0, 0], stride, &rows[0], height, &columns[0], width, largest, start)
        else:
            end = label16_json(&labels[0, 0], stride, &rows[0], height, &columns[0], width, largest, start)
    _PyBytes_Resize(&made, end - start)
    text = <object> made
    Py_DECREF(made)
    return text


label_fill_table()
