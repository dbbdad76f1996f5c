"""Nesting depth of a JSON text, without building anything from it."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memchr


cdef Py_ssize_t deepest(const char* text, Py_ssize_t size, Py_ssize_t stop) noexcept nogil:
    cdef const char* at = text
    cdef const char* end = text + size
    cdef const char* back
    cdef Py_ssize_t depth = 0, most = 0
    while at < end:
        if at[0] == b'"':
            # Strings make up nearly all of a body: find their end with memchr, not byte by byte.
            while True:
                at = <const char*>memchr(at + 1, b'"', end - at - 1)
                if at == NULL:
                    return most
                back = at - 1
                while back[0] == b"\\":
                    back -= 1
                if (at - back) & 1:
                    break
        elif at[0] == b"{" or at[0] == b"[":
            depth += 1
            if depth > most:
                most = depth
                if most > stop:
                    return most
        elif at[0] == b"}" or at[0] == b"]":
            depth -= 1
        at += 1
    return most


def json_depth(bytes text not None, Py_ssize_t stop):
    cdef const char* start = PyBytes_AS_STRING(text)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(text)
    cdef Py_ssize_t most
    with nogil:
        most = deepest(start, size, stop)
    return most
