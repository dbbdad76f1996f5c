"""Makes a plan: every engine in every precision on every model, each in a process of its own."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from pipelines.core.config import ModelFiles, PipelineConfig
from pipelines.core.download import locked
from pipelines.core.errors import ConfigError
from pipelines.core.registry import load_engine
from server.choose import fitting, misfit
from server.cores import Machine
from server.launch import child_command, child_environment
from server.memory import own_bytes
from server.plan_child import Order, Report, Trial, report_path
from server.plan_facts import Facts
from server.plan_file import Choice, Plan, Row
from server.resolved import Resolved

#: What engines compute in, most exact first.
PRECISIONS = ("f32", "bf16", "fp16", "int8")
#: Age of a tape's folder at which its process has locked it, if it lives.
_YOUNG_S = 10.0
#: How often a child is looked at; memory fills at some GB a second.
_LOOK_S = 0.02
#: How many times its bound a child may take at most, with what it waited for a processor.
_STARVED = 8


class Bounds(msgspec.Struct, frozen=True):
    """What one child may take: wall time without waiting for a processor, and memory of its own."""

    seconds: float
    memory_bytes: int

    @classmethod
    def of(cls, device: str, machine: Machine) -> Bounds:
        """Of trials on ``device``: a page on two cores takes seconds, engines of GPUs compile for minutes."""
        seconds, memory = (120.0, 6 << 30) if device == "cpu" else (900.0, 24 << 30)
        return cls(seconds, min(memory, machine.memory_bytes() // 2))


class Outcome(msgspec.Struct, frozen=True):
    """How a child ended (empty: by itself), in words, and what it reported until then."""

    end: Literal["", "crashed", "timed out", "too large"]
    words: str
    report: Report


def make_plan(
    facts: Facts,
    resolved: Resolved,
    trusted: PipelineConfig,
    root: Path,
    say: Callable[[Row], None],
    bounds: Bounds,
) -> Plan:
    """Try everything; takes a minute or so.

    Args:
        facts: what the plan will hold for.
        resolved: the models with all their files.
        trusted: the pipeline with the engines that others are compared with.
        root: cache folder; a tape of some 100 MB lies in it meanwhile.
        say: takes each row when it is there, before the fastest is known.
        bounds: of each child.

    Raises:
        ConfigError: a trusted engine fails, or cannot be tried itself: nothing can be said of others.
    """
    device = resolved.devices[0]
    with tape_folder(root / "plans") as folder:
        order = Order(trusted, device, "" if device.device == "cpu" else str(root), str(folder), os.getpid())
        outcome = run_child(order, bounds)
        if why := outcome.words or outcome.report.error:
            engines = ", ".join(sorted(set(trusted.engines.values())))
            raise ConfigError(f"no plan can be made, the reference ({engines}) fails: {why}")
        rows: list[Row] = []
        runs: dict[str, int] = {}
        for role, model in _distinct(resolved.models).items():
            reference = facts.models[role].reference
            for row, count in _rows(role, model, facts, resolved, order, bounds):
                rows.append(row)
                runs[role] = max(count, runs.get(role, 0))
                say(row)
                if (row.engine, row.precision, row.verdict == "slower") == (reference, "f32", False):
                    raise ConfigError(f"no plan can be made: {row.engine} on {model.name}: {_said(row)}")
    return _chosen(facts, resolved, runs, rows)


@contextlib.contextmanager
def tape_folder(parent: Path) -> Iterator[Path]:
    """A folder as long as it is needed. Those of plans whose process was killed go first."""
    parent.mkdir(parents=True, exist_ok=True)
    for old in parent.glob(".tape-*"):
        with contextlib.suppress(BlockingIOError, FileNotFoundError):
            if time.time() - old.stat().st_mtime > _YOUNG_S:
                with locked(old / "lock", _busy):
                    shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=".tape-", dir=parent))
    try:
        with locked(folder / "lock"):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _busy() -> None:
    raise BlockingIOError


def run_child(order: Order, bounds: Bounds) -> Outcome:
    """Run one child to its end, or end it when it takes too long or too much."""
    folder = Path(order.folder)
    report_path(order.folder).unlink(missing_ok=True)
    (folder / "order.json").write_bytes(msgspec.json.encode(order))
    command = [*child_command("server.plan_child"), str(folder / "order.json")]
    environment = child_environment("server.device", os.environ)
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment
        )
        try:
            end, words = _watched(child, bounds)
        finally:
            child.kill()
            child.wait()
    try:
        report = msgspec.json.decode(report_path(order.folder).read_bytes(), type=Report)
    except FileNotFoundError:
        report = Report()
    if not end and (child.returncode or not report.done):
        end, words = "crashed", _death(child.returncode, folder / "log")
    return Outcome(end, words, report)


def _watched(
    child: subprocess.Popen[bytes], bounds: Bounds
) -> tuple[Literal["", "crashed", "timed out", "too large"], str]:
    """Wait for the child; how it exceeded its bounds, if it did."""
    started = time.monotonic()
    while child.poll() is None:
        taken = time.monotonic() - started
        if taken > bounds.seconds and taken > min(
            bounds.seconds + starved_s(child.pid), bounds.seconds * _STARVED
        ):
            return "timed out", f"not done after {bounds.seconds:.0f} s"
        if own_bytes(child.pid) > bounds.memory_bytes:
            return "too large", f"more than {bounds.memory_bytes >> 20} MiB"
        time.sleep(_LOOK_S)
    return "", ""


def starved_s(pid: int) -> float:
    """Seconds that the thread of a process that waited longest for a processor has waited; 0: nobody counts.

    Source: the second field of ``schedstat`` (proc_pid_schedstat(5)), nanoseconds in run queues.
    """
    waited = [0.0]
    for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError, IndexError, ValueError):  # a thread that has ended
            waited.append(int(file.read_text().split()[1]) / 1e9)
    return max(waited)


def _death(code: int, log: Path) -> str:
    """What a child died of."""
    if code < 0:
        return signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"exit code {code}" + (f": {lines[-1][:200]}" if lines else "")


def _distinct(models: dict[str, ModelFiles]) -> dict[str, ModelFiles]:
    """Role to model; of roles with one model the first."""
    first = {model.directory: role for role, model in reversed(models.items())}
    return {role: model for role, model in models.items() if first[model.directory] == role}


def _rows(
    role: str, model: ModelFiles, facts: Facts, resolved: Resolved, order: Order, bounds: Bounds
) -> Iterator[tuple[Row, int]]:
    """Rows of one model, and how many runs of an engine each has seen."""
    subject, device = facts.models[role], order.device.device
    for name in subject.candidates:
        cls = load_engine(name)
        if (reason := cls.available()) is not None:
            yield Row(role, name, "", "not installed", note=reason), 0
            continue
        precisions = cls.precisions(device)
        reason = misfit(name, model) or ("" if precisions else f"it does not run on {device}")
        reason = reason or cls.refuses(fitting(model, name))
        if reason:
            yield Row(role, name, "", "not run", note=reason), 0
            continue
        for precision in sorted(precisions, key=PRECISIONS.index):
            if not resolved.permits(precision):
                note = f"--precision {precision} or auto permits it"
                yield Row(role, name, precision, "not run", note=note), 0
                continue
            trial = Trial(fitting(model, name), name, precision)
            outcome = run_child(msgspec.structs.replace(order, trial=trial), bounds)
            yield _row(role, trial, outcome), outcome.report.runs


def _row(role: str, trial: Trial, outcome: Outcome) -> Row:
    report = outcome.report
    row = Row(role, trial.engine, trial.precision, "slower", report.load_ms, report.ms, report.difference)
    if outcome.end:
        return msgspec.structs.replace(row, verdict=outcome.end, note=outcome.words)
    if report.error:
        return msgspec.structs.replace(row, verdict="failed", note=report.error)
    if report.objection:
        return msgspec.structs.replace(row, verdict="wrong", note=report.objection)
    return row


def _said(row: Row) -> str:
    return f"{row.verdict}, {row.note}" if row.note else row.verdict


def _chosen(facts: Facts, resolved: Resolved, runs: dict[str, int], rows: list[Row]) -> Plan:
    """Mark the fastest of every model, and take it for all roles that have this model."""
    choices: dict[str, Choice] = {}
    for role, model in _distinct(resolved.models).items():
        correct = [row for row in rows if row.role == role and row.verdict == "slower"]
        if not correct:
            continue
        best = min(correct, key=speed)
        rows[rows.index(best)] = msgspec.structs.replace(best, verdict="fastest")
        for same in [name for name, other in resolved.models.items() if other.directory == model.directory]:
            choices[same] = Choice(best.engine, best.precision)
    return Plan(facts, runs, tuple(rows), choices)


def speed(row: Row) -> float:
    """What is compared: the geometric mean of a row's times. Alone and under load count alike."""
    return math.prod(row.ms.values()) ** (1 / max(1, len(row.ms)))
