"""Rates and numbers of requests by name, counted over several processes in memory that they share."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "quota.h":
    ctypedef struct quota_entry:
        pass
    int64_t quota_place(quota_entry*, int64_t, uint64_t) noexcept nogil
    int64_t quota_take(quota_entry*, int64_t, int64_t, int64_t) noexcept nogil
    int64_t quota_inside(const uint32_t*, int64_t, int64_t, int64_t) noexcept nogil
    int quota_enter(uint32_t*, int64_t, int64_t, int64_t, int64_t, int64_t) noexcept nogil
    void quota_leave(uint32_t*, int64_t, int64_t, int64_t) noexcept nogil
    void quota_forget(uint32_t*, int64_t, int64_t) noexcept nogil

# A burst of so many intervals stays far below 2^63 nanoseconds.
_LONGEST_NS = 1 << 61


def quota_bytes(int64_t entries, int64_t processes):
    if entries < 1 or processes < 1:
        raise ValueError("a table has at least one entry and one process")
    return entries * (16 + 4 * processes)


cdef class Quota:
    cdef uint8_t[::1] memory
    cdef quota_entry* table
    cdef uint32_t* rows
    cdef readonly int64_t entries, processes, own

    def __init__(self, uint8_t[::1] memory not None, int64_t entries, int64_t processes, int64_t own):
        if not 0 <= own < processes or memory.shape[0] < quota_bytes(entries, processes):
            raise ValueError("the memory does not fit the table")
        if <size_t>&memory[0] % 8:
            raise ValueError("the memory is not aligned")
        self.memory, self.entries, self.processes, self.own = memory, entries, processes, own
        self.table = <quota_entry*>&memory[0]
        self.rows = <uint32_t*>(&memory[0] + entries * 16)

    cdef int64_t checked(self, int64_t place) except -1:
        if not 0 <= place < self.entries:
            raise IndexError("no such place")
        return place

    def place(self, uint64_t name):
        if not name:
            raise ValueError("0 is no name")
        found = quota_place(self.table, self.entries, name)
        return None if found < 0 else found

    def take(self, int64_t place, int64_t now_ns, int64_t interval_ns, int64_t burst):
        if interval_ns < 1 or burst < 1 or not 0 <= now_ns < _LONGEST_NS:
            raise ValueError("an interval and a burst are positive")
        if burst > _LONGEST_NS // interval_ns:
            raise ValueError("a burst of so many intervals takes centuries")
        return quota_take(&self.table[self.checked(place)], now_ns, interval_ns, burst)

    def inside(self, int64_t place):
        return quota_inside(self.rows, self.processes, self.entries, self.checked(place))

    def enter(self, int64_t place, int64_t limit):
        return bool(
            quota_enter(self.rows, self.processes, self.entries, self.own, self.checked(place), limit)
        )

    def leave(self, int64_t place):
        quota_leave(self.rows, self.entries, self.own, self.checked(place))

    def forget(self, int64_t process):
        if not 0 <= process < self.processes:
            raise IndexError("no such process")
        quota_forget(self.rows, self.entries, process)
