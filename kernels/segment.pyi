"""The server's one shared-memory segment: a sealed memfd with lanes, rings and slots.

Layout and protocol are drawn in docs/shared-memory.md and asserted in the C headers.
Nothing here waits, logs or allocates in shared memory. All times are
CLOCK_MONOTONIC nanoseconds.
"""

from collections.abc import Sequence
from typing import Final

EMPTY: Final[int]  # no process
STARTING: Final[int]  # spawned, loading
READY: Final[int]  # serving
DRAINING: Final[int]  # finishes what it has, takes nothing new
FAILED: Final[int]  # given up for good

COUNTERS: Final[int]  # u64 counters per lane

def monotonic_ns() -> int: ...

class Segment:
    """A mapping of the segment. One per process; ``close`` unmaps and closes the fd.

    Attributes:
        fd: the memfd, inheritable.
        workers, devices: number of lanes, spares included.
        slots: number of slots; slot ids are 0..slots-1.
        worker_slots: slots that each worker lane owns; worker w owns
            [w*worker_slots, (w+1)*worker_slots).
    """

    fd: int
    workers: int
    devices: int
    slots: int
    worker_slots: int

    @staticmethod
    def create(workers: int, devices: int, classes: Sequence[tuple[int, int]]) -> Segment:
        """Make and seal a segment.

        Args:
            workers, devices: lanes, spares included (1..64 each).
            classes: (data bytes, slots per worker) per size class, ascending sizes.
        """
    @staticmethod
    def attach(fd: int) -> Segment:
        """Map an inherited segment. Raises ValueError on a wrong magic, version or size."""
    def worker(self, index: int) -> Lane: ...
    def device(self, index: int) -> Lane: ...
    @property
    def scan_epoch(self) -> int:
        """Counts reaped processes. Whoever sees it change scans the slot headers."""
    def bump_scan_epoch(self) -> int:
        """Supervisor only."""
    @property
    def draining(self) -> bool: ...
    @draining.setter
    def draining(self, value: bool) -> None: ...
    def computing(self) -> int:
        """Devices that are inside a stage now (the shared busy counter)."""
    def whole_until_ns(self) -> int:
        """When the stage that takes all cores should be over, as its device expected; 0 if there is none."""
    # Quarantine: a small table of body hashes, written by the supervisor only.
    def quarantine(self, body_hash: int, until_ns: int) -> None: ...
    @property
    def quarantined(self) -> int:
        """Entries that have not expired; hashes are compared only while it is not 0."""
    def is_quarantined(self, body_hash: int) -> bool: ...
    def close(self) -> None:
        """Stop the beats, unmap, close the fd. BufferError while memoryviews into it exist; afterwards
        every method of the segment, its lanes, rings and slots raises ValueError."""
    def __enter__(self) -> Segment: ...
    def __exit__(self, *exc: object) -> None: ...

class Lane:
    """One process's place in the segment. Fields are atomics; writers are named."""

    index: int
    pid: int  # supervisor
    epoch: int  # supervisor: number of this incarnation, unique in the segment, 1..2**24-1
    state: int  # supervisor (EMPTY/STARTING/FAILED/DRAINING), the process itself (READY)
    heartbeat_ns: int  # the process's native thread
    tick_ns: int  # the process's main loop (touch)
    sleeping: bool  # the process; reading is a full barrier: push first, then look. See ``prepare_sleep``
    stage_start_ns: int  # device; 0 = idle
    stage_expected_ns: int  # device
    cost_scale: float  # device: measured device ms per estimated ms (EWMA), starts at 1.0
    counters: memoryview  # format 'Q', COUNTERS long, written by the process only; a new view at each access
    def incarnate(self, pid: int, epoch: int) -> None:
        """Supervisor: reset per-incarnation fields for a new process (counters stay)."""
    def start_heartbeat(self, interval_ms: int = 50) -> None:
        """Start the native beat thread (needs no GIL; ends with the process)."""
    def touch(self) -> None: ...
    def stage_begin(self, expected_ns: int, whole: bool = False) -> None:
        """``whole``: the stage takes all cores, and others had better wait."""
    def stage_end(self) -> None: ...
    def prepare_sleep(self) -> None:
        """Set ``sleeping`` with a full barrier. The caller then looks once more for work and only
        then blocks; afterwards it calls ``wake``."""
    def wake(self) -> None:
        """Clear ``sleeping``."""

def set_process_name(name: str) -> None:
    """prctl(PR_SET_NAME), 15 bytes."""

def set_parent_death_signal(signal: int, parent_pid: int) -> bool:
    """prctl(PR_SET_PDEATHSIG). False when the parent has already changed (caller exits)."""
