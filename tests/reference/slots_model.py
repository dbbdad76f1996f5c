"""The slot protocol again, slowly: plain Python objects, one rule per method.

The property test runs it beside ``kernels.slots``; ``EDGES`` is what docs/shared-memory.md
and the C headers must agree on.
"""

from __future__ import annotations

from dataclasses import dataclass, field

FREE, WRITING, READY, CLAIMED, DONE = range(5)
CLEAR, SUSPECT, POISON, SPENT = range(4)

#: (from, to, generation grows) -> {(actor, method)}
EDGES = {
    ("FREE", "WRITING", False): {("worker", "take")},
    ("WRITING", "READY", False): {("worker", "publish")},
    ("READY", "FREE", True): {("worker", "withdraw"), ("supervisor", "reap_worker")},
    ("WRITING", "FREE", True): {("worker", "release"), ("supervisor", "reap_worker")},
    ("DONE", "FREE", True): {("worker", "release"), ("device", "finish"), ("supervisor", "reap_worker")},
    ("READY", "CLAIMED", False): {("device", "claim")},
    ("CLAIMED", "DONE", False): {("device", "finish")},
    ("CLAIMED", "FREE", True): {
        ("device", "finish"),
        ("device", "reap_orphan"),
        ("supervisor", "reap_device"),
    },
    ("CLAIMED", "READY", False): {("supervisor", "reap_device")},
}
#: Happens only when the owner is reaped inside the call; tests/native/kill_test.c makes it happen.
RACED = {(("DONE", "FREE", True), ("device", "finish"))}


@dataclass
class Fate:
    attempts: int = 0
    alone_deaths: int = 0
    verdict: int = CLEAR
    before: tuple[int, int] | None = None  # alone_deaths and verdict before the last death

    def die(self, alone: bool) -> None:
        self.before = (self.alone_deaths, self.verdict)
        self.attempts += 1
        self.alone_deaths += alone
        self.verdict = POISON if self.alone_deaths >= 2 else SPENT if self.attempts >= 4 else SUSPECT

    def forgive(self) -> None:
        if self.before is not None:
            self.attempts -= 1
            self.alone_deaths, self.verdict = self.before
            self.before = None


@dataclass
class Slot:
    owner: int
    capacity: int
    state: int = FREE
    generation: int = 0
    epoch: int = 0
    owner_epoch: int = 0
    device: int = 0
    cost_us: int = 0
    body_hash: int = 0
    request_id: int = 0
    request_bytes: int = 0
    result_bytes: int = 0
    abandoned: bool = False
    fate: Fate = field(default_factory=Fate)

    def free(self) -> None:
        self.state, self.epoch, self.body_hash, self.fate = FREE, 0, 0, Fate()
        self.generation = (self.generation + 1) % 2**32


