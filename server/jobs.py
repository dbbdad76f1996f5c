"""One claimed item in work: its generator, the calls it waits for, its timings."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from pipelines.core.errors import EngineError, ServeError
from pipelines.core.stage import Call, Steps
from server.intake import Claim
from server.wire import Shape, Timings

_MS = 1_000_000

_log = logging.getLogger(__name__)


def log_id(claim: Claim) -> dict[str, str]:
    """``extra`` for a log record about this item: the request's id as the worker logs it."""
    return {"log_id": f"{claim.header.request_id:016x}"}


class Job:
    """Drives one item's generator. It is finished when ``outcome`` is set: a result or a fault.

    Attributes:
        claim: the slot.
        shape: what lies in it.
        estimate_ms: what the pipeline thought it would cost, for the device's cost scale.
        spent_ms: device time it has used: its share of each batch, and its own steps.
        alone: nothing else may run while it is in work.
        timings: wall time per stage, for the client.
        calls: what it waits for; ``since_ns``: since when.
    """

    def __init__(
        self, claim: Claim, steps: Steps, shape: Shape, estimate_ms: float = 0.0, alone: bool = False
    ) -> None:
        self.claim, self.shape, self.estimate_ms, self.alone = claim, shape, estimate_ms, alone
        self.spent_ms = 0.0
        header = claim.header
        self.timings = Timings({"queue": max(0, header.t_claimed_ns - header.t_ready_ns) / _MS})
        self.outcome: msgspec.Struct | ServeError | None = None
        self.calls: list[Call] = []
        self.waiting: set[int] = set()
        self.since_ns = 0
        self._steps = steps
        self._results: list[Any] = []

    def __repr__(self) -> str:
        state = "finished" if self.outcome is not None else f"waits for {len(self.waiting)} calls"
        return f"<Job slot {self.claim.slot}: {state}>"

    def start(self) -> None:
        """Run it up to its first calls."""
        self._advance(None)

    def deliver(self, position: int, result: Any) -> None:
        """The answer to call ``position``: a result, or an Exception that the generator will see."""
        self._results[position] = result
        self.waiting.discard(position)
        if not self.waiting:
            self._advance(self._results)

    def count_stage(self, name: str, wall_ms: float, share_ms: float) -> None:
        """An engine run that this item took part in lasted ``wall_ms``; ``share_ms`` of it were its own."""
        self.timings.stages[name] = self.timings.stages.get(name, 0.0) + wall_ms
        self.spent_ms += share_ms

    def give_up(self, fault: ServeError) -> None:
        """End it before its next call."""
        try:
            self._steps.close()
        except Exception:  # a pipeline's cleanup must not take the device down
            _log.exception("an item failed while it was given up", extra=log_id(self.claim))
        self._end(fault)

    def _advance(self, results: Sequence[Any] | None) -> None:
        """Resume the generator until it waits for calls or has ended."""
        started = time.monotonic_ns()
        try:
            while self.outcome is None and not self.waiting:
                self._ask(self._resume(results))
                results = []
        except StopIteration as end:
            self._end(end.value)
        except ServeError as fault:
            if isinstance(fault, EngineError):
                _log.warning("an engine failed", exc_info=True, extra=log_id(self.claim))
            self._end(fault)
        except Exception:
            _log.exception("an item failed", extra=log_id(self.claim))
            self._end(ServeError())
        self.since_ns = time.monotonic_ns()
        self.count_stage("steps", (self.since_ns - started) / _MS, (self.since_ns - started) / _MS)

    def _resume(self, results: Sequence[Any] | None) -> Sequence[Call]:
        fault = next((result for result in results or () if isinstance(result, Exception)), None)
        if fault is not None:
            return self._steps.throw(fault)
        return self._steps.send(results) if results is not None else next(self._steps)

    def _ask(self, calls: Sequence[Call]) -> None:
        self.calls = list(calls)
        self._results = [None] * len(self.calls)
        self.waiting = set(range(len(self.calls)))

    def _end(self, outcome: Any) -> None:
        if not isinstance(outcome, (msgspec.Struct, ServeError)):
            _log.error(
                "an item ended with %s instead of a result", type(outcome).__name__, extra=log_id(self.claim)
            )
            outcome = ServeError()
        self.outcome = outcome
        self.calls, self.waiting = [], set()


def cost_ms_of(members: Sequence[tuple[Job, int]]) -> float:
    """What these calls, by job and position, are expected to take together at a cost scale of 1."""
    return sum(job.calls[position].cost_ms for job, position in members)
