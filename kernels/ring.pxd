from libc.stdint cimport uint32_t, uint64_t

from kernels.segment cimport Segment, segment_layout


cdef extern from "ring.h" nogil:
    ctypedef struct ring_shared:
        pass
    ctypedef struct ring_end:
        uint64_t mask
    ring_shared *ring_at(char *base, const segment_layout *layout, uint32_t devices, uint32_t worker,
                         uint32_t device, int to_worker)
    void ring_attach(ring_end *end, ring_shared *shared, uint32_t capacity)
    int ring_push(ring_end *end, uint32_t slot, uint32_t generation)
    int ring_pop(ring_end *end, uint32_t *slot, uint32_t *generation)
    uint64_t ring_length(const ring_end *end)


cdef class Ring:
    cdef Segment segment
    cdef ring_end end
    cdef readonly int capacity
