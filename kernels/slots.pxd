from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from kernels.segment cimport Segment, lane, segment_layout


cdef extern from "slots.h" nogil:
    const int SLOT_FREE, SLOT_WRITING, SLOT_READY, SLOT_CLAIMED, SLOT_DONE
    const uint32_t OPERATION_YIELDS
    const int VERDICT_CLEAR, VERDICT_SUSPECT, VERDICT_POISON, VERDICT_SPENT

    ctypedef struct slot_header:
        uint64_t word, request_id, deadline_ns, request_bytes, result_bytes, body_hash
        uint64_t t_ready_ns, t_claimed_ns, t_done_ns
        uint32_t owner_epoch, operation, cost_us
        uint16_t device
        uint8_t abandoned

    ctypedef struct slot_fate:
        uint32_t attempts, alone_deaths, verdict

    ctypedef struct slot_request:
        uint64_t request_id, deadline_ns, request_bytes
        uint32_t operation, cost_us
        uint16_t device

    uint32_t word_state(uint64_t word)
    uint32_t word_epoch(uint64_t word)
    uint32_t word_generation(uint64_t word)
    slot_fate slot_read_fate(slot_header *slot, uint32_t generation)
    uint64_t slot_hash(slot_header *slot, uint32_t generation)
    void slot_set_hash(slot_header *slot, uint32_t generation, uint64_t hash)
    int slot_forgive(slot_header *slot)
    int slot_publish(slot_header *slot, const slot_request *request, uint32_t *generation)
    int64_t slot_result(slot_header *slot, uint32_t generation, uint64_t capacity)
    int slot_claim(slot_header *slot, uint32_t generation, uint32_t epoch)
    const int FINISH_LOST, FINISH_DONE, FINISH_ORPHAN
    uint64_t slot_copy(slot_header *slot, slot_header *out)
    void set8 "SET"(uint8_t field, uint8_t value)


cdef extern from "reap.h" nogil:
    ctypedef struct slot_table:
        int fd
        char *base
        segment_layout layout
        uint32_t workers, devices
        uint64_t *offsets
        uint64_t *capacities

    ctypedef struct reaped_device:
        uint32_t *requeued
        uint32_t *poisoned
        uint32_t *freed
        uint32_t requeued_count, poisoned_count, freed_count

    ctypedef struct reaped_worker:
        uint32_t *freed
        uint64_t *hashes
        uint32_t freed_count, hash_count

    slot_header *table_slot(const slot_table *table, uint32_t slot)
    int64_t table_take(const slot_table *table, uint32_t worker, uint64_t nbytes)
    int table_release(const slot_table *table, uint32_t slot, uint32_t generation)
    int table_withdraw(const slot_table *table, uint32_t slot, uint32_t generation)
    int table_free_orphan(const slot_table *table, uint32_t slot, uint32_t generation, uint32_t epoch)
    int table_finish(const slot_table *table, uint32_t slot, uint32_t generation, uint32_t epoch,
                     uint64_t result_bytes)
    uint32_t table_list(const slot_table *table, uint32_t first, uint32_t last, uint32_t state, int live,
                        uint64_t *found)
    uint32_t table_count(const slot_table *table, uint32_t state)
    void table_pending(const slot_table *table, uint32_t without, uint64_t *pending)
    void table_reap_device(const slot_table *table, uint32_t epoch, int blame, reaped_device *out)
    void table_reap_worker(const slot_table *table, uint32_t worker, uint32_t epoch, reaped_worker *out)


cdef class Slots:
    cdef Segment segment
    cdef slot_table table
    cdef slot_header *at(self, Py_ssize_t slot) except NULL
    cdef list pairs(self, uint32_t first, uint32_t last, uint32_t state, int live)
