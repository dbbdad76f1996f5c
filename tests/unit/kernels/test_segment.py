"""The segment: layout, refusals, buffers that keep it mapped, the words that all share."""

import fcntl
import gc
import os
import struct
import subprocess
import sys

import numpy as np
import pytest

from kernels import segment as module
from kernels.segment import Segment, monotonic_ns
from kernels.slots import Slots

CLASSES = [(1000, 2), (1 << 20, 1)]


@pytest.fixture
def segment(no_leaks):
    with Segment.create(2, 2, CLASSES) as segment:
        yield segment


# --- create, attach, close ---------------------------------------------------------


def test_shape_is_told(segment):
    assert (segment.workers, segment.devices, segment.slots, segment.worker_slots) == (2, 2, 6, 3)
    assert os.get_inheritable(segment.fd)


def test_gigabytes_cost_nothing_until_touched(no_leaks):
    with Segment.create(4, 2, [(1 << 20, 64), (1 << 29, 8)]) as segment:
        stat = os.fstat(segment.fd)
        assert stat.st_size > 16 << 30
        assert stat.st_blocks * 512 < 1 << 20


def test_size_is_sealed(segment):
    size = os.fstat(segment.fd).st_size
    for other in (size - 4096, size + 4096):
        with pytest.raises(PermissionError):
            os.ftruncate(segment.fd, other)
    seals = fcntl.fcntl(segment.fd, fcntl.F_GET_SEALS)
    assert seals & fcntl.F_SEAL_SHRINK
    assert seals & fcntl.F_SEAL_GROW


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param((0, 1, [(1, 1)]), "workers must", id="no-worker"),
        pytest.param((65, 1, [(1, 1)]), "workers must", id="too-many-workers"),
        pytest.param((1, 0, [(1, 1)]), "devices must", id="no-device"),
        pytest.param((1, -1, [(1, 1)]), "devices must", id="negative-devices"),
        pytest.param((1, 1, []), "size classes", id="no-class"),
        pytest.param((1, 1, [(n, 1) for n in range(1, 10)]), "size classes", id="too-many-classes"),
        pytest.param((1, 1, [(2, 1), (2, 1)]), "must ascend", id="equal-classes"),
        pytest.param((1, 1, [(0, 1)]), "at least 1", id="empty-slots"),
        pytest.param((1, 1, [(1, 0)]), "at least 1", id="class-without-slots"),
        pytest.param((1, 1, [((1 << 32) + 1, 1)]), "2..32 bytes", id="too-large"),
        pytest.param((1, 1, [(1, 4097)]), "4096 slots", id="too-many-slots"),
        pytest.param((64, 1, [(1 << 32, 4096)]), "64 TiB", id="too-much"),
    ],
)
def test_impossible_geometry_is_refused(no_leaks, arguments, message):
    with pytest.raises(ValueError, match=message):
        Segment.create(*arguments)


def copy_of(segment, changes=(), size=None, sealed=True):
    """A memfd with this segment's first page, changed."""
    fd = os.memfd_create("changed", os.MFD_ALLOW_SEALING)
    os.pwrite(fd, os.pread(segment.fd, 4096, 0), 0)
    for offset, raw in changes:
        os.pwrite(fd, raw, offset)
    os.ftruncate(fd, os.fstat(segment.fd).st_size if size is None else size)
    if sealed:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    return fd


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"changes": [(0, b"X")]}, "magic", id="magic"),
        pytest.param({"changes": [(8, struct.pack("<I", 4))]}, "layout version", id="version"),
        pytest.param({"changes": [(12, struct.pack("<I", 3))]}, "size does not match", id="workers"),
        pytest.param({"changes": [(16, struct.pack("<I", 65))]}, "devices must", id="devices"),
        pytest.param({"changes": [(20, struct.pack("<I", 9))]}, "size classes", id="classes"),
        pytest.param({"size": 1 << 21}, "size does not match", id="size"),
        pytest.param({"size": 100}, "not a segment", id="tiny"),
        pytest.param({"sealed": False}, "not sealed", id="seals"),
    ],
)
def test_attach_refuses_what_is_no_segment_of_ours(segment, change, message):
    fd = copy_of(segment, **change)
    try:
        with pytest.raises(ValueError, match=message):
            Segment.attach(fd)
        os.fstat(fd)  # the caller still has it
    finally:
        os.close(fd)


def test_attach_accepts_an_unchanged_copy(segment):
    with Segment.attach(copy_of(segment)) as copy:
        assert copy.slots == segment.slots


