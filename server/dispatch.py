"""The worker's end of the slots and rings: take, hand over, wait, give back.

Ring pushes, and everything else here, happen on the loop thread.
"""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from kernels.ring import Ring
from kernels.segment import Lane, Segment, monotonic_ns
from kernels.slots import YIELDS, Slots
from pipelines.core.errors import BadRequest, DeadlinePassed, NotReady, Overloaded
from server.leases import Lease
from server.loads import Loads
from server.metrics import Metrics

T = TypeVar("T")

_MAX_COST_US = 2**32 - 1  # what a slot header can hold
#: KEEP_BYTES of kernels/slots.h: slots up to this size keep their pages when they are freed.
_KEPT_BYTES = 16 << 20


class Dispatcher:
    """Hands slots to devices and results to whoever waits for them.

    Args:
        segment, slots, lane: shared memory, and this worker's lane.
        worker_event: this lane's eventfd; ``device_events``: those of all device lanes.
        devices: how many devices are configured (lanes without the spare).
        metrics: this lane's counters.
        threads: where decoding and drawing run.
    """

    def __init__(
        self,
        segment: Segment,
        slots: Slots,
        lane: Lane,
        worker_event: int,
        device_events: Sequence[int],
        devices: int,
        metrics: Metrics,
        threads: ThreadPoolExecutor,
    ) -> None:
        self.slots = slots
        self.loads = Loads(segment, slots, devices)
        self._segment, self._lane, self._metrics, self._threads = segment, lane, metrics, threads
        self._event, self._device_events = worker_event, device_events
        self._devices = [segment.device(index) for index in range(segment.devices)]
        self._to_device = [Ring.to_device(segment, lane.index, d.index) for d in self._devices]
        self._from_device = [Ring.to_worker(segment, lane.index, d.index) for d in self._devices]
        first = lane.index * segment.worker_slots
        self._largest = max(slots.capacity(slot) for slot in range(first, first + segment.worker_slots))
        self._pending: dict[int, Lease] = {}
        self._scan_epoch = segment.scan_epoch
        self._seen_waiting = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"<Dispatcher worker-{self._lane.index}: {len(self._pending)} with devices>"

    def __len__(self) -> int:
        """Slots that are with devices, those of clients that have gone included."""
        return len(self._pending)

    # --- life -------------------------------------------------------------------------------------

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Listen for results."""
        self._loop = loop
        loop.add_reader(self._event, self._on_event)
        self._doze()

    def stop(self) -> None:
        """Stop listening."""
        if self._loop is not None:
            self._loop.remove_reader(self._event)
            self._lane.wake()

    # --- handing over -------------------------------------------------------------------------------

    def queued_ms(self, batch: bool = False) -> float:
        """Estimated milliseconds before a request on the best device. Raises NotReady when there is none."""
        if loads := self.loads.waits(batch):
            return min(loads.values())
        if self.loads.are_hopeless():
            raise NotReady
        return 0.0

    def take(self, nbytes: int, batch: bool = False) -> Lease:
        """A free slot with at least ``nbytes``.

        Raises:
            BadRequest: no slot of this server is that large.
            Overloaded: all slots that are large enough are taken, or low priority has its half of them.
        """
        if batch and sum(lease.batch for lease in self._pending.values()) >= self._segment.worker_slots // 2:
            raise Overloaded
        slot = self.slots.take(self._lane.index, nbytes)
        if slot >= 0:
            return Lease(self.slots, slot, self._forget, self._free)
        if nbytes > self._largest:
            raise BadRequest(f"The input needs {nbytes} bytes; this server holds at most {self._largest}")
        raise Overloaded

    async def in_thread(self, leases: Sequence[Lease], work: Callable[..., T], *arguments: object) -> T:
        """Run ``work`` off the loop; if the caller is cancelled, ``leases`` stay until the work has ended."""
        job: Future[T] = self._threads.submit(work, *arguments)
        try:
            return await asyncio.wrap_future(job)
        except asyncio.CancelledError:
            for lease in leases:
                lease.keep_for(job)
            raise

    def publish(
        self,
        lease: Lease,
        *,
        request_id: int,
        deadline_ns: int,
        operation: int,
        cost_ms: float,
        request_bytes: int,
    ) -> asyncio.Future[int]:
        """Hand a written slot to the device with the least work before it, and wake it if it sleeps.

        A hint that finds no place in its ring is found by the scan that the wake-up brings.

        Returns:
            What :meth:`wait` waits for.
        """
        device = self.loads.choose()
        lease.batch = bool(operation & YIELDS)
        lease.generation = self.slots.publish(
            lease.slot,
            request_id=request_id,
            deadline_ns=deadline_ns,
            operation=operation,
            device=device,
            cost_us=min(round(cost_ms * 1000), _MAX_COST_US),
            request_bytes=request_bytes,
        )
        answer = lease.answer = asyncio.get_running_loop().create_future()
        self._pending[lease.slot] = lease
        pushed = self._to_device[device].push(lease.slot, lease.generation)
        if not pushed:
            self._metrics.add("worker_ring_full")
        if not pushed or self._devices[device].sleeping:
            _wake(self._device_events[device])
        return answer

    async def wait(self, answer: asyncio.Future[int], deadline_ns: int) -> int:
        """Length of the result record of a published slot.

        Raises:
            DeadlinePassed: it did not come in time.
            NotReady: no device is left to run it.
        """
        patience = max(0.0, (deadline_ns - monotonic_ns()) / 1e9)
        timer = asyncio.get_running_loop().call_later(patience, _expire, answer)
        try:
            return await answer
        finally:
            timer.cancel()

    def _forget(self, lease: Lease) -> None:
        """A slot has been taken back before any device claimed it."""
        if self._pending.get(lease.slot) is lease:
            del self._pending[lease.slot]

    def _free(
        self, edge: Callable[[int, int], bool], slot: int, generation: int, then: Callable[[bool], None]
    ) -> None:
        """Free a slot by ``edge``; giving the pages of a big one back to the system takes up to 0.2 s."""
        if self._loop is None or self._loop.is_closed() or self.slots.capacity(slot) <= _KEPT_BYTES:
            then(edge(slot, generation))
        else:  # in a thread that no decoder can occupy
            job = self._loop.run_in_executor(None, edge, slot, generation)
            job.add_done_callback(lambda ended: then(ended.result()))

    # --- results ------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Called a few times a second: notices deaths, lost wake-ups, and that nobody is left."""
        waits = any(map(len, self._from_device))
        if waits and self._seen_waiting and not _readable(self._event):
            # It was there a tick ago, and no wake-up has come since or is on its way.
            self._metrics.add("worker_missed_wakeups")
            self._drain()
        self._seen_waiting = waits
        self._scan_after_death()
        if self._pending and not self.loads.waits() and self.loads.are_hopeless():
            for lease in list(self._pending.values()):
                if self.slots.withdraw(lease.slot, lease.generation):
                    self._forget(lease)
                    if lease.answer is not None and not lease.answer.done():
                        lease.answer.set_exception(NotReady())

    def _on_event(self) -> None:
        try:
            os.eventfd_read(self._event)
        except BlockingIOError:
            return
        self._lane.wake()
        self._seen_waiting = False
        self._scan_after_death()
        self._doze()

    def _doze(self) -> None:
        """Take all results, say that the next one needs a wake-up, and look once more."""
        self._drain()
        self._lane.prepare_sleep()
        self._drain()

    def _drain(self) -> None:
        for ring in self._from_device:
            while (hint := ring.pop()) is not None:
                self._settle(*hint)

    def _scan_after_death(self) -> None:
        epoch = self._segment.scan_epoch
        if epoch != self._scan_epoch:
            self._scan_epoch = epoch
            for slot, generation in self.slots.done(self._lane.index):
                if self._settle(slot, generation):
                    self._metrics.add("worker_rescued")

    def _settle(self, slot: int, generation: int) -> bool:
        """Finish the lease that a hint names; False for hints of the past."""
        lease = self._pending.get(slot)
        if lease is None or lease.generation != generation:
            return False
        length = self.slots.result(slot, generation)
        if length < 0:
            return False
        del self._pending[slot]
        lease.finish(length)
        return True


def _expire(answer: asyncio.Future[int]) -> None:
    if not answer.done():
        answer.set_exception(DeadlinePassed())


def _wake(event: int) -> None:
    try:
        os.eventfd_write(event, 1)
    except BlockingIOError:  # the counter is full: it is awake already
        return


def _readable(event: int) -> bool:
    poller = select.poll()
    poller.register(event, select.POLLIN)
    return bool(poller.poll(0))
