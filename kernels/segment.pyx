# cython: nonecheck=True
"""The shared segment: create, attach, lanes. The layout is in segment.h, the words in segment.pyi."""

import fcntl
import os

cimport cython
from cpython.buffer cimport PyBUF_FORMAT, PyBUF_ND, PyBUF_STRIDES
from cpython.memoryview cimport PyMemoryView_FromObject
from libc.errno cimport errno as c_errno
from libc.string cimport memcpy, memset
from posix.mman cimport MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap
from posix.unistd cimport close


cdef extern from "<sys/mman.h>" nogil:
    int madvise(void *address, size_t length, int advice)
    const int MADV_DONTDUMP


cdef extern from "<sys/prctl.h>" nogil:
    int prctl(int option, ...)
    const int PR_SET_NAME, PR_SET_PDEATHSIG


EMPTY = LANE_EMPTY
STARTING = LANE_STARTING
READY = LANE_READY
DRAINING = LANE_DRAINING
FAILED = LANE_FAILED
COUNTERS = LANE_COUNTERS

cdef int SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


def monotonic_ns():
    return monotonic_now()


@cython.no_gc  # clearing it in a cycle would lose the segment before the last memoryview is released
cdef class View:
    """A buffer over part of a mapping. It keeps the segment from being unmapped."""

    cdef Segment segment
    cdef char *start
    cdef Py_ssize_t nbytes, shape, itemsize
    cdef bytes format

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        if self.segment.base is NULL:
            raise BufferError("the segment is closed")
        buffer.buf = self.start
        buffer.obj = self
        buffer.len = self.nbytes
        buffer.readonly = 0
        buffer.itemsize = self.itemsize
        buffer.format = <char *>self.format if flags & PyBUF_FORMAT else NULL
        buffer.ndim = 1
        buffer.shape = &self.shape if flags & PyBUF_ND else NULL
        buffer.strides = &self.itemsize if (flags & PyBUF_STRIDES) == PyBUF_STRIDES else NULL
        buffer.suboffsets = NULL
        buffer.internal = NULL
        self.segment.exports += 1

    def __releasebuffer__(self, Py_buffer *buffer):
        self.segment.exports -= 1


