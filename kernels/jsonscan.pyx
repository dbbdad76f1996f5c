"""One look over a JSON text: how deep it is, and where its long plain strings are."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memchr

cdef enum:
    # More long strings than any request has; further ones are left to the JSON parser.
    MAX_SPANS = 16

cdef struct scan:
    Py_ssize_t depth, spans
    Py_ssize_t start[MAX_SPANS]
    Py_ssize_t stop[MAX_SPANS]


cdef bint is_plain(const unsigned char* text, Py_ssize_t size) noexcept nogil:
    """ASCII without control characters and backslashes. No early exit: the loop vectorises."""
    cdef Py_ssize_t i
    cdef unsigned char odd = 0
    for i in range(size):
        odd |= (text[i] < 0x20) | (text[i] >= 0x80) | (text[i] == b"\\")
    return odd == 0


cdef void look(const char* text, Py_ssize_t size, Py_ssize_t max_depth, Py_ssize_t long_text,
               scan* found) noexcept nogil:
    cdef const char* at = text
    cdef const char* end = text + size
    cdef const char* first
    cdef const char* back
    cdef Py_ssize_t depth = 0
    while at < end:
        if at[0] == b'"':
            # Strings make up nearly all of a body: find their end with memchr, not byte by byte.
            first = at + 1
            while True:
                at = <const char*>memchr(at + 1, b'"', end - at - 1)
                if at == NULL:
                    return
                back = at - 1
                while back[0] == b"\\":
                    back -= 1
                if (at - back) & 1:
                    break
            if depth == 1 and at - first >= long_text and found.spans < MAX_SPANS:
                if is_plain(<const unsigned char*>first, at - first):
                    found.start[found.spans] = first - text
                    found.stop[found.spans] = at - text
                    found.spans += 1
        elif at[0] == b"{" or at[0] == b"[":
            depth += 1
            if depth > found.depth:
                found.depth = depth
                if depth > max_depth:
                    return
        elif at[0] == b"}" or at[0] == b"]":
            depth -= 1
        at += 1


def json_outline(bytes text not None, Py_ssize_t max_depth, Py_ssize_t long_text):
    cdef const char* start = PyBytes_AS_STRING(text)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(text)
    cdef scan found
    cdef Py_ssize_t i
    found.depth = 0
    found.spans = 0
    with nogil:
        look(start, size, max_depth, long_text, &found)
    return found.depth, [(found.start[i], found.stop[i]) for i in range(found.spans)]
