"""Rates and numbers of requests by name, counted over several processes in memory that they share.

Nothing here waits and nothing is locked: a process may be killed or stopped at any instruction, and the others
go on. What a dead one had inside is given back with :meth:`Quota.forget`.
"""

from typing_extensions import Buffer

def quota_bytes(entries: int, processes: int) -> int:
    """Size of the memory of a table. Raises ValueError."""

class Quota:
    """One process's view of the table. Zeroed memory is an empty table.

    Args:
        memory: writable, shared, aligned to 8 bytes, of at least :func:`quota_bytes` bytes.
        entries: names that the table holds, at most.
        processes: rows of the table; ``own`` is that of this process.
    """

    entries: int
    processes: int
    own: int

    def __init__(self, memory: Buffer, entries: int, processes: int, own: int) -> None: ...
    def place(self, name: int) -> int | None:
        """Where a name (64 bits, not 0) is counted, the same in all processes; None when the table is full."""

    def take(self, place: int, now_ns: int, interval_ns: int, burst: int) -> int:
        """Count a request at most once each ``interval_ns``, ``burst`` at once; else nanoseconds to wait.

        The generic cell rate algorithm: equal to a bucket of ``burst`` tokens that is filled evenly.
        ``now_ns`` is of a clock that all processes share.
        """

    def inside(self, place: int) -> int:
        """Requests that all processes together have inside."""

    def enter(self, place: int, limit: int) -> bool:
        """Count one more inside; False, and nothing counted, when there would be more than ``limit``.

        The limit is never passed; two processes that reach it at the same moment may both be refused.
        """

    def leave(self, place: int) -> None:
        """One fewer inside; after :meth:`enter` only."""

    def forget(self, process: int) -> None:
        """Nothing is inside a process: it is dead, or has just begun."""
