"""What glibc's allocator is told in a worker."""

from __future__ import annotations

import ctypes

#: Parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_heap() -> None:
    """Have glibc keep freed buffers of the size of bodies instead of returning them to the system.

    Each request allocates and frees its body several times over; getting fresh pages for that took a
    quarter of the CPU time of a 350 KB request (280 page faults). Other C libraries are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 8 << 20)
        mallopt(_M_TRIM_THRESHOLD, 32 << 20)
