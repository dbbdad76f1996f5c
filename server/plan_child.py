"""The child of a plan: records what trusted engines answer, tries one engine on one model, or converts one.

Started by ``server/trials.py``. An engine may crash here, hang, grow or print as it likes: the parent reads
what has been reported until then.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any, cast

import cv2
import msgspec
import numpy as np

from kernels.segment import set_parent_death_signal, set_process_name
from pipelines.core.base import Pipeline
from pipelines.core.config import ModelFiles, PipelineConfig
from pipelines.core.errors import ServeError
from pipelines.core.onnx_export import export
from pipelines.core.registry import load_engine, load_pipeline
from pipelines.core.rehearsal import Listener, Player, Recorder, difference, read_tape, rehearse, write_tape
from pipelines.core.stage import Stage
from pipelines.engines.base import Engine, EngineOptions
from server.config import Config, DeviceConfig
from server.stages import Stages

#: Passes over all runs of a model that are timed: at least so many, more of fast models, within that time.
_LEAST_PASSES, _MOST_PASSES, _SECONDS = 3, 15, 1.0


class Trial(msgspec.Struct, frozen=True):
    """One engine in one precision on one model."""

    model: ModelFiles
    engine: str
    precision: str


class Order(msgspec.Struct, frozen=True):
    """What a child is to do.

    Attributes:
        pipeline: with the engines that are trusted.
        device: its forms are tried.
        cache_dir: for compiled artefacts; "" for none, so that loading takes what it takes.
        folder: holds the tape, and the report.
        parent_pid: dies, and the child does.
        trial: None is to record the tape.
        convert, target: or to make ONNX of this model, and where to put it.
    """

    pipeline: PipelineConfig
    device: DeviceConfig
    cache_dir: str
    folder: str
    parent_pid: int
    trial: Trial | None = None
    convert: ModelFiles | None = None
    target: str = ""


class Report(msgspec.Struct):
    """What is known so far.

    Attributes:
        done: nothing more will come.
        error: the engine refused.
        objection: its answers are worse than those of the reference: why.
        load_ms, ms, difference: as in ``plan_file.Row``.
        runs: how many runs of the engine the examples take.
    """

    done: bool = False
    error: str = ""
    objection: str = ""
    load_ms: float | None = None
    ms: dict[int, float] = {}
    difference: float | None = 0.0
    runs: int = 0


def report_path(folder: str) -> Path:
    """Where a child reports; every state of the report is whole."""
    return Path(folder) / "report.json"


def main(argv: list[str]) -> int:
    """Carry out the order in the file ``argv[0]``; returns the exit code."""
    order = msgspec.json.decode(Path(argv[0]).read_bytes(), type=Order)
    set_process_name("plan")
    if not set_parent_death_signal(signal.SIGKILL, order.parent_pid):
        return 1
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # read-only /proc in some sandboxes
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")  # before all that serves
    cv2.setNumThreads(1)
    report = Report()
    try:
        if order.convert is not None:
            export(order.convert, Path(order.target))
        elif order.trial is None:
            record(order)
        else:
            try_out(order, order.trial, report)
    except Exception as error:  # whatever an engine or its answers cause is a line of the plan
        traceback.print_exc()
        report.error = _words(error)
    report.done = True
    _write(order, report)
    return 0


def record(order: Order) -> None:
    """Run the examples with the trusted engines, and put their answers on tape."""
    stages, pipeline = _pipeline(order)
    stages.load()
    recorders: dict[str, Recorder] = {}

    def run(stage: Stage, one: Any) -> Any:
        key = _key(stage.model)
        if key not in recorders:
            recorders[key] = Recorder(stages.engine(stage, whole=True), Path(order.folder) / key)
        return stage.run(cast("Engine", recorders[key]), [one])[0]

    rehearse(pipeline, stages.all, run)
    write_tape(Path(order.folder), {key: recorder.track for key, recorder in recorders.items()})


def try_out(order: Order, trial: Trial, report: Report) -> None:
    """Load, judge and time both forms of an engine. Raises what it raises."""
    device = order.device
    options = EngineOptions(device.device, device.threads, trial.precision, order.cache_dir or None)
    started = time.perf_counter()
    engine = load_engine(trial.engine)(trial.model, options)
    report.load_ms = 1000 * (time.perf_counter() - started)
    _write(order, report)
    for threads in sorted({device.threads, max(device.threads, device.all_threads)}):
        form = engine if threads == device.threads else engine.sibling(threads)
        feeds = judge(order, trial, form, report)
        _write(order, report)
        if report.objection:
            return
        report.ms[threads], report.runs = time_of(form, feeds), len(feeds)
        _write(order, report)


def judge(order: Order, trial: Trial, engine: Engine, report: Report) -> list[dict[str, Any]]:
    """Compare what stages make of this engine's answers with what they make of those on the tape.

    Returns:
        All that the engine was fed.
    """
    stages, pipeline = _pipeline(order)
    players, listener, target = read_tape(Path(order.folder)), Listener(engine), _key(trial.model)
    expected: dict[Stage, list[Any]] = {}
    found: dict[Stage, list[Any]] = {}

    def run(stage: Stage, one: Any) -> Any:
        player = players[_key(stage.model)]
        (result,) = stage.run(cast("Engine", player), [one])
        if _key(stage.model) == target:
            (other,) = stage.run(cast("Engine", listener), [one])
            if isinstance(other, Exception):
                raise other
            expected.setdefault(stage, []).append(result)
            found.setdefault(stage, []).append(other)
            _compare(player, listener, report)
        player.take()
        return result

    rehearse(pipeline, stages.all, run)
    for stage, results in expected.items():
        report.objection = report.objection or stage.judge(results, found[stage]) or ""
    return listener.feeds


def time_of(engine: Engine, feeds: Sequence[Mapping[str, np.ndarray]]) -> float:
    """Median time of a pass over ``feeds``, milliseconds."""
    taken: list[float] = []
    began = time.perf_counter()
    while len(taken) < _LEAST_PASSES or (
        len(taken) < _MOST_PASSES and time.perf_counter() - began < _SECONDS
    ):
        started = time.perf_counter()
        for feed in feeds:
            engine.run(feed)
        taken.append(time.perf_counter() - started)
    return 1000 * median(taken)


def _compare(player: Player, listener: Listener, report: Report) -> None:
    """Note the largest difference of the outputs themselves."""
    worst = difference(player.take(), listener.take())
    if worst == float("inf"):
        worst, report.objection = None, "it answers with numbers that are not finite"
    known = report.difference
    report.difference = None if worst is None or known is None else max(worst, known)


def _pipeline(order: Order) -> tuple[Stages, Pipeline]:
    config = Config((order.pipeline,), (order.device,), cache_dir=order.cache_dir)
    stages = Stages(config, order.device)
    return stages, load_pipeline(order.pipeline.name)(order.pipeline, stages)


def _key(model: ModelFiles) -> str:
    """Names the files of a model on the tape."""
    return sha256(model.directory.encode()).hexdigest()[:16]


def _words(error: BaseException) -> str:
    """The error in one line, with its cause where that says more."""
    cause = f": {error.__cause__}" if error.__cause__ is not None else ""
    kind = "" if isinstance(error, ServeError) else f"{type(error).__name__}: "
    return " ".join(f"{kind}{error}{cause}".split())[:300]


def _write(order: Order, report: Report) -> None:
    path = report_path(order.folder)
    staged = path.with_suffix(".part")
    staged.write_bytes(msgspec.json.encode(report))
    staged.replace(path)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)  # all is reported: how a framework's own teardown ends is no matter here
