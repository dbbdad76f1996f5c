"""Thin class over slots.h and reap.h; words and types are in slots.pyi.

Generations are 32 bits and epochs 24; Cython refuses what does not fit 32 bits
(OverflowError), the epoch is checked here.
"""

from collections import namedtuple

cimport cython
from libc.stdlib cimport free, malloc

from kernels.segment cimport (
    MAX_EPOCH,
    MAX_LANES,
    get32,
    get64_acquire,
    segment_areas,
    segment_lane,
)

FREE = SLOT_FREE
WRITING = SLOT_WRITING
READY = SLOT_READY
CLAIMED = SLOT_CLAIMED
DONE = SLOT_DONE
YIELDS = OPERATION_YIELDS
CLEAR = VERDICT_CLEAR
SUSPECT = VERDICT_SUSPECT
POISON = VERDICT_POISON
SPENT = VERDICT_SPENT

Header = namedtuple("Header", (
    "state", "generation", "epoch", "request_id", "deadline_ns", "owner", "owner_epoch", "device",
    "abandoned", "operation", "attempts", "alone_deaths", "verdict", "cost_us", "body_hash",
    "request_bytes", "result_bytes", "t_ready_ns", "t_claimed_ns", "t_done_ns",
), module=__name__)
cdef object new_header = tuple.__new__
ReapedDevice = namedtuple("ReapedDevice", ("requeued", "poisoned", "freed"), module=__name__)
ReapedWorker = namedtuple("ReapedWorker", ("freed", "writing_hashes"), module=__name__)


cdef int check_epoch(uint32_t epoch) except -1:
    if not 1 <= epoch <= MAX_EPOCH:
        raise ValueError(f"epoch {epoch} is not in 1..{MAX_EPOCH}")
    return 0


cdef uint64_t bounded(uint64_t nbytes, uint64_t capacity) noexcept:
    """A length that cannot be is 0: no reader follows it."""
    return nbytes if nbytes <= capacity else 0


