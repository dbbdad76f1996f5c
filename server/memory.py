"""Which process has grown beyond its bound, and is to be replaced."""

from __future__ import annotations

import logging
from pathlib import Path

from server.children import Child

#: Reading a process's status costs the kernel little, but it is nothing for every pass of a loop.
_LOOK_NS = 500_000_000
#: Lines of /proc/PID/status: all resident pages, and those of shared memory.
_SIZES = ("VmRSS:", "RssShmem:")

_log = logging.getLogger(__name__)


def own_bytes(pid: int) -> int:
    """Resident memory that is the process's own: heap, models, libraries; 0 when it has ended.

    The shared segment is left out: its pages count in every process that has looked at them.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    sizes = {line.partition(":")[0]: line.split()[1] for line in lines if line.startswith(_SIZES)}
    return max(0, int(sizes.get("VmRSS", 0)) - int(sizes.get("RssShmem", 0))) << 10


class Ceiling:
    """The bound of ``Config.max_rss_mb``.

    A process that needs more than that from the start would be replaced for ever: it is left alone, and
    one line says so.

    Args:
        limit_bytes: the bound; 0 for none.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes

    def is_over(self, child: Child, now_ns: int) -> bool:
        """Whether a ready process is to be replaced; True once for each process."""
        if not self._limit or child.seen_ns < 0 or now_ns - child.seen_ns < _LOOK_NS:
            return False
        first, child.seen_ns = child.seen_ns == 0, now_ns
        held = own_bytes(child.process.pid)
        if held <= self._limit:
            return False
        child.seen_ns = -1
        held_mb, limit_mb = held >> 20, self._limit >> 20
        if first:
            _log.error(
                "%s needs %d MiB to begin with: --max_rss_mb %d is not kept", child.name, held_mb, limit_mb
            )
            return False
        _log.warning(
            "%s holds %d MiB, more than %d: a fresh process takes over", child.name, held_mb, limit_mb
        )
        return True
