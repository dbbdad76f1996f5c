"""The loop of a device process: rings, batches, generators, results.

It claims items late, runs one batch at a time, checks deadline and client before
every batch, and sends each result as soon as there is one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from kernels.segment import Lane, Segment, monotonic_ns
from kernels.slots import POISON, SPENT, SUSPECT, WRITING, Slots
from pipelines.core.base import Pipeline
from pipelines.core.errors import DeadlinePassed, Overloaded, Poisoned, ServeError
from pipelines.core.stage import Call, Stage
from server.batcher import Waiting, choose
from server.intake import Claim, Intake
from server.jobs import Job, cost_ms_of, log_id
from server.large_runs import LARGE_BYTES, LOOK_AGAIN_NS, LargeRuns
from server.metrics import Metrics
from server.outbox import Outbox
from server.stages import Stages
from server.whole_runs import WholeRuns
from server.wire import Shape, item, read_request

_MS = 1_000_000
#: On a CPU the next item is claimed when less than this is left of the one in work: long enough to find a
#: batch of small items, short enough that pages stay free for whichever device is done first.
_CLAIM_AHEAD_MS = 20.0
#: Sleeps of the coarse timeout (1 s each) after which an idle device gives memory back; the next large page
#: pays a tenth of its time for it.
_IDLE_SLEEPS = 10
#: Weight of the newest item in the device's cost scale. It falls slowly, over twenty items or so, and rises
#: fast: after some empty pages, full ones must not look cheap until the queue is far too long.
_SCALE_FALLS, _SCALE_RISES = 0.1, 0.3
#: How far it returns to 1 with each idle sleep: a scale at which everything is refused as too slow
#: would never be corrected.
_SCALE_FADES = 0.02
#: One item moves the scale as if it had been wrong by this factor at most.
_SCALE_BOUND = 20.0

_log = logging.getLogger(__name__)


class DeviceLoop:
    """Serves claimed items until :meth:`stop`.

    Args:
        segment, slots, lane: shared memory, and this device's lane.
        pipelines: in the order of the configuration.
        stages: their stages, loaded.
        intake, outbox, metrics: this lane's ends of rings and counters.
        window: items in work at once.
        batches_pay: whether waiting for a fuller batch can pay (not on a CPU).
        makes_way: whether an all-core run of another device leaves no core for this one.
    """

    def __init__(
        self,
        segment: Segment,
        slots: Slots,
        lane: Lane,
        pipelines: Sequence[Pipeline],
        stages: Stages,
        intake: Intake,
        outbox: Outbox,
        metrics: Metrics,
        *,
        window: int = 1,
        batches_pay: bool = False,
        makes_way: bool = False,
    ) -> None:
        self._segment, self._slots, self._lane = segment, slots, lane
        self._pipelines, self._stages = pipelines, stages
        self._intake, self._outbox, self._metrics = intake, outbox, metrics
        self._window, self._batches_pay = window, batches_pay
        self._whole_runs = WholeRuns(segment, slots, lane, metrics, makes_way)
        self._large_runs = LargeRuns(segment.fd, limited=not batches_pay)
        self._blocked = False
        self._jobs: list[Job] = []
        self._stopping = False

    def __repr__(self) -> str:
        return f"<DeviceLoop {len(self._jobs)}/{self._window} in work, {self._intake!r}>"

    def stop(self) -> None:
        """Finish what is claimed, then return from :meth:`run`. Safe in a signal handler."""
        self._stopping = True
        self._intake.wake()

    def run(self) -> None:
        """Serve until stopped."""
        idle_sleeps = 0
        while True:
            wait_until_ns = self.turn()
            if self._stopping and not self._jobs:
                return
            if wait_until_ns is None or self._intake.sleep(wait_until_ns) or self._jobs:
                idle_sleeps = 0
                continue
            idle_sleeps += 1
            self._lane.cost_scale += _SCALE_FADES * (1.0 - self._lane.cost_scale)
            if idle_sleeps == _IDLE_SLEEPS:
                self._stages.trim()

    def turn(self) -> int | None:
        """One pass: start what may start, run one batch, send what is finished.

        Returns:
            None after work; else until when to sleep, CLOCK_MONOTONIC ns, 0 for no particular time.
        """
        self._lane.touch()
        if not self._stopping:
            self._intake.collect()
            if not self._jobs and not len(self._intake):
                self._intake.look_around()
            self._admit()
        self._drop_late()
        pending = [(job, position) for job in self._jobs for position in sorted(job.waiting)]
        if not pending:
            return None if self._jobs or len(self._intake) else 0
        batch, wait_until_ns = self._choose(pending)
        if not batch:
            return wait_until_ns
        whole, wait_until_ns = self._whole_runs.choose(len(self._jobs), self._expected_ns(cost_ms_of(batch)))
        if wait_until_ns:
            self._large_runs.leave()  # the batch may never run: its deadline can pass first
            return wait_until_ns
        self._run_batch(batch, whole)
        self._send_finished()
        return None

    # --- items in and out -------------------------------------------------------------------------

    def _admit(self) -> None:
        """Claim and start items while the window has room."""
        while not self._has_enough() and not any(job.alone for job in self._jobs):
            claim = self._intake.claim(busy=bool(self._jobs))
            if claim is None:
                return
            job = self._open(claim)
            if job is None:
                continue
            if not self._jobs:
                self._whole_runs.rested()
            self._jobs.append(job)
            self._drop_late()
            if job.outcome is None:
                job.start()
                self._send_finished()

    def _has_enough(self) -> bool:
        """Whether nothing more is claimed now: what is not claimed, another device can take."""
        if len(self._jobs) >= self._window:
            return True
        if self._batches_pay or self._blocked:
            return False
        left_ms = (job.estimate_ms * self._lane.cost_scale - job.spent_ms for job in self._jobs)
        return sum(max(0.0, each_ms) for each_ms in left_ms) > _CLAIM_AHEAD_MS

    def _open(self, claim: Claim) -> Job | None:
        """The job of a claimed slot; None when it is answered without running."""
        verdict = claim.header.verdict
        shape = Shape()
        try:
            request = read_request(self._slots.data(claim.slot), claim.header.request_bytes)
            shape = request.shape
            if verdict in {POISON, SPENT}:
                self._metrics.add("device_refused_poison" if verdict == POISON else "device_refused_spent")
                self._outbox.send(claim, shape, Poisoned() if verdict == POISON else Overloaded())
                return None
            pipeline = self._pipelines[request.pipeline]
            work = item(self._slots.data(claim.slot), request, pipeline.operations[request.operation])
            estimate_ms = type(pipeline).cost_ms(work.params, *shape.extent)
            return Job(claim, pipeline.steps(work), shape, estimate_ms, alone=verdict == SUSPECT)
        except (ValueError, IndexError, msgspec.MsgspecError):
            _log.exception("a request record cannot be read", extra=log_id(claim))
            self._metrics.add("device_failed_items")
            self._outbox.send(claim, shape, ServeError())
            return None

    def _drop_late(self) -> None:
        """End items whose deadline has passed, whose client has gone, or whose worker is dead."""
        for job in self._jobs[:]:
            claim = job.claim
            if self._slots.reap_orphan(claim.slot, claim.generation, self._lane.epoch):
                self._jobs.remove(job)
                job.give_up(DeadlinePassed())
                self._metrics.add("device_abandoned")
            elif monotonic_ns() > claim.header.deadline_ns:
                job.give_up(DeadlinePassed())
                self._metrics.add("device_expired")
            elif self._slots.header(claim.slot).abandoned:
                job.give_up(DeadlinePassed())
                self._metrics.add("device_abandoned")
        self._send_finished()

    def _send_finished(self) -> None:
        for job in self._jobs[:]:
            if job.outcome is not None:
                self._jobs.remove(job)
                self._whole_runs.served()
                if isinstance(job.outcome, ServeError):
                    self._metrics.add("device_failed_items")
                else:
                    self._metrics.add("device_items")
                    self._learn_cost(job)
                self._outbox.send(job.claim, job.shape, job.outcome, job.timings)

    def _learn_cost(self, job: Job) -> None:
        """Move the lane's cost scale towards what this item has shown."""
        if job.estimate_ms > 0:
            scale = self._lane.cost_scale
            seen = min(max(job.spent_ms / job.estimate_ms, scale / _SCALE_BOUND), scale * _SCALE_BOUND)
            weight = _SCALE_RISES if seen > scale else _SCALE_FALLS
            self._lane.cost_scale = max(1e-6, scale + weight * (seen - scale))

    # --- batches ----------------------------------------------------------------------------------

    def _choose(self, pending: list[tuple[Job, int]]) -> tuple[list[tuple[Job, int]], int]:
        """(what runs now, when to ask again if that is nothing)."""
        arriving = self._slots.count(WRITING) if self._batches_pay else 0
        now_ns = monotonic_ns()
        choice = choose([self._waiting(job, position) for job, position in pending], now_ns, arriving)
        batch = [pending[i] for i in choice.batch]
        if not _is_large(batch) or self._large_runs.enter():
            self._blocked = False
            return batch, choice.wait_until_ns
        if small := [one for one in pending if not _is_large([one])]:
            return self._choose(small)
        # Nothing else to do: take more work in, if there is some, and look again soon.
        self._blocked = True
        return [], now_ns + LOOK_AGAIN_NS

    def _expected_ns(self, cost_ms: float) -> int:
        return int(cost_ms * max(1.0, self._lane.cost_scale) * _MS)

    def _run_batch(self, members: list[tuple[Job, int]], whole: bool) -> None:
        """Run calls of one stage and key together, and hand out their results."""
        calls = [job.calls[position] for job, position in members]
        stage, started = calls[0].stage, time.monotonic()
        results = self.run_stage(stage, whole, [call.input for call in calls], cost_ms_of(members))
        if _is_large(members):
            if not whole:
                self._stages.engine(stage, False).trim()
            self._large_runs.leave()
        seconds = time.monotonic() - started
        self._metrics.stage(stage.name, len(calls), seconds)
        wall_ms = seconds * 1000
        for job in {id(job): job for job, _ in members}.values():
            own = sum(other is job for other, _ in members)
            job.count_stage(stage.name, wall_ms, wall_ms * own / len(members))
        for (job, position), result in zip(members, results, strict=True):
            job.deliver(position, result)

    def run_stage(self, stage: Stage, whole: bool, inputs: Sequence[Any], cost_ms: float) -> Sequence[Any]:
        """Run ``stage`` under the supervisor's eyes.

        Returns:
            One result or Exception per input. When the whole batch raises, its inputs run one by one, so
            that one bad input fails alone.
        """
        if whole:
            self._metrics.add("device_all_threads_runs")
        engine = self._stages.engine(stage, whole)
        self._lane.stage_begin(self._expected_ns(cost_ms), whole)
        try:
            results = stage.run(engine, inputs)
            if len(results) != len(inputs):
                raise RuntimeError(f"stage {stage.name} gave {len(results)} results for {len(inputs)} inputs")
            return results
        except Exception as error:
            if len(inputs) == 1:
                return [error]
        finally:
            # Tick first: when the stage is over, the age of the tick is what the supervisor looks at.
            self._lane.touch()
            self._lane.stage_end()
        return [self.run_stage(stage, whole, [one], cost_ms / len(inputs))[0] for one in inputs]

    def _waiting(self, job: Job, position: int) -> Waiting:
        """A job's call as the batcher sees it."""
        call: Call = job.calls[position]
        return Waiting(
            group=(id(call.stage), call.key),
            max_batch=call.stage.max_batch if self._batches_pay else call.stage.cpu_batch,
            deadline_ns=job.claim.header.deadline_ns,
            since_ns=job.since_ns,
            cost_ms=call.cost_ms,
        )


def _is_large(members: Sequence[tuple[Job, int]]) -> bool:
    """Whether these calls, as one run, take so much memory that only one such run may be at a time."""
    return sum(job.calls[position].scratch_bytes for job, position in members) > LARGE_BYTES
