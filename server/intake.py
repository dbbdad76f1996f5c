"""A device's side of the rings: what waits for it, claiming late, stealing, sleeping."""

from __future__ import annotations

import heapq
import os
import select
import time
from enum import Enum
from itertools import count

from kernels.ring import Ring
from kernels.segment import Lane, Segment
from kernels.slots import READY, SUSPECT, YIELDS, Header, Slots
from server.loads import BATCH_SHARE
from server.metrics import Metrics

#: Wake-ups are never lost; should one be, this bounds the harm, and a counter tells.
COARSE_TIMEOUT_MS = 1000
#: A worker writes its eventfd right after the push: work seen this soon before it is not a lost wake-up.
_LATE_EVENT_MS = 20


class Found(Enum):
    """How an item was found: by its hint, by looking for work, or by the scan after a death."""

    HINT = "hint"
    LOOK = "look"
    RESCUE = "rescue"


#: Deadline, order of arrival, slot, generation, how it was found.
_Entry = tuple[int, int, int, int, Found]


class Claim:
    """A slot that this device has claimed: it alone may write to it until ``finish``."""

    def __init__(self, slot: int, generation: int, header: Header) -> None:
        self.slot, self.generation, self.header = slot, generation, header

    def __repr__(self) -> str:
        return f"<Claim slot {self.slot} generation {self.generation}>"


class Intake:
    """Everything that this device could do next, most urgent first. Claims nothing before it is started.

    Args:
        segment, slots, lane: shared memory, and this device's lane.
        event: this lane's eventfd.
        metrics: this lane's counters.
        spin_ns: how long to look for work before blocking; 0 where cores are scarce.
    """

    def __init__(
        self, segment: Segment, slots: Slots, lane: Lane, event: int, metrics: Metrics, spin_ns: int = 0
    ) -> None:
        self._segment, self._slots, self._lane, self._metrics = segment, slots, lane, metrics
        self._event, self._spin_ns = event, spin_ns
        self._rings = [Ring.to_device(segment, worker, lane.index) for worker in range(segment.workers)]
        self._urgent: list[_Entry] = []
        self._batch: list[_Entry] = []
        self._owed_us = 0.0
        self._known: set[tuple[int, int]] = set()
        self._order = count()
        self._scan_epoch = -1
        self._poller = select.poll()
        self._poller.register(event, select.POLLIN)

    def __repr__(self) -> str:
        return f"<Intake device-{self._lane.index}: {len(self)} waiting>"

    def __len__(self) -> int:
        """How many are known to wait; some may be gone by now."""
        return len(self._urgent) + len(self._batch)

    def collect(self) -> None:
        """Take all hints; after a death of anybody, scan the headers as well."""
        for ring in self._rings:
            while (hint := ring.pop()) is not None:
                self._add(*hint, Found.HINT)
        epoch = self._segment.scan_epoch
        if epoch != self._scan_epoch:
            self._scan_epoch = epoch
            self._scan(Found.RESCUE)

    def look_around(self) -> None:
        """Find what waits for other devices too: an idle one takes it over."""
        self._scan(Found.LOOK)

    def _scan(self, found: Found) -> None:
        for slot, generation in self._slots.ready():
            self._add(slot, generation, found)

    def _add(self, slot: int, generation: int, found: Found) -> None:
        if (slot, generation) in self._known:
            return
        header = self._slots.header(slot)
        if header.state != READY or header.generation != generation:
            return
        self._known.add((slot, generation))
        queue = self._batch if header.operation & YIELDS else self._urgent
        heapq.heappush(queue, (header.deadline_ns, next(self._order), slot, generation, found))

    def claim(self, busy: bool) -> Claim | None:
        """Claim the most urgent item, or None when there is none to start now.

        An item under suspicion runs alone: while the device is ``busy`` nothing
        is started before it.
        """
        while queue := self._next():
            _, _, slot, generation, found = queue[0]
            header = self._slots.header(slot)
            if header.state == READY and header.generation == generation:
                if header.verdict == SUSPECT and busy:
                    return None
                if self._slots.claim(slot, generation, self._lane.epoch):
                    self._forget(queue)
                    self._count(header, found)
                    self._settle(queue, header.cost_us)
                    # Read again: the fate may have been written just before the slot became READY.
                    return Claim(slot, generation, self._slots.header(slot))
            self._forget(queue)
        return None

    def _next(self) -> list[_Entry]:
        """The queue whose turn it is: low priority's when it is alone, or has waited for its share."""
        if not self._batch:
            return self._urgent
        if not self._urgent:
            return self._batch
        return self._batch if self._owed_us >= self._slots.header(self._batch[0][2]).cost_us else self._urgent

    def _settle(self, queue: list[_Entry], cost_us: int) -> None:
        """Keep the account of what low priority has waited for, as its share of that."""
        if queue is self._batch:
            self._owed_us = max(0.0, self._owed_us - cost_us)
        elif self._batch:
            self._owed_us += cost_us * BATCH_SHARE / (1 - BATCH_SHARE)
        else:
            self._owed_us = 0.0

    def _forget(self, queue: list[_Entry]) -> None:
        _, _, slot, generation, _ = heapq.heappop(queue)
        self._known.discard((slot, generation))

    def _count(self, header: Header, found: Found) -> None:
        if found is Found.RESCUE:
            self._metrics.add("device_rescued")
        elif header.device != self._lane.index:
            self._metrics.add("device_stolen")

    def has_news(self) -> bool:
        """Whether :meth:`collect` would find something new."""
        return any(len(ring) for ring in self._rings) or self._segment.scan_epoch != self._scan_epoch

    def sleep(self, until_ns: int = 0) -> bool:
        """Block until there is news or :meth:`wake`, at most until ``until_ns``.

        Args:
            until_ns: CLOCK_MONOTONIC; 0 for the coarse timeout.

        Returns:
            Whether something ended the sleep before its time.
        """
        spin_until = time.monotonic_ns() + self._spin_ns
        while time.monotonic_ns() < spin_until:
            if self.has_news():
                return True
        timeout_ms = float(COARSE_TIMEOUT_MS)
        if until_ns:
            timeout_ms = min(timeout_ms, max(0, until_ns - time.monotonic_ns()) / 1e6)
        self._lane.prepare_sleep()
        try:
            if self.has_news():
                return True
            woken = bool(self._poller.poll(timeout_ms))
        finally:
            self._lane.wake()
        if woken:
            os.eventfd_read(self._event)
        elif timeout_ms == COARSE_TIMEOUT_MS and self._has_missed():
            self._metrics.add("device_missed_wakeups")
        return woken

    def _has_missed(self) -> bool:
        """Whether there is work that nobody has told of, after a long sleep.

        After a short one that is common: the worker has seen that nobody sleeps any more.
        """
        return any(len(ring) for ring in self._rings) and not self._poller.poll(_LATE_EVENT_MS)

    def wake(self) -> None:
        """End a :meth:`sleep` from a signal handler."""
        os.eventfd_write(self._event, 1)
