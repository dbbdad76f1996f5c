"""How a device hands results back: into the slot, a hint into the ring, a wake-up if the worker sleeps."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

import msgspec

from kernels.ring import Ring
from kernels.segment import Lane, Segment
from kernels.slots import Slots
from pipelines.core.errors import ServeError
from server.intake import Claim
from server.jobs import log_id
from server.metrics import Metrics
from server.wire import Shape, Timings, write_result

_log = logging.getLogger(__name__)


class Outbox:
    """Finishes claimed slots.

    Args:
        segment, slots, lane: shared memory, and this device's lane.
        worker_events: eventfd of each worker lane.
        metrics: this lane's counters.
    """

    def __init__(
        self, segment: Segment, slots: Slots, lane: Lane, worker_events: Sequence[int], metrics: Metrics
    ) -> None:
        self._slots, self._lane, self._events, self._metrics = slots, lane, worker_events, metrics
        self._rings = [Ring.to_worker(segment, worker, lane.index) for worker in range(segment.workers)]
        self._workers = [segment.worker(worker) for worker in range(segment.workers)]

    def send(
        self, claim: Claim, shape: Shape, outcome: msgspec.Struct | ServeError, timings: Timings | None = None
    ) -> None:
        """Write the outcome into the slot and tell its worker. Nothing may touch the slot afterwards."""
        length = self._write(claim, shape, outcome, timings or Timings())
        if not self._slots.finish(claim.slot, claim.generation, self._lane.epoch, length):
            # Either its worker is dead, and it has been freed; or it had been taken from us.
            self._metrics.add("device_lost_claims")
            return
        worker = claim.header.owner
        self._rings[worker].push(claim.slot, claim.generation)
        if self._workers[worker].sleeping:
            try:
                os.eventfd_write(self._events[worker], 1)
            except BlockingIOError:  # the counter is full: it is awake already
                return

    def _write(
        self, claim: Claim, shape: Shape, outcome: msgspec.Struct | ServeError, timings: Timings
    ) -> int:
        """Length of the record; 0 (its worker answers 500) when the slot cannot even hold an error."""
        view = self._slots.data(claim.slot)
        try:
            length = write_result(view, shape, outcome, timings)
        except (TypeError, ValueError, OverflowError, msgspec.MsgspecError):
            _log.exception("a result cannot be packed", extra=log_id(claim))
            try:
                length = write_result(view, shape, ServeError(), Timings())
            except ValueError:
                return 0
        if length < 0:
            self._metrics.add("device_result_overflow")
            _log.error("a result did not fit its slot of %d bytes", len(view), extra=log_id(claim))
        return abs(length)
