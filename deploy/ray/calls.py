"""What a worker of the server has between itself and devices, with Ray in the place of shared memory.

``server/exchange.py`` and everything below it runs on it as it runs on slots and rings: it writes a request
where :meth:`Calls.take` says, publishes it, and reads the result there.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic_ns
from typing import Any, TypeVar

import numpy as np
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError
from ray.serve.metrics import Counter, Histogram

from pipelines.core.errors import DeadlinePassed, NotReady, Overloaded
from server import wire
from server.clock import within

T = TypeVar("T")

#: A replica that dies takes what it held with it, and every operation gives the same answer twice. No more
#: often: what it held may be what it died of.
_ATTEMPTS = 2


class Slot:
    """Memory of one item: request record, pixels, result record."""

    slot = 0

    def __init__(self, nbytes: int) -> None:
        self.view = memoryview(bytearray(nbytes))

    def close(self, *, here: bool = False) -> None:
        """Nothing waits for it."""

    def keep_for(self, job: Future[Any]) -> None:
        """It stays as long as somebody has it."""


class Calls:
    """In place of the dispatcher.

    Args:
        devices: handle of the deployment; which replica runs what is Ray's.
    """

    def __init__(self, devices: Any) -> None:
        self._devices = devices
        self._threads = ThreadPoolExecutor(max(2, os.cpu_count() or 1))
        self.slots = self

    def set_body_hash(self, slot: int, name: int) -> None:
        """Nothing is quarantined here."""

    def take(self, nbytes: int, batch: bool = False) -> Slot:
        """Memory for one item."""
        return Slot(nbytes)

    async def in_thread(self, leases: Sequence[Slot], work: Callable[..., T], *arguments: object) -> T:
        """Run ``work`` off the loop."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    def publish(self, lease: Slot, *, request_bytes: int, **_about: int) -> asyncio.Future[int]:
        """Send a written request to a device; what :meth:`wait` waits for."""
        return asyncio.ensure_future(self._call(lease, request_bytes))

    async def wait(self, answer: asyncio.Future[int], deadline_ns: int) -> int:
        """Length of the result record. Raises DeadlinePassed, Overloaded or NotReady."""

        async def answered() -> int:
            return await answer

        try:
            return await within(max(0.0, (deadline_ns - monotonic_ns()) / 1e9), answered())
        except asyncio.TimeoutError:
            raise DeadlinePassed from None

    async def _call(self, lease: Slot, request_bytes: int) -> int:
        offset = wire.read_request(lease.view, request_bytes).shape.result_offset
        content = np.frombuffer(lease.view, np.uint8, offset)
        for _ in range(_ATTEMPTS):
            try:
                record: bytes = await self._devices.run.remote(content, request_bytes)
            except BackPressureError:
                raise Overloaded from None
            except RayActorError:
                continue
            lease.view[offset : offset + len(record)] = record
            return len(record)
        raise NotReady


class Counts:
    """In place of the metrics: Ray's own, which its nodes export to Prometheus."""

    def __init__(self) -> None:
        self._requests = Counter("pps_requests", "Answered requests", ("path", "code"))
        self._seconds = Histogram(
            "pps_request_seconds", "Header to answer", [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30], ("path",)
        )
        self._events = Counter("pps_worker_events", "What else happened", ("event",))

    def add(self, name: str, amount: int = 1) -> None:
        """Count an event."""
        if amount:
            self._events.inc(amount, {"event": name})

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self._requests.inc(1, {"path": path, "code": str(status)})
        self._seconds.observe(seconds, {"path": path})


class NoQuarantine:
    """In place of the segment: Ray's replicas, not inputs, are blamed for a crash."""

    quarantined = 0