class Model:
    """A table of slots and the epochs of its lanes."""

    def __init__(self, workers: int, devices: int, capacities: list[int]) -> None:
        self.slots = [Slot(w, capacity) for w in range(workers) for capacity in capacities]
        self.worker_epochs = [0] * workers
        self.device_epochs = [0] * devices
        self.dead: set[tuple[int, int]] = set()  # (worker, epoch)

    def orphaned(self, slot: Slot) -> bool:
        here = self.worker_epochs[slot.owner]
        return slot.owner_epoch != here or (slot.owner, here) in self.dead

    def take(self, worker: int, nbytes: int) -> int:
        free = [i for i, s in enumerate(self.slots) if s.owner == worker and s.state == FREE]
        fits = [i for i in free if self.slots[i].capacity >= nbytes]
        if not fits:
            return -1
        chosen = min(fits, key=lambda i: (self.slots[i].capacity, i))
        it = self.slots[chosen]
        it.state, it.owner_epoch = WRITING, self.worker_epochs[worker]
        it.abandoned, it.request_bytes, it.result_bytes = False, 0, 0
        return chosen

    def publish(
        self, slot: int, request_id: int, device: int, cost_us: int, request_bytes: int, yields: bool = False
    ) -> int | None:
        it = self.slots[slot]
        if it.state != WRITING:
            return None
        it.state, it.request_id, it.device, it.cost_us = READY, request_id, device, cost_us
        it.request_bytes, it.yields = request_bytes, yields
        return it.generation

    def abandon(self, slot: int, generation: int) -> None:
        if self.slots[slot].generation == generation:
            self.slots[slot].abandoned = True

    def withdraw(self, slot: int, generation: int) -> bool:
        it = self.slots[slot]
        if it.state != READY or it.generation != generation:
            return False
        it.free()
        return True

    def result(self, slot: int, generation: int) -> int:
        it = self.slots[slot]
        return it.result_bytes if it.state == DONE and it.generation == generation else -1

    def release(self, slot: int, generation: int) -> bool:
        it = self.slots[slot]
        if it.state not in {WRITING, DONE} or it.generation != generation:
            return False
        it.free()
        return True

    def done(self, worker: int) -> list[tuple[int, int]]:
        mine = [(i, s) for i, s in enumerate(self.slots) if s.owner == worker and s.state == DONE]
        return [(i, s.generation) for i, s in mine if not self.orphaned(s)]

    def ready(self) -> list[tuple[int, int]]:
        return [(i, s.generation) for i, s in enumerate(self.slots) if s.state == READY]

    def claim(self, slot: int, generation: int, epoch: int) -> bool:
        it = self.slots[slot]
        if it.state != READY or it.generation != generation:
            return False
        it.state, it.epoch = CLAIMED, epoch
        return True

    def _is_claimed(self, slot: int, generation: int, epoch: int) -> bool:
        it = self.slots[slot]
        return (it.state, it.generation, it.epoch) == (CLAIMED, generation, epoch)

    def finish(self, slot: int, generation: int, epoch: int, result_bytes: int) -> bool:
        it = self.slots[slot]
        if not self._is_claimed(slot, generation, epoch):
            return False
        if self.orphaned(it):
            it.free()
            return False
        it.state, it.result_bytes = DONE, result_bytes
        return True

    def reap_orphan(self, slot: int, generation: int, epoch: int) -> bool:
        it = self.slots[slot]
        if not self._is_claimed(slot, generation, epoch) or not self.orphaned(it):
            return False
        it.free()
        return True

    def pending_us(self, urgent: bool = False) -> list[int]:
        pending = [0] * len(self.device_epochs)
        for it in self.slots:
            if it.state == READY and urgent and it.yields:
                continue
            if it.state == READY:
                pending[it.device] += it.cost_us
            elif it.state == CLAIMED:
                lanes = [d for d, epoch in enumerate(self.device_epochs) if epoch == it.epoch]
                pending[lanes[0] if lanes else it.device] += it.cost_us
        return pending

    def reap_device(self, epoch: int, blame: bool) -> tuple[list[int], list[int], list[int]]:
        held = [i for i, s in enumerate(self.slots) if s.state == CLAIMED and s.epoch == epoch]
        requeued, poisoned, freed = [], [], []
        for index in held:
            it = self.slots[index]
            if self.orphaned(it):
                it.free()
                freed.append(index)
                continue
            if blame:
                it.fate.die(alone=len(held) == 1)
                if it.fate.verdict == POISON:
                    poisoned.append(index)
            it.state, it.epoch = READY, 0
            requeued.append(index)
        return requeued, poisoned, freed

    def reap_worker(self, worker: int) -> tuple[list[int], list[int]]:
        self.dead.add((worker, self.worker_epochs[worker]))
        freed, hashes = [], []
        for index, it in enumerate(self.slots):
            if it.owner == worker and it.state in {WRITING, READY, DONE}:
                if it.state == WRITING and it.body_hash:
                    hashes.append(it.body_hash)
                it.free()
                freed.append(index)
        return freed, hashes
