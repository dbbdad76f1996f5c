"""How much work is before each device, which one gets the next item, and whether any is left."""

from __future__ import annotations

from kernels.segment import DRAINING, FAILED, READY, STARTING, Segment, monotonic_ns
from kernels.slots import Slots

#: With no device ready or starting for this long, what waits is answered 503: a dead device is started
#: again within milliseconds unless it keeps dying.
HOPELESS_AFTER_NS = 2_000_000_000
#: Devices whose waiting work differs by less are equal: to wait a millisecond costs less than to wake one
#: whose caches are cold, and small items that meet on one device share its runs and wake-ups.
_EQUAL_US = 1000
#: Part of a device's time that work of low priority gets when there is always more urgent work.
BATCH_SHARE = 1 / 8


class Loads:
    """The devices as a worker sees them.

    Args:
        segment, slots: shared memory.
        configured: how many devices there are to be (lanes without the spare).
    """

    def __init__(self, segment: Segment, slots: Slots, configured: int) -> None:
        self._slots, self._configured = slots, configured
        self._devices = [segment.device(index) for index in range(segment.devices)]
        self._lost_since_ns = 0

    def scale(self) -> float:
        """Milliseconds that the fastest device takes for an estimated one; 1 while none serves."""
        return min((lane.cost_scale for lane in self._devices if lane.state == READY), default=1.0)

    def waits(self, batch: bool = False) -> dict[int, float]:
        """Device lane to the milliseconds that an item would wait there, for devices that serve.

        Urgent work waits for the urgent work before it, and for the share that low priority has. Low
        priority waits for all there is, but at most for what its share is long.
        """
        everything, urgent = self._slots.pending_us(), self._slots.pending_us(urgent=True)
        found = {}
        for lane in self._devices:
            if lane.state == READY:
                first = urgent[lane.index]
                rest = everything[lane.index] - first
                before = min(first / (1 - BATCH_SHARE), first + rest)
                if batch:
                    before = min(first + rest, rest / BATCH_SHARE)
                found[lane.index] = before * lane.cost_scale / 1000
        return found

    def choose(self) -> int:
        """The device with the least work; of about equals always the same one, whose caches are warm."""
        pending = self._slots.pending_us()
        serving = [lane for lane in self._devices if lane.state == READY]
        ready = {lane.index: pending[lane.index] * lane.cost_scale for lane in serving}
        if not ready:  # none serves just now: whoever comes next finds it by its first scan
            coming = [lane.index for lane in self._devices if lane.state == STARTING]
            return coming[0] if coming else 0
        return min(ready, key=lambda index: (ready[index] // _EQUAL_US, index))

    def are_hopeless(self) -> bool:
        """Whether no device is there or about to be."""
        states = [lane.state for lane in self._devices]
        if any(state in {READY, STARTING, DRAINING} for state in states):
            self._lost_since_ns = 0
            return False
        if states.count(FAILED) >= self._configured:
            return True
        now = monotonic_ns()
        self._lost_since_ns = self._lost_since_ns or now
        return now - self._lost_since_ns > HOPELESS_AFTER_NS
