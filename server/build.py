"""From options to a :class:`~server.config.Config`: what is to run, and how a plan says it runs best."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import msgspec

from pipelines.core.config import PipelineConfig
from pipelines.core.models import ModelStore
from server.access import read_access
from server.config import NO_PLAN_YET, Config, Limits
from server.conversion import Converter, stand_ins
from server.cores import Machine, default_workers
from server.otlp import check_endpoint
from server.plan_facts import facts_of
from server.plan_file import Plan, read_plan
from server.resolved import Resolved, pipeline_config, resolve
from server.stages import identity


def build_config(
    args: argparse.Namespace,
    store: ModelStore,
    machine: Machine | None = None,
    notice: Callable[[str], None] | None = None,
) -> Config:
    """Everything the server needs to know.

    Args:
        args: from :func:`server.options.parse`.
        store: resolves the models, fetching what is missing.
        machine: what may be used of this computer.
        notice: takes one line for each option or key that is accepted and has no effect, and for a plan
            that is missing.

    Raises:
        ConfigError: a wrong name, file, key or value; one line.
    """
    machine = machine or Machine()
    resolved = _resolved(args, store, machine, notice or _nobody)
    plans = [_plan_of(each, store, notice) for each in resolved]
    pipelines = [
        pipeline_config(args, store, each, *_chosen(each, plan))
        for each, plan in zip(resolved, plans, strict=True)
    ]
    limits = {field.name: getattr(args, field.name) for field in msgspec.structs.fields(Limits)}
    return Config(
        pipelines=_agreed(pipelines),
        devices=resolved[0].devices,
        workers=args.workers or default_workers(machine.cores()),
        host=args.host,
        port=args.port,
        grpc_port=args.grpc_port,
        api_generation=args.api_generation,
        precision=resolved[0].precision,
        plans=dict(_names(resolved, plans)),
        cache_dir=str(store.root),
        log_format=args.log_format,
        log_level=args.log_level,
        access_log=args.access_log,
        otlp_endpoint=check_endpoint(args.otlp_endpoint),
        drain_grace_ms=args.drain_grace_ms,
        drain_timeout_ms=args.drain_timeout_ms,
        max_rss_mb=args.max_rss_mb,
        cache_mb=args.cache_mb,
        playground=args.playground == "on",
        limits=Limits(**limits),
        access=read_access(args),
    )


def _nobody(_line: str) -> None:
    """Takes notices that nobody reads."""


def _resolved(
    args: argparse.Namespace, store: ModelStore, machine: Machine, notice: Callable[[str], None]
) -> tuple[Resolved, ...]:
    """What is to run, with ONNX made of models for the engines that were named for them."""
    lines: list[str] = []
    found = resolve(args, store, machine, lines.append)
    if any(each.unmet for each in found):
        converter = Converter(args, store, machine, notice)
        if converter.convert(found, asked_only=True):
            lines.clear()
            found = resolve(args, store, machine, lines.append)
    for line in (*lines, *stand_ins(store.root, found)):
        notice(line)
    return found


def _plan_of(resolved: Resolved, store: ModelStore, notice: Callable[[str], None] | None) -> Plan | None:
    """The plan for a pipeline, where something is left for one to choose and there is one."""
    if not resolved.wants_plan:
        return None
    plan = read_plan(store.root, facts_of(resolved), notice)
    if plan is None and notice:
        names = ", ".join(sorted(set(resolved.engines.values())))
        notice(f"no plan for these models here yet: {names} in f32 (docs/engine-plan.md)")
    return plan


def _agreed(pipelines: Sequence[PipelineConfig]) -> tuple[PipelineConfig, ...]:
    """The pipelines, with one precision for a model that several share: f32 where their plans disagree."""
    found = defaultdict[tuple[str, str, str], set[str]](set)
    for each in pipelines:
        for role, model in each.models.items():
            found[identity(model, each.engines[role])].add(each.precisions.get(role, "f32"))

    def kept(each: PipelineConfig) -> dict[str, str]:
        return {
            role: precision
            for role, precision in each.precisions.items()
            if found[identity(each.models[role], each.engines[role])] == {precision}
        }

    return tuple(msgspec.structs.replace(each, precisions=kept(each)) for each in pipelines)


def _names(resolved: Sequence[Resolved], plans: Sequence[Plan | None]) -> Iterator[tuple[str, str]]:
    """What ``Config.plans`` says."""
    for each, plan in zip(resolved, plans, strict=True):
        if plan is not None:
            yield each.spec.name, plan.facts.short_key
        elif each.wants_plan:
            yield each.spec.name, NO_PLAN_YET


def _chosen(resolved: Resolved, plan: Plan | None) -> tuple[dict[str, str], dict[str, str]]:
    """Role to engine, and role to a reduced precision: those of a plan where there is one."""
    engines, precisions = dict(resolved.engines), dict[str, str]()
    for role, choice in plan.choices.items() if plan else ():
        engines[role] = choice.engine
        if choice.precision != "f32":
            precisions[role] = choice.precision
    return engines, precisions
