# Part of segment.pyx: one process's place in the segment. Words and types are in segment.pyi.

cdef Lane make_lane(Segment segment, Py_ssize_t index, Py_ssize_t position):
    cdef Lane self = Lane.__new__(Lane)
    self.segment = segment
    self.index = index
    self.position = position
    return self


@cython.no_gc  # it refers to the segment alone
cdef class Lane:
    cdef Segment segment
    cdef Py_ssize_t position
    cdef readonly Py_ssize_t index

    def __init__(self):
        raise TypeError("use Segment.worker or Segment.device")

    cdef lane *at(self) except NULL:
        if self.segment.base is NULL:
            raise ValueError("the segment is closed")
        return segment_lane(self.segment.base, &self.segment.layout, self.position)

    @property
    def pid(self):
        return get32_acquire(self.at().pid)

    @pid.setter
    def pid(self, uint32_t value):
        set32_release(self.at().pid, value)

    @property
    def epoch(self):
        return get32_acquire(self.at().epoch)

    @epoch.setter
    def epoch(self, uint32_t value):
        set32_release(self.at().epoch, check_epoch(value))

    @property
    def state(self):
        return get32_acquire(self.at().state)

    @state.setter
    def state(self, uint32_t value):
        if value > <uint32_t>LANE_FAILED:
            raise ValueError(f"lane state {value} is not in 0..{LANE_FAILED}")
        set32_release(self.at().state, value)

    @property
    def heartbeat_ns(self):
        return get64(self.at().heartbeat_ns)

    @heartbeat_ns.setter
    def heartbeat_ns(self, uint64_t value):
        set64(self.at().heartbeat_ns, value)

    @property
    def tick_ns(self):
        return get64(self.at().tick_ns)

    @tick_ns.setter
    def tick_ns(self, uint64_t value):
        set64(self.at().tick_ns, value)

    @property
    def sleeping(self):
        return lane_sleeping(self.at()) != 0

    @sleeping.setter
    def sleeping(self, bint value):
        if value:
            lane_prepare_sleep(self.at())
        else:
            set32(self.at().sleeping, 0)

    @property
    def stage_start_ns(self):
        return get64_acquire(self.at().stage_start_ns)

    @stage_start_ns.setter
    def stage_start_ns(self, uint64_t value):
        set64_release(self.at().stage_start_ns, value)

    @property
    def stage_expected_ns(self):
        return get64(self.at().stage_expected_ns)

    @stage_expected_ns.setter
    def stage_expected_ns(self, uint64_t value):
        set64(self.at().stage_expected_ns, value)

    @property
    def cost_scale(self):
        cdef uint64_t bits = get64(self.at().cost_scale_bits)
        cdef double scale
        memcpy(&scale, &bits, sizeof(scale))
        return scale if bits else 1.0

    @cost_scale.setter
    def cost_scale(self, double value):
        cdef uint64_t bits
        if not 0.0 < value < 1e9:
            raise ValueError(f"cost scale {value} is not in (0, 1e9)")
        memcpy(&bits, &value, sizeof(bits))
        set64(self.at().cost_scale_bits, bits)

    @property
    def counters(self):
        cdef lane *it = self.at()
        return self.segment.view(<char *>it.counters - self.segment.base, LANE_COUNTERS * 8, "Q")

    def incarnate(self, uint32_t pid, uint32_t epoch):
        if pid == 0:
            raise ValueError("pid 0 means no process")
        lane_incarnate(self.at(), pid, check_epoch(epoch))

    def start_heartbeat(self, int interval_ms=50):
        cdef heartbeat *beat
        if not 1 <= interval_ms <= 60_000:
            raise ValueError(f"a beat every {interval_ms} ms is not in 1..60000")
        beat = heartbeat_start(self.at(), interval_ms * <uint64_t>1_000_000)
        if beat is NULL:
            raise OSError(c_errno, "cannot start the heartbeat thread")
        beat.next = self.segment.beats
        self.segment.beats = beat

    def touch(self):
        set64(self.at().tick_ns, monotonic_now())

    def stage_begin(self, uint64_t expected_ns, bint whole=False):
        cdef lane *it = self.at()
        set64(it.stage_expected_ns, expected_ns)
        set64(it.stage_whole, whole)
        set64_release(it.stage_start_ns, monotonic_now())

    def stage_end(self):
        set64_release(self.at().stage_start_ns, 0)

    def prepare_sleep(self):
        lane_prepare_sleep(self.at())

    def wake(self):
        set32(self.at().sleeping, 0)

    def __repr__(self):
        kind = "worker" if self.position < self.segment.workers else "device"
        return f"<Lane {kind}-{self.index} pid={self.pid} epoch={self.epoch} state={self.state}>"


cdef uint32_t check_epoch(uint32_t epoch) except 0:
    if not 1 <= epoch <= MAX_EPOCH:
        raise ValueError(f"epoch {epoch} is not in 1..{MAX_EPOCH}")
    return epoch
