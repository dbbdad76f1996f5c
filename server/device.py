"""One device process: loads the models, proves that they answer, serves until told to leave."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

import cv2

from kernels.segment import READY
from kernels.slots import Slots
from pipelines.core.base import Pipeline
from pipelines.core.errors import ConfigError, ServeError
from pipelines.core.registry import load_pipeline
from pipelines.core.stage import Stage
from server.child import Child, enter
from server.cores import Machine, stay_on_node
from server.device_loop import DeviceLoop
from server.intake import Intake
from server.metrics import Metrics, Table
from server.outbox import Outbox
from server.stages import Stages

#: What a first run may take, for liveness only: engines compile and fill caches then.
_FIRST_RUN_MS = 60_000.0
#: How long an idle device looks for work before it blocks, where cores are to spare: about what a
#: blocked process needs to be woken (69 us round trip between two cores, measured).
_SPIN_NS = 20_000
#: Exit codes: 2 tells the supervisor that starting again would not help.
_EXIT_FAILED, _EXIT_CONFIG = 1, 2

_log = logging.getLogger(__name__)


def main(argv: list[str]) -> int:
    """Be the device that the command line names. Returns the exit code."""
    child = enter(argv)
    config = child.boot.config
    device = config.devices[child.boot.ordinal]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stay_on_node(device)
    cv2.setNumThreads(device.threads)
    stages = Stages(config, device)
    try:
        pipelines = [load_pipeline(each.name)(each, stages) for each in config.pipelines]
        stages.load()
        loop = _build(child, pipelines, stages)
        started = time.monotonic()
        prove(pipelines, stages, loop)
        _log.info("canaries answered in %.2f s", time.monotonic() - started)
    except ConfigError as error:
        _log.critical("%s", error)
        return _EXIT_CONFIG
    except ServeError as error:
        _log.critical("cannot start: %s", error, exc_info=True)
        return _EXIT_FAILED

    def leave(number: int, frame: FrameType | None) -> None:
        loop.stop()

    signal.signal(signal.SIGTERM, leave)
    gc.collect()
    gc.freeze()  # models and modules stay for good: no collection needs to look at them again
    child.lane.touch()
    child.lane.state = READY
    loop.run()
    stages.close()
    return 0


def _build(child: Child, pipelines: Sequence[Pipeline], stages: Stages) -> DeviceLoop:
    """The loop and its ends of the rings."""
    boot, segment, lane = child
    device = boot.config.devices[boot.ordinal]
    slots = Slots(segment)
    metrics = Metrics(Table.of(boot.config), lane.counters)
    beside = (each.threads for each in boot.config.devices if each.node == device.node)
    busy = boot.config.workers + sum(beside)
    spin_ns = _SPIN_NS if len(os.sched_getaffinity(0)) > busy else 0
    return DeviceLoop(
        segment,
        slots,
        lane,
        pipelines,
        stages,
        Intake(segment, slots, lane, boot.device_events[lane.index], metrics, spin_ns),
        Outbox(segment, slots, lane, boot.worker_events, metrics),
        metrics,
        window=device.window,
        batches_pay=not device.device.startswith("cpu"),
        makes_way=device.all_threads > device.threads
        and device.all_threads + device.threads > Machine().cores(),
    )


def prove(pipelines: Sequence[Pipeline], stages: Stages, loop: DeviceLoop) -> None:
    """Run the canary of every stage on every form, then of every pipeline. Raises what fails.

    Raises:
        ServeError: a stage or a pipeline does not answer.
    """

    def run(stage: Stage, whole: bool, inputs: Sequence[Any]) -> Sequence[Any]:
        return loop.run_stage(stage, whole, inputs, _FIRST_RUN_MS)

    stages.warm_up(run)
    for pipeline in pipelines:
        steps = pipeline.steps(pipeline.canary())
        results: Sequence[Any] | None = None
        try:
            while True:
                calls = steps.send(results) if results is not None else next(steps)
                results = [run(call.stage, False, [call.input])[0] for call in calls]
                for result in results:
                    if isinstance(result, Exception):
                        raise result
        except StopIteration:
            continue


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
