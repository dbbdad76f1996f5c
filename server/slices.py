"""How a thread's share of the processor is cut: in short slices it runs soon after it wakes, and no more.

Where all cores compute, a thread that wakes waits for the slice of another to end, up to 4 ms with Linux's
usual clock. One that asks for shorter slices interrupts it (sched_setattr(2), from Linux 6.12 on for
ordinary threads; older kernels take the request and ignore it). Nobody's share of the time changes, and
no privilege is needed, unlike for a negative nice value.
"""

from __future__ import annotations

import ctypes
import os

#: The shortest that the kernel grants.
SLICE_NS = 100_000
#: sched_setattr and sched_getattr; C libraries wrap them only since 2024.
_NUMBERS = {"x86_64": (314, 315), "aarch64": (274, 275)}
#: What this thread starts later gets ordinary slices: decoding and rendering have time.
_RESET_ON_FORK = 1


class _Attributes(ctypes.Structure):
    """``struct sched_attr``, its first version."""

    _fields_ = [
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime_ns", ctypes.c_uint64),
        ("deadline_ns", ctypes.c_uint64),
        ("period_ns", ctypes.c_uint64),
    ]


def ask_for_short_slices() -> bool:
    """For the calling thread. Returns whether the system has taken the request.

    Threads whose scheduling somebody has chosen (another policy, a negative nice value) are left alone.
    """
    numbers = _numbers()
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    if numbers is None or nice < 0 or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return False
    size = ctypes.sizeof(_Attributes)
    wanted = _Attributes(size, os.SCHED_OTHER, _RESET_ON_FORK, nice, 0, SLICE_NS)
    return _call(numbers[0], wanted, 0)


def slice_ns() -> int:
    """The slice of the calling thread; 0 where the system does not say."""
    numbers = _numbers()
    found = _Attributes()
    if numbers is None or not _call(numbers[1], found, ctypes.sizeof(_Attributes), 0):
        return 0
    return int(found.runtime_ns)


def _numbers() -> tuple[int, int] | None:
    """Numbers of the two calls for this process, where they are known."""
    wide = ctypes.sizeof(ctypes.c_void_p) == 8  # a process may be narrower than its kernel
    return _NUMBERS.get(os.uname().machine) if wide else None


def _call(number: int, attributes: _Attributes, *more: int) -> bool:
    """The system call for the calling thread; whether it succeeded."""
    own_thread = 0
    done: int = ctypes.CDLL(None).syscall(number, own_thread, ctypes.byref(attributes), *more)
    return done == 0
