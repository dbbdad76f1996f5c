"""When a device's run takes all cores, and when a device makes way for another one's that does."""

from __future__ import annotations

from kernels.segment import READY as LANE_READY
from kernels.segment import Lane, Segment, monotonic_ns
from kernels.slots import CLAIMED, READY, Slots
from server.metrics import Metrics

#: How often a device that makes way looks whether the other run is over.
_LOOK_AGAIN_NS = 500_000
#: From this share of its time with work on, a device goes side by side with others, on shares: together they
#: do a tenth more than one after the other on all cores, which is sooner while queues are short.
BUSY = 0.6
#: How much of what is known of busy and idle time is kept with each item: the last five count.
KEPT = 0.8


class WholeRuns:
    """All-core runs as one device sees them.

    Args:
        segment, slots, lane, metrics: of the device.
        makes_way: whether an all-core run of another device leaves no core for this one.
    """

    def __init__(self, segment: Segment, slots: Slots, lane: Lane, metrics: Metrics, makes_way: bool) -> None:
        self._segment, self._slots, self._lane, self._metrics = segment, slots, lane, metrics
        self._makes_way = makes_way
        self._since_ns = 0
        self._seen_ns, self._busy_ns, self._idle_ns = monotonic_ns(), 0.0, 0.0

    def rested(self) -> None:
        """Note that the device has work again, after it had none."""
        now_ns = monotonic_ns()
        self._idle_ns += now_ns - self._seen_ns
        self._seen_ns = now_ns
        self._since_ns = 0  # what waited last may have been dropped

    def served(self) -> None:
        """Note that an item has ended."""
        now_ns = monotonic_ns()
        self._busy_ns = KEPT * (self._busy_ns + now_ns - self._seen_ns)
        self._idle_ns *= KEPT
        self._seen_ns = now_ns

    def choose(self, claimed: int, own_ns: int) -> tuple[bool, int]:
        """How a run goes.

        Args:
            claimed: items of this device.
            own_ns: what the run is expected to take on a share.

        Returns:
            (whether it takes all cores; when to ask again because it had better wait, else 0).
        """
        whole = self._is_alone(claimed)
        if not whole and (until_ns := self._make_way(own_ns)):
            return False, until_ns
        made_way, self._since_ns = self._since_ns > 0, 0
        # Whoever has had the cores meanwhile is back at once, where nobody is ever without work.
        busy = self._busy_ns > BUSY * (self._busy_ns + self._idle_ns)
        return whole and not (made_way and busy), 0

    def _is_alone(self, claimed: int) -> bool:
        """Nobody else computes, or is about to."""
        if self._segment.computing() > 0:
            return False
        if self._slots.count(CLAIMED) > claimed:
            return False
        others = (self._segment.device(i) for i in range(self._segment.devices) if i != self._lane.index)
        return self._slots.count(READY) == 0 or all(lane.state != LANE_READY for lane in others)

    def _make_way(self, own_ns: int) -> int:
        """When to look again whether another device's all-core run is over; 0: do not wait for one.

        Threads of one run that meet a third thread wait for each other at every operation, and both runs
        take more than twice as long. So neither loses by it that one waits, which then may be alone itself.
        Nobody waits for a longer run than its own, nor longer than that takes.
        """
        now_ns = monotonic_ns()
        until_ns = self._segment.whole_until_ns() if self._makes_way else 0
        since_ns = self._since_ns or now_ns
        if not until_ns or until_ns - now_ns > own_ns or now_ns - since_ns > own_ns:
            return 0
        if not self._since_ns:
            self._metrics.add("device_made_way")
        self._since_ns = since_ns
        return now_ns + _LOOK_AGAIN_NS
