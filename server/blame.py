"""After a confirmed death: whose fault it was, and what is refused from now on.

Decides, and writes only what the supervisor may write: reaped slots and the quarantine list.
"""

from __future__ import annotations

import logging
import signal
from pathlib import Path
from typing import Literal

from kernels.segment import Segment
from kernels.slots import Slots
from server.liveness import Hang

#: ``item``: the process fell over what it was doing. ``outside``: somebody killed it, or stopped it.
#: ``memory``: the kernel killed it for memory.
Cause = Literal["item", "outside", "memory"]

#: Signals that a process raises by its own code (bad pointer, abort, bad instruction).
_CRASHES = frozenset(
    {
        signal.SIGSEGV,
        signal.SIGABRT,
        signal.SIGFPE,
        signal.SIGBUS,
        signal.SIGILL,
        signal.SIGSYS,
        signal.SIGTRAP,
    }
)
#: Worker deaths with the same body in decoding at which the body is refused.
_WORKER_DEATHS = 2
#: Kernel memory kills of one request that are put down to the machine; further ones count as its own.
_MEMORY_PARDONS = 2

_log = logging.getLogger(__name__)


def find_cause(returncode: int, hang: Hang | None, stopped: bool, memory_kill: bool) -> Cause:
    """Why a process ended.

    Args:
        returncode: as ``Popen.returncode``: exit code, or minus the signal.
        hang: why the supervisor killed it, None if it did not.
        stopped: the process was in a stopped state (SIGSTOP, debugger) when it was killed.
        memory_kill: the memory cgroup's count of kills has grown since the last death.

    An exit code other than 0 counts as the item's: some frameworks end the process
    on input they dislike. SIGKILL that the supervisor did not send comes from outside.
    """
    if hang is not None:
        return "outside" if stopped else "item"
    if returncode < 0 and -returncode not in _CRASHES:
        return "memory" if memory_kill and -returncode == signal.SIGKILL else "outside"
    return "outside" if returncode == 0 else "item"


def is_stopped(pid: int) -> bool:
    """Whether the process is stopped or traced right now."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[:1] in (["T"], ["t"])


class MemoryKills:
    """Count of kernel memory kills in this process's cgroup; 0 for ever where it cannot be read."""

    def __init__(
        self, root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
    ) -> None:
        self._file = self._find(root, membership)
        self._seen = self._read()

    @staticmethod
    def _find(root: Path, membership: Path) -> Path | None:
        """``memory.events`` (cgroup v2) or ``memory.oom_control`` (v1) of this process."""
        try:
            lines = membership.read_text(encoding="utf-8").splitlines()
        except OSError:
            return None
        for line in lines:
            _, controllers, path = line.split(":", 2)
            inner = path.lstrip("/")
            if "memory" in controllers.split(","):
                candidates = [
                    root / "memory" / inner / "memory.oom_control",
                    root / "memory" / "memory.oom_control",
                ]
            elif not controllers:
                candidates = [root / inner / "memory.events", root / "memory.events"]
            else:
                continue
            for candidate in candidates:
                if candidate.is_file():
                    return candidate
        return None

    def _read(self) -> int:
        if self._file is None:
            return 0
        try:
            pairs = (line.split() for line in self._file.read_text(encoding="ascii").splitlines())
            return next((int(pair[1]) for pair in pairs if pair[0] == "oom_kill"), 0)
        except (OSError, ValueError, IndexError):
            return 0

    def grew(self) -> bool:
        """Whether a kill was counted since the last call."""
        before, self._seen = self._seen, self._read()
        return self._seen > before


class Blame:
    """Reaps slots of the dead and remembers for ``quarantine_ns`` which bodies to refuse."""

    def __init__(self, segment: Segment, slots: Slots, quarantine_ns: int) -> None:
        self._quarantine_ns = quarantine_ns
        self._segment = segment
        self._slots = slots
        self._worker_deaths: dict[int, list[int]] = {}
        self._memory_deaths: dict[tuple[int, int], int] = {}

    def reap_device(self, epoch: int, cause: Cause, now_ns: int) -> str:
        """Give the device's claimed slots to others. Returns what happened, in words."""
        reaped = self._slots.reap_device(epoch, blame=cause != "outside")
        forgiven = {slot for slot in reaped.requeued if cause == "memory" and self._pardon(slot)}
        for slot in forgiven:
            self._slots.forgive(slot)
        poisoned = [slot for slot in reaped.poisoned if slot not in forgiven]
        for slot in poisoned:
            header = self._slots.header(slot)
            _log.error("input %016x crashed its device again while it ran alone: refused", header.body_hash)
            if header.body_hash:
                self._segment.quarantine(header.body_hash, now_ns + self._quarantine_ns)
        return f"{len(reaped.requeued)} items run again, {len(poisoned)} refused"

    def _pardon(self, slot: int) -> bool:
        """Whether the memory kill is put down to the machine, not to the request in ``slot``."""
        key = (slot, self._slots.generation(slot))
        self._memory_deaths = {k: v for k, v in self._memory_deaths.items() if k[0] != slot or k == key}
        self._memory_deaths[key] = self._memory_deaths.get(key, 0) + 1
        return self._memory_deaths[key] <= _MEMORY_PARDONS

    def reap_worker(self, worker: int, epoch: int, cause: Cause, now_ns: int) -> str:
        """Free the worker's slots; refuse a body that was being decoded at a second death."""
        reaped = self._slots.reap_worker(worker, epoch)
        if cause != "outside":
            for body_hash in set(reaped.writing_hashes):
                self._count_worker_death(body_hash, now_ns)
        return f"{len(reaped.freed)} slots came back"

    def _count_worker_death(self, body_hash: int, now_ns: int) -> None:
        self._worker_deaths = {
            known: [t for t in times if now_ns - t < self._quarantine_ns]
            for known, times in self._worker_deaths.items()
        }
        self._worker_deaths = {known: times for known, times in self._worker_deaths.items() if times}
        times = self._worker_deaths.setdefault(body_hash, [])
        times.append(now_ns)
        if len(times) >= _WORKER_DEATHS:
            _log.error("input %016x was being decoded when a worker died again: refused", body_hash)
            self._segment.quarantine(body_hash, now_ns + self._quarantine_ns)