def test_attach_refuses_a_plain_file(segment, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(os.pread(segment.fd, 4096, 0))
    os.truncate(path, os.fstat(segment.fd).st_size)
    with path.open("r+b") as file, pytest.raises(ValueError, match="not sealed"):
        Segment.attach(file.fileno())
    with pytest.raises(OSError, match="Bad file descriptor"):
        Segment.attach(10**6)


def test_close_is_refused_while_buffers_point_into_it(no_leaks):
    segment = Segment.create(1, 1, CLASSES)
    array = np.frombuffer(Slots(segment).data(0), np.uint8)[10:]
    counters = segment.worker(0).counters
    with pytest.raises(BufferError, match="2 memoryviews"):
        segment.close()
    array[:] = 7  # still there
    del array
    counters.release()
    segment.close()
    segment.close()
    assert segment.fd == -1
    assert repr(segment) == "<Segment closed>"


def test_buffers_keep_a_forgotten_segment_mapped(no_leaks):
    view = Slots(Segment.create(1, 1, CLASSES)).data(0)
    gc.collect()
    view[:] = b"x" * len(view)
    assert bytes(view[-3:]) == b"xxx"


CYCLE = """
import gc
from kernels.ring import Ring
from kernels.segment import Segment
from kernels.slots import Slots

class Holder:
    def __del__(self):
        self.slots.count(0), self.ring.pop(), self.lane.touch()

for _ in range(50):
    segment = Segment.create(1, 1, [(1000, 1)])
    slots, ring, lane = Slots(segment), Ring.to_device(segment, 0, 0), segment.worker(0)
    views = [slots.data(0), lane.counters, memoryview(slots.data(0))[5:]]
    holder = Holder()  # younger than what it holds: the collector clears the others first
    holder.me, holder.slots, holder.ring, holder.lane, holder.views = holder, slots, ring, lane, views
    del segment, slots, ring, lane, views, holder
    gc.collect()
print("whole")
"""


def test_garbage_in_cycles_is_collected_without_harm():
    done = subprocess.run(
        [sys.executable, "-c", CYCLE], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "whole\n", "")


def test_lanes_refuse_a_closed_segment(no_leaks):
    segment = Segment.create(1, 1, CLASSES)
    lane = segment.worker(0)
    segment.close()
    calls = [
        lambda: lane.pid, lambda: lane.counters, lambda: lane.sleeping, lane.touch, lane.stage_end, lane.wake,
        lane.start_heartbeat, lane.prepare_sleep, lambda: lane.incarnate(1, 1), lambda: lane.stage_begin(1),
        lambda: segment.worker(0), lambda: segment.scan_epoch, segment.bump_scan_epoch, segment.computing,
        lambda: segment.draining, lambda: segment.quarantine(1, 1), lambda: segment.quarantined,
        lambda: segment.is_quarantined(1), lambda: Slots(segment),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ValueError, match="closed"):
            call()


def test_objects_are_not_made_directly(segment):
    for call in (Segment, module.Lane):
        with pytest.raises(TypeError, match="use Segment"):
            call()
    with pytest.raises(ValueError, match="closed"):
        Segment.__new__(Segment).worker(0)


CHILD = """
import sys
from kernels.segment import READY, Segment
from kernels.slots import Slots
segment = Segment.attach(int(sys.argv[1]))
slots = Slots(segment)
((slot, generation),) = slots.ready()
assert slots.claim(slot, generation, 9)
view = slots.data(slot)
view[:3] = bytes(view[:3])[::-1]
segment.worker(1).counters[0] += 1
segment.device(1).state = READY
assert slots.finish(slot, generation, 9, 3)
"""


def test_two_processes_share_a_segment(segment):
    slots = Slots(segment)
    slot = slots.take(1, 3)
    view = slots.data(slot)
    view[:3] = b"abc"
    generation = slots.publish(
        slot, request_id=1, deadline_ns=2, operation=3, device=0, cost_us=4, request_bytes=3
    )
    command = [sys.executable, "-c", CHILD, str(segment.fd)]
    subprocess.run(command, pass_fds=[segment.fd], check=True, timeout=60)
    assert slots.done(1) == [(slot, generation)]
    assert bytes(view[:3]) == b"cba"
    assert segment.worker(1).counters[0] == 1
    assert segment.device(1).state == module.READY
    view.release()


# --- shared words -----------------------------------------------------------------------


def test_scan_epoch_and_draining_are_seen_by_others(segment):
    with Segment.attach(os.dup(segment.fd)) as other:
        assert (other.scan_epoch, other.draining) == (0, False)
        assert (segment.bump_scan_epoch(), segment.bump_scan_epoch()) == (1, 2)
        segment.draining = True
        assert (other.scan_epoch, other.draining) == (2, True)


def test_quarantine_ends_in_time(segment):
    later, past = monotonic_ns() + 10**12, monotonic_ns() - 1
    assert segment.quarantined == 0
    segment.quarantine(2**64 - 1, later)
    segment.quarantine(7, past)
    assert segment.quarantined == 1
    assert segment.is_quarantined(2**64 - 1)
    assert not segment.is_quarantined(7)
    segment.quarantine(2**64 - 1, past)  # the same hash again replaces its entry
    assert segment.quarantined == 0


def test_full_quarantine_forgets_what_ends_first(segment):
    now = monotonic_ns() + 10**12
    for number in range(1, 131):
        segment.quarantine(number, now + number)
    assert segment.quarantined == 128
    assert [n for n in range(1, 131) if not segment.is_quarantined(n)] == [1, 2]


def test_quarantine_refuses_what_means_none(segment):
    for arguments in [(0, 1), (1, 0)]:
        with pytest.raises(ValueError, match="mean none"):
            segment.quarantine(*arguments)
