"""Slots: fixed places for one request and its result, and the state word that rules them."""

from typing import Final, NamedTuple

from kernels.segment import Segment

FREE: Final[int]
WRITING: Final[int]
READY: Final[int]
CLAIMED: Final[int]
DONE: Final[int]

YIELDS: Final[int]  # bit of the operation field: gives way to slots without it

#: verdict field, written by the supervisor between a confirmed death and CLAIMED->READY
CLEAR: Final[int]  # nothing known
SUSPECT: Final[int]  # was running with others when its device died: must run alone
POISON: Final[int]  # executed alone at two deaths: answer 422 without running
SPENT: Final[int]  # 4 attempts: answer 503 without running

class Header(NamedTuple):
    """A consistent copy of one header (for scans, tests, the supervisor and the log)."""

    state: int
    generation: int
    epoch: int  # borrowing device's epoch while CLAIMED or DONE, else 0
    request_id: int
    deadline_ns: int
    owner: int  # worker lane
    owner_epoch: int  # epoch of the worker incarnation that took it
    device: int  # device lane it was pushed to
    abandoned: bool
    operation: int
    attempts: int
    alone_deaths: int
    verdict: int
    cost_us: int
    body_hash: int
    request_bytes: int
    result_bytes: int
    t_ready_ns: int
    t_claimed_ns: int
    t_done_ns: int

class Slots:
    """The slot table of a segment. Methods name their one actor."""

    def __init__(self, segment: Segment) -> None: ...
    # worker (owner)
    def take(self, worker: int, nbytes: int) -> int:
        """FREE->WRITING on the smallest free slot of this worker with >= nbytes; -1 if none."""
    def data(self, slot: int) -> memoryview:
        """Writable memoryview ('B') of the whole data area."""
    def capacity(self, slot: int) -> int: ...
    def set_body_hash(self, slot: int, body_hash: int) -> None:
        """While WRITING, before decoding: blames a worker death on this input."""
    def publish(
        self,
        slot: int,
        *,
        request_id: int,
        deadline_ns: int,
        operation: int,
        device: int,
        cost_us: int,
        request_bytes: int,
    ) -> int:
        """WRITING->READY. Returns the generation to put into the hint."""
    def abandon(self, slot: int, generation: int) -> None:
        """Advisory: the client is gone."""
    def withdraw(self, slot: int, generation: int) -> bool:
        """READY->FREE(g+1): client gone, deadline passed, or no device left. False: a device has it."""
    def result(self, slot: int, generation: int) -> int:
        """Result length if the slot is DONE in this generation, else -1; 0 when the length in the
        header cannot be (larger than the slot). Read once."""
    def release(self, slot: int, generation: int) -> bool:
        """DONE->FREE(g+1), or WRITING->FREE(g+1) when decoding failed. Gives pages of big slots back."""
    def done(self, worker: int) -> list[tuple[int, int]]:
        """(slot, generation) of this worker's DONE slots: the scan after a death."""
    def generation(self, slot: int) -> int: ...
    # device
    def claim(self, slot: int, generation: int, epoch: int) -> bool:
        """READY->CLAIMED(epoch)."""
    def finish(self, slot: int, generation: int, epoch: int, result_bytes: int) -> bool:
        """CLAIMED(epoch)->DONE. False when it is no longer this epoch's, or its owner is dead and it
        was freed: there is nobody to tell."""
    def ready(self) -> list[tuple[int, int]]:
        """(slot, generation) of every READY slot: the scan after a death, and work stealing."""
    def reap_orphan(self, slot: int, generation: int, epoch: int) -> bool:
        """CLAIMED(epoch)->FREE(g+1) instead of finish, when the owning worker's incarnation is dead."""
    # everybody
    def header(self, slot: int) -> Header: ...
    def pending_us(self, *, urgent: bool = False) -> list[int]:
        """Estimated cost of READY and CLAIMED slots per device lane (a scan: it cannot drift).

        ``urgent``: without READY slots whose operation has the bit YIELDS."""
    def count(self, state: int) -> int: ...
    # supervisor, after the confirmed exit of the process in question
    def reap_device(self, epoch: int, *, blame: bool = True) -> ReapedDevice:
        """CLAIMED(epoch)->READY, attempts+1, verdicts as in design section 3 (Poison).

        After any death that counts a request must run alone (SUSPECT): alone_deaths+1 only when
        exactly one slot was CLAIMED by that epoch. ``blame=False`` (killed from outside, by the memory cgroup) requeues
        without learning anything; unlike ``forgive`` afterwards, no device can see the verdict in between.
        """
    def reap_worker(self, worker: int, epoch: int) -> ReapedWorker:
        """WRITING/READY/DONE of that incarnation ->FREE(g+1). CLAIMED ones are freed when the device
        posts them (``finish`` of an orphan frees) or dies too. Call it before the lane's next
        ``incarnate``: ValueError when the lane's epoch is another already."""
    def forgive(self, slot: int) -> None:
        """Take the last death back from a slot (killed from outside or by the memory cgroup)."""

class ReapedDevice(NamedTuple):
    requeued: list[int]  # slots made READY again
    poisoned: list[int]  # of these: verdict POISON now
    freed: list[int]  # orphans whose worker is dead too

class ReapedWorker(NamedTuple):
    freed: list[int]
    writing_hashes: list[int]  # body hashes of slots that were WRITING (non-zero only)