@cython.no_gc  # it refers to the segment alone: no cycle, and never cleared under a finaliser's feet
cdef class Slots:
    def __cinit__(self, Segment segment not None):
        self.segment = segment
        self.table.fd = segment.fd
        self.table.workers = segment.workers
        self.table.devices = segment.devices
        self.table.layout = segment.layout
        self.table.base = <char *>segment.header()
        self.table.offsets = <uint64_t *>malloc(segment.slots * sizeof(uint64_t))
        self.table.capacities = <uint64_t *>malloc(segment.slots * sizeof(uint64_t))
        if self.table.offsets is NULL or self.table.capacities is NULL:
            raise MemoryError
        segment_areas(segment.header(), &segment.layout, self.table.offsets, self.table.capacities)

    def __dealloc__(self):
        free(self.table.offsets)
        free(self.table.capacities)

    cdef slot_header *at(self, Py_ssize_t slot) except NULL:
        self.segment.check_index("slot", slot, self.segment.slots)
        return table_slot(&self.table, <uint32_t>slot)

    cdef list pairs(self, uint32_t first, uint32_t last, uint32_t state, int live):
        cdef uint32_t count, i
        cdef uint64_t *found = <uint64_t *>malloc((last - first) * sizeof(uint64_t))
        if found is NULL:
            raise MemoryError
        try:
            with nogil:
                count = table_list(&self.table, first, last, state, live, found)
            return [(<uint32_t>found[i], <uint32_t>(found[i] >> 32)) for i in range(count)]
        finally:
            free(found)

    # ---- worker

    def take(self, Py_ssize_t worker, Py_ssize_t nbytes):
        self.segment.check_index("worker", worker, self.segment.workers)
        if nbytes < 0:
            raise ValueError(f"a slot cannot hold {nbytes} bytes")
        return table_take(&self.table, <uint32_t>worker, <uint64_t>nbytes)

    def data(self, Py_ssize_t slot):
        self.at(slot)
        return self.segment.view(self.table.offsets[slot], <Py_ssize_t>self.table.capacities[slot], "B")

    def capacity(self, Py_ssize_t slot):
        self.at(slot)
        return self.table.capacities[slot]

    def set_body_hash(self, Py_ssize_t slot, uint64_t body_hash):
        cdef slot_header *header = self.at(slot)
        cdef uint64_t word = get64_acquire(header.word)
        if word_state(word) != <uint32_t>SLOT_WRITING:
            raise ValueError(f"slot {slot} is not being written")
        slot_set_hash(header, word_generation(word), body_hash)

    def publish(self, Py_ssize_t slot, *, uint64_t request_id, uint64_t deadline_ns, uint32_t operation,
                Py_ssize_t device, uint32_t cost_us, uint64_t request_bytes):
        cdef slot_header *header = self.at(slot)
        cdef slot_request request
        cdef uint32_t generation
        self.segment.check_index("device", device, self.segment.devices)
        if request_bytes > self.table.capacities[slot]:
            raise ValueError(f"a record of {request_bytes} bytes in a slot of {self.table.capacities[slot]}")
        request.request_id = request_id
        request.deadline_ns = deadline_ns
        request.operation = operation
        request.device = <uint16_t>device
        request.cost_us = cost_us
        request.request_bytes = request_bytes
        if not slot_publish(header, &request, &generation):
            raise ValueError(f"slot {slot} is not being written")
        return generation

    def abandon(self, Py_ssize_t slot, uint32_t generation):
        cdef slot_header *header = self.at(slot)
        if word_generation(get64_acquire(header.word)) == generation:
            set8(header.abandoned, 1)

    def withdraw(self, Py_ssize_t slot, uint32_t generation):
        cdef int freed
        self.at(slot)
        with nogil:
            freed = table_withdraw(&self.table, <uint32_t>slot, generation)
        return freed != 0

    def result(self, Py_ssize_t slot, uint32_t generation):
        return slot_result(self.at(slot), generation, self.table.capacities[slot])

    def release(self, Py_ssize_t slot, uint32_t generation):
        cdef int freed
        self.at(slot)
        with nogil:
            freed = table_release(&self.table, <uint32_t>slot, generation)
        return freed != 0

    def done(self, Py_ssize_t worker):
        cdef uint32_t first
        self.segment.check_index("worker", worker, self.segment.workers)
        first = <uint32_t>(worker * self.segment.worker_slots)
        return self.pairs(first, first + self.segment.worker_slots, SLOT_DONE, 1)

    def generation(self, Py_ssize_t slot):
        return word_generation(get64_acquire(self.at(slot).word))

    # ---- device

    def claim(self, Py_ssize_t slot, uint32_t generation, uint32_t epoch):
        check_epoch(epoch)
        return slot_claim(self.at(slot), generation, epoch) != 0

    def finish(self, Py_ssize_t slot, uint32_t generation, uint32_t epoch, uint64_t result_bytes):
        cdef int outcome
        check_epoch(epoch)
        self.at(slot)
        if result_bytes > self.table.capacities[slot]:
            raise ValueError(f"a result of {result_bytes} bytes in a slot of {self.table.capacities[slot]}")
        with nogil:
            outcome = table_finish(&self.table, <uint32_t>slot, generation, epoch, result_bytes)
        return outcome == FINISH_DONE

    def ready(self):
        self.segment.header()
        return self.pairs(0, self.segment.slots, SLOT_READY, 0)

    def reap_orphan(self, Py_ssize_t slot, uint32_t generation, uint32_t epoch):
        cdef int freed
        check_epoch(epoch)
        self.at(slot)
        with nogil:
            freed = table_free_orphan(&self.table, <uint32_t>slot, generation, epoch)
        return freed != 0

    # ---- everybody

    def header(self, Py_ssize_t slot):
        cdef slot_header *it = self.at(slot)
        cdef uint64_t word, capacity = self.table.capacities[slot]
        cdef slot_header copy
        cdef slot_fate fate
        word = slot_copy(it, &copy)
        fate = slot_read_fate(&copy, word_generation(word))
        # tuple.__new__ at once: the named tuple's own constructor is a Python function.
        return new_header(Header, (
            word_state(word), word_generation(word), word_epoch(word), copy.request_id, copy.deadline_ns,
            slot // self.segment.worker_slots, copy.owner_epoch, copy.device, copy.abandoned != 0,
            copy.operation, fate.attempts, fate.alone_deaths, fate.verdict, copy.cost_us,
            slot_hash(&copy, word_generation(word)),
            bounded(copy.request_bytes, capacity), bounded(copy.result_bytes, capacity),
            copy.t_ready_ns, copy.t_claimed_ns, copy.t_done_ns,
        ))

    def pending_us(self, *, bint urgent=False):
        cdef uint64_t pending[MAX_LANES]
        cdef int device
        cdef uint32_t without = OPERATION_YIELDS if urgent else 0
        self.segment.header()
        with nogil:
            table_pending(&self.table, without, pending)
        return [pending[device] for device in range(self.segment.devices)]

    def count(self, int state):
        cdef uint32_t found
        self.segment.header()
        if not SLOT_FREE <= state <= SLOT_DONE:
            raise ValueError(f"slot state {state} is not in 0..{SLOT_DONE}")
        with nogil:
            found = table_count(&self.table, state)
        return found

    # ---- supervisor

    def reap_device(self, uint32_t epoch, *, bint blame=True):
        cdef reaped_device out
        cdef uint32_t i
        cdef uint32_t *room
        check_epoch(epoch)
        self.segment.header()
        room = <uint32_t *>malloc(3 * <size_t>self.segment.slots * sizeof(uint32_t))
        if room is NULL:
            raise MemoryError
        out.requeued = room
        out.poisoned = room + self.segment.slots
        out.freed = room + 2 * self.segment.slots
        try:
            with nogil:
                table_reap_device(&self.table, epoch, blame, &out)
            return ReapedDevice(
                [out.requeued[i] for i in range(out.requeued_count)],
                [out.poisoned[i] for i in range(out.poisoned_count)],
                [out.freed[i] for i in range(out.freed_count)],
            )
        finally:
            free(room)

    def reap_worker(self, Py_ssize_t worker, uint32_t epoch):
        cdef reaped_worker out
        cdef uint32_t i
        check_epoch(epoch)
        self.segment.check_index("worker", worker, self.segment.workers)
        if get32(segment_lane(self.segment.base, &self.segment.layout, <uint32_t>worker).epoch) != epoch:
            raise ValueError(f"worker lane {worker} has another process already: reap first, then restart")
        out.freed = <uint32_t *>malloc(self.segment.worker_slots * sizeof(uint32_t))
        out.hashes = <uint64_t *>malloc(self.segment.worker_slots * sizeof(uint64_t))
        try:
            if out.freed is NULL or out.hashes is NULL:
                raise MemoryError
            with nogil:
                table_reap_worker(&self.table, <uint32_t>worker, epoch, &out)
            return ReapedWorker(
                [out.freed[i] for i in range(out.freed_count)],
                [out.hashes[i] for i in range(out.hash_count)],
            )
        finally:
            free(out.freed)
            free(out.hashes)

    def forgive(self, Py_ssize_t slot):
        slot_forgive(self.at(slot))