cdef class Segment:
    def __cinit__(self):
        self.fd = -1

    def __init__(self):
        raise TypeError("use Segment.create or Segment.attach")

    @staticmethod
    def create(int workers, int devices, classes):
        cdef segment_header header
        cdef segment_layout layout
        cdef const char *fault
        cdef Segment self
        cdef int index
        memset(&header, 0, sizeof(header))
        header.version = SEGMENT_VERSION
        header.workers = workers
        header.devices = devices
        header.classes = min(len(classes), MAX_CLASSES + 1)
        for index, (nbytes, slots) in enumerate(classes[:MAX_CLASSES]):
            if nbytes < 1 or slots < 1:
                raise ValueError(f"size class {index} is ({nbytes}, {slots}): both must be at least 1")
            header.class_bytes[index] = nbytes
            header.class_slots[index] = slots
        fault = segment_measure(&header, &layout)
        if fault is not NULL:
            raise ValueError(fault.decode())
        header.total_bytes = layout.total_bytes
        fd = os.memfd_create("segment", os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(fd, layout.total_bytes)
            self = map_segment(fd, &header, &layout)
        except BaseException:
            os.close(fd)
            raise
        for index in range(workers + devices):
            set32(segment_lane(self.base, &layout, index).reaped_epoch, NO_EPOCH)
        memcpy(self.base, &header, sizeof(header))
        set64_release((<segment_header *>self.base).magic, SEGMENT_MAGIC)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS | fcntl.F_SEAL_SEAL)
        return self

    @staticmethod
    def attach(int fd):
        cdef segment_header header
        cdef segment_layout layout
        cdef const char *fault
        cdef bytes first = os.pread(fd, sizeof(segment_header), 0)
        if len(first) < <Py_ssize_t>sizeof(segment_header):
            raise ValueError(f"this is not a segment ({len(first)} bytes)")
        memcpy(&header, <char *>first, sizeof(header))
        fault = segment_check(&header, os.fstat(fd).st_size, &layout)
        if fault is not NULL:
            raise ValueError(fault.decode())
        try:
            seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
        except OSError:  # not a memfd
            seals = 0
        if seals & SEALS != SEALS:
            raise ValueError("the segment is not sealed against shrinking and growing")
        return map_segment(fd, &header, &layout)

    cdef segment_header *header(self) except NULL:
        if self.base is NULL:
            raise ValueError("the segment is closed")
        return <segment_header *>self.base

    cdef int check_index(self, str kind, Py_ssize_t index, Py_ssize_t bound) except -1:
        if self.base is NULL:
            raise ValueError("the segment is closed")
        if not 0 <= index < bound:
            raise IndexError(f"{kind} {index} is not in 0..{bound - 1}")
        return 0

    cdef object view(self, uint64_t offset, Py_ssize_t nbytes, str format):
        cdef View it = View.__new__(View)
        self.header()
        it.segment = self
        it.start = self.base + offset
        it.nbytes = nbytes
        it.itemsize = 8 if format == "Q" else 1
        it.shape = nbytes // it.itemsize
        it.format = format.encode()
        return PyMemoryView_FromObject(it)

    def worker(self, Py_ssize_t index):
        self.check_index("worker", index, self.workers)
        return make_lane(self, index, index)

    def device(self, Py_ssize_t index):
        self.check_index("device", index, self.devices)
        return make_lane(self, index, self.workers + index)

    @property
    def scan_epoch(self):
        return get64_acquire(self.header().scan_epoch)

    def bump_scan_epoch(self):
        cdef segment_header *header = self.header()
        cdef uint64_t epoch = get64(header.scan_epoch) + 1
        set64_release(header.scan_epoch, epoch)
        return epoch

    @property
    def draining(self):
        return get32_acquire(self.header().draining) != 0

    @draining.setter
    def draining(self, bint value):
        set32_release(self.header().draining, value)

    def computing(self):
        cdef int device, count = 0
        self.header()
        for device in range(self.devices):
            count += get64(segment_lane(self.base, &self.layout, self.workers + device).stage_start_ns) != 0
        return count

    def whole_until_ns(self):
        cdef int device
        cdef uint64_t start, until = 0
        cdef lane *it
        self.header()
        for device in range(self.devices):
            it = segment_lane(self.base, &self.layout, self.workers + device)
            start = get64_acquire(it.stage_start_ns)
            if start and get64(it.stage_whole):
                until = max(until, start + get64(it.stage_expected_ns))
        return until

    def quarantine(self, uint64_t body_hash, uint64_t until_ns):
        if body_hash == 0 or until_ns == 0:
            raise ValueError("a hash and a time of 0 mean none")
        quarantine_put(self.header(), body_hash, until_ns)

    @property
    def quarantined(self):
        return quarantine_count(self.header(), monotonic_now())

    def is_quarantined(self, uint64_t body_hash):
        return quarantine_has(self.header(), body_hash, monotonic_now()) != 0

    def close(self):
        if self.base is NULL:
            return
        if self.exports:
            raise BufferError(f"{self.exports} memoryviews still point into the segment")
        unmap(self)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def __dealloc__(self):
        # Views hold a reference, so none is left here.
        if self.base is not NULL:
            unmap(self)

    def __repr__(self):
        if self.base is NULL:
            return "<Segment closed>"
        return (f"<Segment fd={self.fd} workers={self.workers} devices={self.devices}"
                f" slots={self.slots} bytes={self.layout.total_bytes}>")


cdef Segment map_segment(int fd, const segment_header *header, const segment_layout *layout):
    cdef Segment self = Segment.__new__(Segment)
    cdef void *base = mmap(NULL, layout.total_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
    if base == MAP_FAILED:
        raise OSError(c_errno, f"cannot map {layout.total_bytes} bytes of shared memory")
    madvise(base, layout.total_bytes, MADV_DONTDUMP)  # documents do not belong into core files
    self.base = <char *>base
    self.layout = layout[0]
    self.fd = fd
    self.workers = header.workers
    self.devices = header.devices
    self.slots = layout.slots
    self.worker_slots = layout.worker_slots
    return self


cdef int unmap(Segment self) except -1:
    cdef heartbeat *beat
    while self.beats is not NULL:
        beat = self.beats
        self.beats = beat.next
        with nogil:
            heartbeat_stop(beat)
    munmap(self.base, self.layout.total_bytes)
    self.base = NULL
    close(self.fd)
    self.fd = -1
    return 0


include "lane.pxi"


def set_process_name(str name):
    cdef bytes raw = name.encode()[:15]
    if prctl(PR_SET_NAME, <char *>raw, 0, 0, 0):
        raise OSError(c_errno, "prctl(PR_SET_NAME)")


def set_parent_death_signal(int signal, int parent_pid):
    if prctl(PR_SET_PDEATHSIG, <unsigned long>signal, 0, 0, 0):
        raise OSError(c_errno, "prctl(PR_SET_PDEATHSIG)")
    return os.getppid() == parent_pid
