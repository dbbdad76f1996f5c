"""Thin face of jsonscan.h: check the arguments once, then work without the GIL."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_1BYTE_DATA, PyUnicode_New
from libc.stddef cimport ptrdiff_t

cdef extern from "jsonscan.h" nogil:
    ctypedef struct json_outline_found:
        ptrdiff_t depth
        ptrdiff_t spans
        ptrdiff_t *start
        ptrdiff_t *stop

    ptrdiff_t json_unescape(const unsigned char *text, ptrdiff_t size, unsigned char *out)
    bint json_is_ascii(const unsigned char *text, ptrdiff_t size)
    json_outline_found json_look(const char *text, ptrdiff_t size, ptrdiff_t max_depth, ptrdiff_t long_text)


def json_outline(bytes text not None, Py_ssize_t max_depth, Py_ssize_t long_text):
    """See jsonscan.pyi."""
    cdef const char *start = PyBytes_AS_STRING(text)
    cdef Py_ssize_t i, size = PyBytes_GET_SIZE(text)
    cdef json_outline_found found
    with nogil:
        found = json_look(start, size, max_depth, long_text)
    return found.depth, [(found.start[i], found.stop[i]) for i in range(found.spans)]


def json_string(bytes text not None, Py_ssize_t start, Py_ssize_t stop):
    """See jsonscan.pyi."""
    cdef const unsigned char *first
    cdef unsigned char *out
    cdef Py_ssize_t length
    cdef str made
    if not 0 <= start <= stop <= PyBytes_GET_SIZE(text):
        raise ValueError("outside the text")
    first = <const unsigned char *> PyBytes_AS_STRING(text) + start
    with nogil:
        length = json_unescape(first, stop - start, NULL) if json_is_ascii(first, stop - start) else -1
    if length < 0:
        raise ValueError("no string of ASCII")
    made = PyUnicode_New(length, 127)
    out = <unsigned char *> PyUnicode_1BYTE_DATA(made)
    with nogil:
        json_unescape(first, stop - start, out)
    return made
