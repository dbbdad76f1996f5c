"""Turns on a core, by what the kernel says of a process that takes them."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from server import turns

ROOT = Path(__file__).parents[3]
_KERNEL = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])

_SAY = """
import os, sys, threading
from pathlib import Path
from server.turns import take_long_turns, take_short_turns

def slice_ns(path="/proc/thread-self/sched"):
    lines = Path(path).read_text().splitlines()
    return next((int(line.split(":")[1]) for line in lines if line.startswith("se.slice")), 0)

def in_thread():
    seen.append(slice_ns())
    take_long_turns()
    seen.append(slice_ns())

os.nice(3)
seen = [slice_ns()]
assert take_short_turns()
seen.append(slice_ns())
thread = threading.Thread(target=in_thread)
thread.start()
thread.join()
nice, policy = os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0)
print(*seen, slice_ns(), nice, policy, sys.getswitchinterval())
"""


def said(program: str) -> list[str]:
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.skipif(
    _KERNEL < (6, 12) or platform.machine() not in ("x86_64", "aarch64"),
    reason="a kernel without slices per thread",
)
def test_an_event_loop_takes_short_turns_and_a_thread_of_it_can_take_long_ones():
    own, short, inherited, long, after, nice, policy, switch = said(_SAY)
    assert int(short) == int(inherited) == int(after) == turns.SHORT_SLICE_NS < int(own)
    assert long == own, "the thread has the kernel's own slice again, and the loop keeps its short one"
    assert int(nice) == 3 + os.getpriority(os.PRIO_PROCESS, 0) and int(policy) == os.SCHED_OTHER
    assert float(switch) < 0.001


def test_a_policy_that_an_operator_chose_stays():
    program = "import os; os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))\n"
    program += "from server.turns import take_short_turns\n"
    program += "print(take_short_turns(), os.sched_getscheduler(0) == os.SCHED_BATCH)"
    assert said(program) == ["False", "True"]


def test_a_machine_whose_call_is_not_known_is_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "toaster")
    before = sys.getswitchinterval()
    try:
        assert turns.take_short_turns() is False
    finally:
        sys.setswitchinterval(before)
