from libc.stdint cimport uint32_t, uint64_t


cdef extern from "segment.h" nogil:
    const int MAX_LANES, MAX_CLASSES, LANE_COUNTERS
    const uint32_t MAX_EPOCH, NO_EPOCH, SEGMENT_VERSION
    const uint64_t SEGMENT_MAGIC
    const int LANE_EMPTY, LANE_STARTING, LANE_READY, LANE_DRAINING, LANE_FAILED

    ctypedef struct lane:
        uint32_t pid, epoch, state, reaped_epoch, sleeping
        uint64_t heartbeat_ns, tick_ns, stage_start_ns, stage_expected_ns, stage_whole, cost_scale_bits
        uint64_t *counters

    ctypedef struct segment_header:
        uint64_t magic, total_bytes, scan_epoch
        uint32_t version, workers, devices, classes, draining
        uint64_t *class_bytes
        uint32_t *class_slots

    ctypedef struct segment_layout:
        uint32_t worker_slots, slots, ring_capacity
        uint64_t lanes_at, rings_at, ring_bytes, headers_at, data_at, worker_data_bytes, total_bytes

    const char *segment_measure(const segment_header *header, segment_layout *out)
    const char *segment_check(const segment_header *header, uint64_t file_bytes, segment_layout *out)
    lane *segment_lane(char *base, const segment_layout *layout, uint32_t index)
    void segment_areas(const segment_header *header, const segment_layout *layout,
                       uint64_t *offsets, uint64_t *capacities)
    uint64_t monotonic_now()
    void lane_incarnate(lane *it, uint32_t pid, uint32_t epoch)
    void lane_prepare_sleep(lane *it)
    int lane_sleeping(lane *it)
    void quarantine_put(segment_header *header, uint64_t hash, uint64_t until_ns)
    int quarantine_count(segment_header *header, uint64_t now)
    int quarantine_has(segment_header *header, uint64_t hash, uint64_t now)

    uint32_t get32 "GET"(uint32_t field)
    uint64_t get64 "GET"(uint64_t field)
    uint32_t get32_acquire "GET_ACQUIRE"(uint32_t field)
    uint64_t get64_acquire "GET_ACQUIRE"(uint64_t field)
    void set32 "SET"(uint32_t field, uint32_t value)
    void set64 "SET"(uint64_t field, uint64_t value)
    void set32_release "SET_RELEASE"(uint32_t field, uint32_t value)
    void set64_release "SET_RELEASE"(uint64_t field, uint64_t value)


cdef extern from "heartbeat.h" nogil:
    ctypedef struct heartbeat:
        heartbeat *next
    heartbeat *heartbeat_start(lane *it, uint64_t interval_ns)
    void heartbeat_stop(heartbeat *beat)


cdef class Segment:
    cdef char *base  # NULL once closed
    cdef segment_layout layout
    cdef heartbeat *beats
    cdef Py_ssize_t exports  # buffers that point into the mapping
    cdef readonly int fd
    cdef readonly int workers
    cdef readonly int devices
    cdef readonly int slots
    cdef readonly int worker_slots

    cdef segment_header *header(self) except NULL
    cdef object view(self, uint64_t offset, Py_ssize_t nbytes, str format)
    cdef int check_index(self, str kind, Py_ssize_t index, Py_ssize_t bound) except -1
