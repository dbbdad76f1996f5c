"""Which waiting calls run next, together. Pure: the clock and the prospects are arguments."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import msgspec

#: How long a batch that is not full may wait for calls that are on their way, as a share of the time
#: that running it takes. Two half batches cost at most one batch more than one whole one, so waiting
#: longer than the batch itself can never pay; half of that leaves room for wrong estimates.
PATIENCE = 0.5
_MS = 1_000_000


class Waiting(msgspec.Struct, frozen=True):
    """A call that could run now.

    Attributes:
        group: calls of equal groups (stage and batching key) may share an engine run.
        max_batch: how many of them may, at least 1.
        deadline_ns: of its request; CLOCK_MONOTONIC.
        since_ns: when it began to wait.
        cost_ms: expected time on the device.
    """

    group: Hashable
    max_batch: int
    deadline_ns: int
    since_ns: int
    cost_ms: float


class Choice(msgspec.Struct, frozen=True):
    """What to do now.

    Attributes:
        batch: positions in the list of waiting calls, to run as one batch; empty: wait.
        wait_until_ns: when to ask again at the latest, if ``batch`` is empty; 0 when nothing waits.
    """

    batch: tuple[int, ...] = ()
    wait_until_ns: int = 0


def choose(waiting: Sequence[Waiting], now_ns: int, arriving: int = 0) -> Choice:
    """Choose the next batch.

    The call with the earliest deadline leads (then the one that waited longest); calls of its
    group join it, earliest deadline first, up to ``max_batch``. A batch that is not full
    waits only while ``arriving`` says that more items are being decoded for the device, for at most
    ``PATIENCE`` of its own cost counted from its oldest call, and never so long
    that a deadline in it would pass; meanwhile batches of other groups may run.

    Args:
        waiting: everything that waits, in any order.
        now_ns: CLOCK_MONOTONIC.
        arriving: items on their way to this device; 0 where batching gains nothing.
    """
    order = sorted(range(len(waiting)), key=lambda i: (waiting[i].deadline_ns, waiting[i].since_ns, i))
    groups: dict[Hashable, list[int]] = {}
    for position in order:
        groups.setdefault(waiting[position].group, []).append(position)
    wake_ns = 0
    for members in groups.values():
        batch = members[: waiting[members[0]].max_batch]
        until = _pays_until(waiting, batch) if arriving else now_ns
        if until <= now_ns:
            return Choice(batch=tuple(batch))
        wake_ns = min(wake_ns or until, until)
    return Choice(wait_until_ns=wake_ns)


def _pays_until(waiting: Sequence[Waiting], batch: Sequence[int]) -> int:
    """Until when a batch may wait for company, CLOCK_MONOTONIC ns; 0: not at all."""
    if len(batch) >= waiting[batch[0]].max_batch:
        return 0
    cost_ns = sum(waiting[i].cost_ms for i in batch) * _MS
    oldest_ns = min(waiting[i].since_ns for i in batch)
    latest_start_ns = min(waiting[i].deadline_ns for i in batch) - 2 * cost_ns
    return int(min(oldest_ns + PATIENCE * cost_ns, latest_start_ns))
