# cython: nonecheck=True
"""Thin class over ring.h; words and types are in ring.pyi."""

cimport cython


cdef Ring make_ring(Segment segment, Py_ssize_t worker, Py_ssize_t device, int to_worker):
    cdef Ring self = Ring.__new__(Ring)
    segment.check_index("worker", worker, segment.workers)
    segment.check_index("device", device, segment.devices)
    self.segment = segment
    self.capacity = segment.layout.ring_capacity
    ring_attach(&self.end, ring_at(segment.base, &segment.layout, segment.devices, worker, device, to_worker),
                segment.layout.ring_capacity)
    return self


@cython.no_gc  # it refers to the segment alone
cdef class Ring:
    def __init__(self):
        raise TypeError("use Ring.to_device or Ring.to_worker")

    @staticmethod
    def to_device(Segment segment not None, Py_ssize_t worker, Py_ssize_t device):
        return make_ring(segment, worker, device, 0)

    @staticmethod
    def to_worker(Segment segment not None, Py_ssize_t worker, Py_ssize_t device):
        return make_ring(segment, worker, device, 1)

    def push(self, Py_ssize_t slot, uint32_t generation):
        self.segment.check_index("slot", slot, self.segment.slots)
        return ring_push(&self.end, <uint32_t>slot, generation) != 0

    def pop(self):
        cdef uint32_t slot, generation
        self.segment.header()
        while ring_pop(&self.end, &slot, &generation):
            if slot < <uint32_t>self.segment.slots:  # else a damaged hint: the scan finds what it meant
                return slot, generation
        return None

    def __len__(self):
        self.segment.header()
        return ring_length(&self.end)

    def __repr__(self):
        return f"<Ring {len(self)}/{self.capacity}>"
