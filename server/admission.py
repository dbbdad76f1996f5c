"""Who may come in: permits against queued device time and held bytes, and deadlines.

What runs a request takes its :class:`Permit`, so no path can skip the door. A full
server says so before any work is done. One event loop uses an :class:`Admission`; no locks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import TracebackType

from pipelines.core.errors import BadRequest, DeadlinePassed, Overloaded
from server.config import Limits

_MS = 1_000_000
#: Share of the latency budget that the expected wait and work may take: estimates are means, and what is
#: late is lost work.
_BUDGET_SHARE = 0.9
#: By how much the least cost of an operation rises with each request that costs more.
_LEAST_RISES = 1.1


class Admission:
    """The door of one worker.

    Args:
        limits: bounds on requests.
        queued_ms: estimated milliseconds before a request is run on the best device, given whether it is
            of low priority; raises NotReady when no device can run anything.
        devices: number of devices that share what this worker has not handed over yet.
        clock_ns: CLOCK_MONOTONIC.
        scale: what the fastest device takes for an estimated millisecond.

    Attributes:
        inside: requests that hold a permit.
        held_bytes: bodies and pixels that they hold.
        unpublished_ms: device time of their pages that no device has been given yet, by low priority.
    """

    def __init__(
        self,
        limits: Limits,
        queued_ms: Callable[[bool], float],
        devices: int,
        clock_ns: Callable[[], int],
        scale: Callable[[], float] = lambda: 1.0,
    ) -> None:
        self._limits, self._queued_ms, self._devices, self._clock_ns = limits, queued_ms, devices, clock_ns
        self._scale = scale
        self.inside = 0
        self.held_bytes = 0
        self.unpublished_ms = {False: 0.0, True: 0.0}
        self._least_ms: dict[str, float] = {}

    def __repr__(self) -> str:
        held = self.held_bytes >> 20
        waits = sum(self.unpublished_ms.values())
        return f"<Admission: {self.inside} inside, {held} MiB held, {waits:.0f} ms to hand over>"

    def admit(
        self,
        timeout_ms: int | None = None,
        patience: int = 1,
        *,
        errand: bool = False,
        batch: bool = False,
        operation: str = "",
    ) -> Permit:
        """Let a request in, before its body is read.

        Args:
            timeout_ms: how long the client will wait; it can only lower the server's own limit.
            patience: how many times the server's own limit this operation may take.
            batch: low priority: it gives way, and has no part in the latency budget.
            errand: the devices' queue is no matter until the request asks for something of them.
            operation: whose requests have cost alike lately. One for which even the cheapest of them would
                be too late is refused here, and not when its body has been read.

        Raises:
            NotReady: no device can run anything.
            Overloaded: more device time is waiting than ``limits.max_queue_ms``, or than the client
                will wait.
        """
        allowed = self._limits.request_timeout_ms * patience
        if self._limits.latency_budget_ms and not errand and not batch:
            allowed = min(allowed, self._limits.latency_budget_ms * patience)
        timeout = allowed if timeout_ms is None else min(allowed, timeout_ms)
        if not errand:
            least_ms = self._scale() * self._least_ms.get(operation, 0.0)
            # What never fits is no matter of the queue: check_own says so, once it is known.
            self.check_queue(timeout, batch, least_ms if least_ms <= timeout else 0.0)
        return Permit(self, self._clock_ns() + timeout * _MS, batch, operation)

    def check_queue(self, left_ms: float, batch: bool, own_ms: float = 0.0) -> None:
        """Raise Overloaded (or NotReady) when a request with so much time left would be too late.

        One that cannot be in time would only take the place of one that can: with earliest deadlines
        first, a server that let it in would answer hardly anybody.
        """
        unpublished = self.unpublished_ms[False] + (self.unpublished_ms[True] if batch else 0.0)
        queued = self._queued_ms(batch) + self._scale() * unpublished / self._devices
        late_ms = 0.0 if batch else (1 - _BUDGET_SHARE) * self._limits.latency_budget_ms
        if queued > self._limits.max_queue_ms or queued + own_ms > left_ms - late_ms:
            # When the client comes back, half of what waits now has been worked off.
            raise Overloaded(retry_after_s=max(1, math.ceil(queued / 2000)))

    def check_own(self, total_ms: float, pages: int, left_ms: float) -> float:
        """Milliseconds that a request takes alone. Raises DeadlinePassed when that is more than it has left.

        Deadlines are looked at between stages only: one huge image could hold a device for minutes that
        nobody waits for.
        """
        own_ms = self._scale() * total_ms / min(pages, self._devices)
        if own_ms > left_ms:
            needs, has = math.ceil(own_ms / 1000), left_ms / 1000
            raise DeadlinePassed(
                f"The input needs about {needs} s on this server, and its deadline is in {has:.3g} s"
            )
        return own_ms

    def learn(self, operation: str, total_ms: float, pages: int) -> None:
        """A request of ``operation`` costs so much: the least of late is known at the door."""
        own_ms = total_ms / min(pages, self._devices)
        self._least_ms[operation] = min(own_ms, self._least_ms.get(operation, own_ms) * _LEAST_RISES)

    def hold(self, nbytes: int, already: int, batch: bool) -> None:
        """Count bytes of a request in that holds ``already`` bytes.

        Low priority is let in to half of what there is, except that one request may always fill it alone.
        Raises Overloaded when that is too many now, BadRequest when it always would be.
        """
        limit = self._limits.max_decoded_bytes
        if already + nbytes > limit:
            raise BadRequest(f"The input needs {already + nbytes} bytes; a worker holds at most {limit}")
        others = self.held_bytes - already
        if self.held_bytes + nbytes > (limit // 2 if batch and others else limit):
            raise Overloaded
        self.held_bytes += nbytes

    def now_ns(self) -> int:
        """CLOCK_MONOTONIC."""
        return self._clock_ns()


class Permit:
    """One admitted request: its deadline, and its part of what the worker holds.

    A context manager: everything is given back at the end.

    Attributes:
        deadline_ns: CLOCK_MONOTONIC.
        batch: low priority.
    """

    def __init__(
        self, admission: Admission, deadline_ns: int, batch: bool = False, operation: str = ""
    ) -> None:
        self._admission, self._operation = admission, operation
        self.deadline_ns, self.batch = deadline_ns, batch
        self._bytes = 0
        self._unpublished_ms = 0.0
        admission.inside += 1

    def __enter__(self) -> Permit:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.free(self._bytes)
        self._expect(0.0)
        self._admission.inside -= 1
        if not self._admission.inside:
            self._admission.unpublished_ms = {False: 0.0, True: 0.0}  # sums of floats leave crumbs

    def hold(self, nbytes: int) -> None:
        """Count ``nbytes`` of body or pixels. Raises Overloaded or BadRequest."""
        self._admission.hold(nbytes, self._bytes, self.batch)
        self._bytes += nbytes

    def free(self, nbytes: int) -> None:
        """Give bytes back early."""
        self._admission.held_bytes -= nbytes
        self._bytes -= nbytes

    def cost(self, total_ms: float, pages: int = 1) -> None:
        """Announce the device time of all pages together, now that it is known; none is handed over yet.

        Looks at the queue again: many requests may have come through the door while this one sent its
        body. Raises Overloaded, or DeadlinePassed when it cannot be in time even alone.
        """
        left_ms = 1000 * self.left_s()
        self._admission.learn(self._operation, total_ms, pages)
        own_ms = self._admission.check_own(total_ms, pages, left_ms)
        self._admission.check_queue(left_ms, self.batch, own_ms)
        self._expect(total_ms)

    def published(self, cost_ms: float) -> None:
        """A page of this cost is with a device now, and counted there."""
        self._expect(max(0.0, self._unpublished_ms - cost_ms))

    def check_deadline(self) -> None:
        """Raise DeadlinePassed when nobody waits any more; called before each piece of work."""
        if self._admission.now_ns() >= self.deadline_ns:
            raise DeadlinePassed

    def left_s(self) -> float:
        """Seconds until the deadline, at least 0."""
        return max(0, self.deadline_ns - self._admission.now_ns()) / 1e9

    def _expect(self, cost_ms: float) -> None:
        self._admission.unpublished_ms[self.batch] += cost_ms - self._unpublished_ms
        self._unpublished_ms = cost_ms


def timeout_of(header: str | None) -> int | None:
    """Milliseconds of ``X-Request-Timeout-Ms``. Raises BadRequest when it is no positive whole number."""
    if header is None:
        return None
    if not (header.isascii() and header.isdigit() and len(header) <= 12 and int(header) > 0):
        raise BadRequest("X-Request-Timeout-Ms must be a positive whole number of milliseconds")
    return int(header)


def is_batch(header: str | None) -> bool:
    """Whether ``X-Priority`` asks for low priority. Raises BadRequest when it is no priority."""
    if header not in {None, "interactive", "batch"}:
        raise BadRequest("X-Priority must be interactive or batch")
    return header == "batch"
