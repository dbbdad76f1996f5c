"""Plans on disk: ``<cache_dir>/plans/<pipeline>-<key>.json``, one file per set of facts.

A file counts only if its checksum, its version and its facts are right; anything else is made anew.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from pipelines.core.download import fsync_file
from server.plan_facts import Facts

Verdict = Literal[
    "fastest", "slower", "wrong", "crashed", "timed out", "too large", "failed", "not installed", "not run"
]


class Choice(msgspec.Struct, frozen=True):
    """How a model is computed."""

    engine: str
    precision: str


class Row(msgspec.Struct, frozen=True):
    """What came of one engine in one precision on one model.

    Attributes:
        role: of the model.
        load_ms: until the first form was there; None when it never was.
        ms: threads to the time of all runs that the examples take, on one form.
        difference: largest absolute difference of outputs from the reference; None when shapes differ.
        note: why it is not the fastest or slower.
    """

    role: str
    engine: str
    precision: str
    verdict: Verdict
    load_ms: float | None = None
    ms: dict[int, float] = {}
    difference: float | None = None
    note: str = ""


class Plan(msgspec.Struct, frozen=True):
    """What was measured, and what follows from it.

    Attributes:
        facts: what it holds for.
        runs: role to how many runs of an engine the examples take.
        rows: every engine and precision on every model.
        choices: role to the fastest correct one; a role for which there is none is absent.
    """

    facts: Facts
    runs: dict[str, int]
    rows: tuple[Row, ...]
    choices: dict[str, Choice]


class _Sealed(msgspec.Struct):
    """The file: ``plan`` is the JSON text of a :class:`Plan`, ``sha256`` is over it."""

    sha256: str
    plan: str


def plan_path(root: Path, facts: Facts) -> Path:
    """Where a plan for ``facts`` is kept below the cache folder ``root``."""
    return root / "plans" / f"{facts.pipeline}-{facts.short_key}.json"


def read_plan(root: Path, facts: Facts, notice: Callable[[str], None] | None = None) -> Plan | None:
    """The plan for ``facts``; None when there is none that can be trusted.

    ``notice`` takes a line about a file that cannot be.
    """
    path = plan_path(root, facts)
    try:
        sealed = msgspec.json.decode(path.read_bytes(), type=_Sealed)
        if hashlib.sha256(sealed.plan.encode()).hexdigest() != sealed.sha256:
            raise ValueError("its checksum is wrong")
        plan = msgspec.json.decode(sealed.plan, type=Plan)
        if plan.facts != facts:
            raise ValueError("it was made for something else")
        _check(plan)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        if notice:
            notice(f"the plan {path} is not used: {' '.join(str(error).split())}")
        return None
    return plan


def write_plan(root: Path, plan: Plan) -> Path:
    """Put a plan in its place in one step; returns the path. Raises OSError."""
    path = plan_path(root, plan.facts)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = msgspec.json.encode(plan).decode()
    sealed = _Sealed(hashlib.sha256(text.encode()).hexdigest(), text)
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        staged.write_bytes(msgspec.json.encode(sealed))
        fsync_file(staged)
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)
    return path


def _check(plan: Plan) -> None:
    """Raise ValueError for choices that its rows do not bear out."""
    models = plan.facts.models
    best = {
        (models[row.role].model, row.engine, row.precision)
        for row in plan.rows
        if row.verdict == "fastest" and row.role in models
    }
    for role, choice in plan.choices.items():
        subject = models.get(role)
        if (
            subject is None
            or choice.engine not in subject.candidates
            or not (choice.precision == "f32" or plan.facts.precision in {"auto", choice.precision})
            or (subject.model, choice.engine, choice.precision) not in best
        ):
            raise ValueError(f"its choice for {role} is not the fastest of its rows")
