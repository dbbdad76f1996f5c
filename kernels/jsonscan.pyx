"""One look over a JSON text: how deep it is, and where its long strings of ASCII are."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_1BYTE_DATA, PyUnicode_New
from libc.string cimport memchr, memcpy

cdef enum:
    # More long strings than any request has; further ones are left to the JSON parser.
    MAX_SPANS = 16

cdef struct scan:
    Py_ssize_t depth, spans
    Py_ssize_t start[MAX_SPANS]
    Py_ssize_t stop[MAX_SPANS]


cdef int hex_digit(unsigned char c) noexcept nogil:
    if c'0' <= c <= c'9':
        return c - c'0'
    c |= 0x20
    return c - c'a' + 10 if c'a' <= c <= c'f' else -1


cdef int escaped(const unsigned char* text, Py_ssize_t size, Py_ssize_t* used) noexcept nogil:
    """The ASCII character of the escape that ``text`` starts with, or -1; how long the escape is."""
    cdef int i, digit, value = 0
    used[0] = 2
    if size < 2:
        return -1
    if text[1] == b'"' or text[1] == b"\\" or text[1] == b"/":
        return text[1]
    if text[1] == b"b":
        return 8
    if text[1] == b"t":
        return 9
    if text[1] == b"n":
        return 10
    if text[1] == b"f":
        return 12
    if text[1] == b"r":
        return 13
    if text[1] != b"u" or size < 6:
        return -1
    used[0] = 6
    for i in range(2, 6):
        digit = hex_digit(text[i])
        if digit < 0:
            return -1
        value = value * 16 + digit
    return value if value < 0x80 else -1


cdef Py_ssize_t unescape(const unsigned char* text, Py_ssize_t size, unsigned char* out) noexcept nogil:
    """Length of the text without escapes, -1 when one is no escape or not of ASCII; written unless NULL."""
    cdef Py_ssize_t at = 0, length = 0, plain, used
    cdef const unsigned char* hit
    cdef int character
    while True:
        hit = <const unsigned char*>memchr(text + at, b"\\", size - at)
        plain = size - at if hit == NULL else hit - text - at
        if out != NULL:
            memcpy(out + length, text + at, plain)
        at += plain
        length += plain
        if hit == NULL:
            return length
        character = escaped(hit, size - at, &used)
        if character < 0:
            return -1
        if out != NULL:
            out[length] = <unsigned char>character
        at += used
        length += 1


cdef bint is_ascii(const unsigned char* text, Py_ssize_t size) noexcept nogil:
    """Whether the string is ASCII, also without its escapes. No early exit: the loop vectorises."""
    cdef Py_ssize_t i
    cdef unsigned char odd = 0, escapes = 0
    for i in range(size):
        odd |= (text[i] < 0x20) | (text[i] >= 0x80)
        escapes |= text[i] == b"\\"
    return odd == 0 and (escapes == 0 or unescape(text, size, NULL) >= 0)


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
                if is_ascii(<const unsigned char*>first, at - first):
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


def json_string(bytes text not None, Py_ssize_t start, Py_ssize_t stop):
    cdef const unsigned char* first
    cdef unsigned char* out
    cdef Py_ssize_t length
    cdef str made
    if not 0 <= start <= stop <= PyBytes_GET_SIZE(text):
        raise ValueError("outside the text")
    first = <const unsigned char*>PyBytes_AS_STRING(text) + start
    with nogil:
        length = unescape(first, stop - start, NULL) if is_ascii(first, stop - start) else -1
    if length < 0:
        raise ValueError("no string of ASCII")
    made = PyUnicode_New(length, 127)
    out = <unsigned char*>PyUnicode_1BYTE_DATA(made)
    with nogil:
        unescape(first, stop - start, out)
    return made
