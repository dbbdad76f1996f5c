"""XXH64 of a buffer: a name for an input, far cheaper than a cryptographic hash."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

# The algorithm and its five primes: "xxHash fast digest algorithm", version 0.1.1, sections XXH64.
cdef enum:
    STRIPE = 32

cdef uint64_t P1 = 0x9E3779B185EBCA87
cdef uint64_t P2 = 0xC2B2AE3D27D4EB4F
cdef uint64_t P3 = 0x165667B19E3779F9
cdef uint64_t P4 = 0x85EBCA77C2B2AE63
cdef uint64_t P5 = 0x27D4EB2F165667C5


cdef inline uint64_t rotate(uint64_t value, int by) noexcept nogil:
    return (value << by) | (value >> (64 - by))


cdef inline uint64_t read64(const uint8_t* at) noexcept nogil:
    cdef uint64_t value
    memcpy(&value, at, 8)
    return value


cdef inline uint64_t mixed(uint64_t lane, uint64_t value) noexcept nogil:
    return rotate(lane + value * P2, 31) * P1


cdef inline uint64_t merged(uint64_t total, uint64_t lane) noexcept nogil:
    return (total ^ mixed(0, lane)) * P1 + P4


cdef uint64_t digest(const uint8_t* at, Py_ssize_t size, uint64_t seed) noexcept nogil:
    cdef const uint8_t* end = at + size
    cdef uint64_t total, a, b, c, d
    cdef uint32_t half
    if size >= STRIPE:
        a, b, c, d = seed + P1 + P2, seed + P2, seed, seed - P1
        while end - at >= STRIPE:
            a = mixed(a, read64(at))
            b = mixed(b, read64(at + 8))
            c = mixed(c, read64(at + 16))
            d = mixed(d, read64(at + 24))
            at += STRIPE
        total = rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18)
        total = merged(merged(merged(merged(total, a), b), c), d)
    else:
        total = seed + P5
    total += <uint64_t>size
    while end - at >= 8:
        total = rotate(total ^ mixed(0, read64(at)), 27) * P1 + P4
        at += 8
    if end - at >= 4:
        memcpy(&half, at, 4)
        total = rotate(total ^ (half * P1), 23) * P2 + P3
        at += 4
    while at < end:
        total = rotate(total ^ (at[0] * P5), 11) * P1
        at += 1
    total = (total ^ (total >> 33)) * P2
    total = (total ^ (total >> 29)) * P3
    return total ^ (total >> 32)


def xxh64(const uint8_t[::1] data not None, uint64_t seed=0):
    cdef Py_ssize_t size = data.shape[0]
    cdef const uint8_t* start = &data[0] if size else NULL
    cdef uint64_t found
    with nogil:
        found = digest(start, size, seed)
    return found
