"""Whose turn comes first on a busy core: an event loop's, which needs it for a moment, or a computation's.

Left to itself, Linux lets a computation finish its slice (some milliseconds) before a thread that wakes up
gets the core, and Python lets the thread that holds the interpreter keep it for 5 ms. A request that is
refused in 0.3 ms of processor time then takes many times that. Nobody gets more of a processor by this.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys

#: Nanoseconds: the kernel's shortest slice (``kernel/sched/syscalls.c``). From Linux 6.12 it also decides who
#: may push whom from a core (``PREEMPT_SHORT``); older kernels take the call and do nothing.
SHORT_SLICE_NS = 100_000
#: Seconds, for the thread that waits for the interpreter; a switch costs microseconds.
_SWITCH_S = 0.0005
#: sched_setattr(2): glibc has it from 2.41 only.
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}


class _SchedAttr(ctypes.Structure):
    """``struct sched_attr`` in its first version (sched_setattr(2))."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    )


def take_short_turns() -> bool:
    """For the thread of an event loop: it gets a core at once when it wakes, and gives it back soon.

    Threads and processes that it starts from now on begin with the same: :func:`take_long_turns` is theirs.

    Returns:
        False where the system knows no such call or does not allow it; the slice is what it was.
    """
    sys.setswitchinterval(_SWITCH_S)
    return _set_slice(SHORT_SLICE_NS)


def take_long_turns() -> None:
    """For a thread or process that computes: the kernel's own slice."""
    _set_slice(0)


def _set_slice(ns: int) -> bool:
    number = _SCHED_SETATTR.get(platform.machine())
    if number is None or os.sched_getscheduler(0) != os.SCHED_OTHER:  # an operator's policy stays
        return False
    attr = _SchedAttr(ctypes.sizeof(_SchedAttr), os.SCHED_OTHER, 0, os.getpriority(os.PRIO_PROCESS, 0), 0, ns)
    return bool(ctypes.CDLL(None).syscall(number, 0, ctypes.byref(attr), 0) == 0)
