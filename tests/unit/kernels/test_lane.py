"""Lanes: their fields, the heartbeat, the process that lives in one."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from kernels import segment as module
from kernels.segment import COUNTERS, Segment, monotonic_ns
from tests.conditions import wait_for

CLASSES = [(1000, 2), (1 << 20, 1)]


@pytest.fixture
def segment(no_leaks):
    with Segment.create(2, 2, CLASSES) as segment:
        yield segment


def test_lanes_do_not_overlap(segment):
    lanes = [segment.worker(0), segment.worker(1), segment.device(0), segment.device(1)]
    for number, lane in enumerate(lanes, 1):
        lane.incarnate(number, number)
        lane.counters[0], lane.counters[COUNTERS - 1] = number, number * 10
    assert [(x.pid, x.epoch, x.counters[0], x.counters[COUNTERS - 1]) for x in lanes] == [
        (n, n, n, n * 10) for n in range(1, 5)
    ]


def test_new_incarnation_keeps_only_the_counters(segment):
    lane = segment.device(0)
    lane.incarnate(1, 1)
    lane.state, lane.cost_scale, lane.counters[5] = module.READY, 2.5, 6
    lane.stage_begin(7)
    lane.prepare_sleep()
    before = monotonic_ns()
    lane.incarnate(2, 2**24 - 1)
    assert (lane.pid, lane.epoch, lane.state) == (2, 2**24 - 1, module.STARTING)
    assert (lane.cost_scale, lane.sleeping, lane.stage_start_ns, lane.stage_expected_ns) == (1.0, False, 0, 0)
    assert lane.heartbeat_ns >= before
    assert lane.tick_ns >= before
    assert lane.counters[5] == 6


def test_counters_are_words(segment):
    view = segment.worker(0).counters
    assert (view.format, view.itemsize, len(view), view.readonly) == ("Q", 8, COUNTERS, False)
    assert np.asarray(view).dtype == np.uint64
    view.release()


def test_computing_counts_devices_inside_a_stage(segment):
    assert segment.computing() == 0
    segment.device(0).stage_begin(10)
    segment.device(1).stage_begin(20)
    assert segment.computing() == 2
    segment.device(0).stage_end()
    assert segment.computing() == 1
    assert segment.device(1).stage_expected_ns == 20


def test_the_end_of_an_all_core_stage_is_known_to_others(segment):
    assert segment.whole_until_ns() == 0
    segment.device(0).stage_begin(10)
    assert segment.whole_until_ns() == 0
    one = segment.device(1)
    one.stage_begin(20, True)
    assert segment.whole_until_ns() == one.stage_start_ns + 20
    one.stage_end()
    assert segment.whole_until_ns() == 0
    one.stage_begin(20)
    assert segment.whole_until_ns() == 0


def test_sleeping_flag(segment):
    lane = segment.worker(0)
    lane.prepare_sleep()
    assert lane.sleeping
    lane.wake()
    assert not lane.sleeping


@pytest.mark.parametrize(
    ("call", "error"),
    [
        pytest.param(lambda s: s.worker(2), IndexError, id="no-such-worker"),
        pytest.param(lambda s: s.device(-1), IndexError, id="no-such-device"),
        pytest.param(lambda s: s.worker(0).incarnate(0, 1), ValueError, id="pid-zero"),
        pytest.param(lambda s: s.worker(0).incarnate(1, 0), ValueError, id="epoch-zero"),
        pytest.param(lambda s: s.worker(0).incarnate(1, 2**24), ValueError, id="epoch-too-large"),
        pytest.param(lambda s: setattr(s.worker(0), "state", 5), ValueError, id="no-such-state"),
        pytest.param(lambda s: setattr(s.worker(0), "cost_scale", 0.0), ValueError, id="cost-zero"),
        pytest.param(lambda s: setattr(s.worker(0), "cost_scale", float("nan")), ValueError, id="cost-nan"),
        pytest.param(lambda s: s.worker(0).start_heartbeat(0), ValueError, id="no-interval"),
    ],
)
def test_wrong_argument_is_refused(segment, call, error):
    with pytest.raises(error):
        call(segment)


# --- processes -------------------------------------------------------------------------------

BUSY = """
import sys
from kernels.segment import Segment
segment = Segment.attach(int(sys.argv[1]))
segment.worker(0).start_heartbeat(5)
print("beating", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def beating(segment):
    command = [sys.executable, "-c", BUSY, str(segment.fd)]
    child = subprocess.Popen(
        command, pass_fds=[segment.fd], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "beating\n"
    yield segment.worker(0), child
    child.kill()
    child.communicate(timeout=30)


def beats(lane, timeout=10.0):
    before = lane.heartbeat_ns
    return wait_for(lambda: lane.heartbeat_ns > before, timeout)


def test_stopped_process_beats_no_more(beating):
    lane, child = beating
    assert beats(lane)
    child.send_signal(signal.SIGSTOP)
    wait_for(lambda: Path(f"/proc/{child.pid}/stat").read_text().split()[2] == "T")
    with pytest.raises(AssertionError, match="not within"):
        beats(lane, timeout=0.2)
    child.send_signal(signal.SIGCONT)
    assert beats(lane)


def test_heart_beats_while_python_holds_its_lock(segment):
    lane = segment.worker(0)
    lane.start_heartbeat(1)
    number, started = 3**100_000, monotonic_ns()
    sys.setswitchinterval(60)  # a Python thread would get the lock in a minute at the earliest
    try:
        while lane.heartbeat_ns <= started and monotonic_ns() < started + 10 * 10**9:
            _ = number * number
        assert lane.heartbeat_ns > started
    finally:
        sys.setswitchinterval(0.005)


def test_close_ends_the_heartbeat(no_leaks):
    segment = Segment.create(1, 1, CLASSES)

    def threads():
        return [p.read_text().strip() for p in Path("/proc/self/task").glob("*/comm")].count("heartbeat")

    before = threads()
    segment.worker(0).start_heartbeat(60_000)
    segment.device(0).start_heartbeat(60_000)
    wait_for(lambda: threads() == before + 2)
    started = time.monotonic()
    segment.close()
    assert threads() == before
    assert time.monotonic() - started < 30


def test_process_name_is_cut_to_fifteen_bytes():
    code = (
        "from kernels.segment import set_process_name; set_process_name('device-0-with-a-long-name');"
        "print(open('/proc/self/comm').read(), end='')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "device-0-with-a\n"


PARENT = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", '''
import os, signal
from kernels.segment import set_parent_death_signal
assert set_parent_death_signal(signal.SIGKILL, os.getppid())
assert not set_parent_death_signal(signal.SIGKILL, os.getppid() + 1)
print(os.getpid(), flush=True)
signal.pause()
'''])
sys.stdin.read()
"""


def test_child_dies_with_its_parent():
    command = [sys.executable, "-c", PARENT]
    parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    child = os.pidfd_open(pid)
    try:
        parent.kill()
        assert select.select([child], [], [], 10)[0], "the child outlived its parent"
    finally:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(child, signal.SIGKILL)
        os.close(child)
        parent.communicate(timeout=30)
