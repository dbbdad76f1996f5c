"""``python -m server plan``: tries the engines on the models of a pipeline, and prints what came of it."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pipelines.core.download import locked
from pipelines.core.errors import ConfigError
from pipelines.core.models import ModelStore
from server.config import SOME_PLANS_MADE
from server.conversion import Converter
from server.cores import Machine
from server.launch import child_command
from server.logs import setup_logging
from server.options import parse
from server.plan_facts import Facts, facts_of
from server.plan_file import Plan, Row, plan_path, read_plan, write_plan
from server.resolved import Resolved, pipeline_config, resolve
from server.trials import Bounds, make_plan

#: Of a plan that is made beside a server.
_NICE = 10
_log = logging.getLogger(__name__)
_HEADINGS = ("engine", "precision", "load ms", "difference", "verdict")


def run_plan(argv: Sequence[str]) -> int:
    """Run ``argv`` (behind ``plan``).

    Returns:
        The exit code: 0; 2 when no plan came of it; SOME_PLANS_MADE when one did and another failed.

    Raises:
        ConfigError: nothing can be planned.
    """
    args = parse(argv)
    if args.for_server:
        _give_way(args.for_server)
        setup_logging("plan", args.log_format, args.log_level)
    machine, store = Machine(), ModelStore(args.cache_dir, sys.stderr)
    found = resolve(args, store, machine)
    if not any(each.wants_plan for each in found):
        raise ConfigError("nothing is left to a plan: add --use_hpip, or --precision auto")
    if Converter(args, store, machine, _saying(args)).convert(found, asked_only=False):
        found = resolve(args, store, machine)
    made, failed = 0, 0
    apart: tuple[str, ...] = ()
    for resolved in (each for each in found if each.wants_plan):
        facts = facts_of(resolved)
        try:
            plan, path, new = _planned(args, store, resolved, facts, machine)
        except ConfigError as fault:  # the other pipelines can have theirs
            failed += 1
            _saying(args)(f"{facts.pipeline}: {fault}")
            continue
        made += new
        sys.stdout.write("\n".join((*apart, *table(plan), "", str(path), "")))
        apart = ("",)
    return (SOME_PLANS_MADE if made else 2) if failed else 0


def _planned(
    args: argparse.Namespace, store: ModelStore, resolved: Resolved, facts: Facts, machine: Machine
) -> tuple[Plan, Path, bool]:
    """The plan of one pipeline, where it is kept, and whether it was made now. Raises ConfigError."""
    say = _saying(args)
    path = plan_path(store.root, facts)
    with locked(path.with_suffix(".lock"), lambda: say("another process makes this plan: waiting")):
        if not args.replan and (kept := read_plan(store.root, facts, say)) is not None:
            return kept, path, False
        references = {role: facts.models[role].reference for role in resolved.models}
        trusted = pipeline_config(args, store, resolved, references, {})
        bounds = Bounds.of(facts.device, machine)
        plan = make_plan(facts, resolved, trusted, store.root, lambda row: say(_words(row)), bounds)
        write_plan(store.root, plan)
    return plan, path, True


def _saying(args: argparse.Namespace) -> Callable[[str], None]:
    return _log.info if args.for_server else _say


def planning_command(argv: Sequence[str]) -> list[str]:
    """The command line by which this process, started to serve with ``argv``, has its plan made."""
    return [*child_command("server"), "plan", *argv, "--for_server", str(os.getpid())]


def _give_way(server_pid: int) -> None:
    """Leave the processors to those who serve, and end with the server."""
    from kernels.segment import set_parent_death_signal, set_process_name  # noqa: PLC0415 - as in cli.py

    if not set_parent_death_signal(signal.SIGKILL, server_pid):
        raise SystemExit(1)
    set_process_name("plan")
    os.nice(_NICE)


def table(plan: Plan) -> Iterator[str]:
    """The plan in lines."""
    yield from _head(plan.facts)
    for role, subject in plan.facts.models.items():
        rows = [row for row in plan.rows if row.role == role]
        if not rows:  # a model that another role has too
            continue
        runs = f"{plan.runs.get(role, 0)} runs"
        yield f"\n{role}  {subject.model}  ({runs}, compared with {subject.reference} in f32)"
        yield from _columns(rows, plan.facts)


def _head(facts: Facts) -> Iterator[str]:
    threads = [facts.threads, *([facts.all_threads] if facts.all_threads > facts.threads else [])]
    forms = " and ".join(f"{count} thread{'s' if count > 1 else ''}" for count in threads)
    yield f"{facts.pipeline} on {facts.device} with {forms}, precision {facts.precision}"
    yield f"{facts.machine[0]}; {', '.join(text for text in facts.libraries.values() if text)}"


def _columns(rows: Sequence[Row], facts: Facts) -> Iterator[str]:
    threads = sorted({facts.threads, max(facts.threads, facts.all_threads)})
    times = [f"ms, {count} thr." for count in threads]
    lines = [(*_HEADINGS[:3], *times, *_HEADINGS[3:])]
    for row in rows:
        tried = row.load_ms is not None
        lines.append(
            (
                row.engine,
                row.precision,
                f"{row.load_ms:.0f}" if row.load_ms is not None else "",
                *(f"{row.ms[count]:.1f}" if count in row.ms else "" for count in threads),
                ("shapes" if row.difference is None else f"{row.difference:.1e}") if tried else "",
                row.verdict + (f": {row.note}" if row.note else ""),
            )
        )
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    numbers = range(2, 4 + len(threads))
    for line in lines:
        cells = (
            cell.rjust(widths[place]) if place in numbers else cell.ljust(widths[place])
            for place, cell in enumerate(line)
        )
        yield "  " + "  ".join(cells).rstrip()


def _words(row: Row) -> str:
    verdict = "correct" if row.verdict == "slower" else row.verdict  # the fastest is not known yet
    return " ".join(f"{row.role}: {row.engine} {row.precision} {verdict} {row.note}".split())


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
