"""From options to what is to run: pipeline, models, engines that are asked for, devices."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from pipelines.core.base import Role
from pipelines.core.config import Generation, ModelFiles, ModelSet, PipelineConfig
from pipelines.core.errors import ConfigError
from pipelines.core.models import ModelStore
from pipelines.core.registry import load_engine, load_pipeline
from pipelines.core.scalers import with_scaler
from pipelines.core.yaml_config import PipelineSpec, load
from server.choose import (
    EngineWish,
    engine_or_stand_in,
    fitting,
    gpu_in_reach,
    is_open,
    parse_hpi_config,
    reads_onnx,
    wants_onnx,
)
from server.config import DeviceConfig
from server.converted import with_onnx
from server.cores import Machine, cpu_devices, gpu_devices
from server.ownership import check_routes

#: Lanes that the segment can have per kind, one of them spare (kernels/segment.pyi).
_MAX_DEVICES = 63


class Resolved(msgspec.Struct, frozen=True):
    """One pipeline that is to run, before a plan has been looked at.

    Attributes:
        spec: what the pipeline's name or YAML says.
        models: role to model, with every file that it has.
        absent: optional role to why there is no model.
        engines: role to the engine that is asked for, or chosen where none is.
        open_roles: roles whose engine a plan may choose.
        devices: one entry per device process.
        precision: f32, or what a plan may reduce it to: ``bf16``, ``fp16``, ``int8``, ``auto`` for any.
        unmet: role to the engine that was asked for, where Paddle runs until ONNX has been made.
    """

    spec: PipelineSpec
    models: dict[str, ModelFiles]
    absent: dict[str, str]
    engines: dict[str, str]
    open_roles: tuple[str, ...]
    devices: tuple[DeviceConfig, ...]
    precision: str
    unmet: dict[str, str] = {}

    @property
    def wants_plan(self) -> bool:
        """Whether something is left for a plan to choose."""
        return bool(self.open_roles) or self.precision != "f32"

    def permits(self, precision: str) -> bool:
        """Whether a model may be computed in ``precision``."""
        return precision == "f32" or self.precision in {"auto", precision}


def resolve(
    args: argparse.Namespace,
    store: ModelStore,
    machine: Machine,
    notice: Callable[[str], None] | None = None,
) -> tuple[Resolved, ...]:
    """Every pipeline; see :func:`server.build.build_config`. Raises ConfigError."""
    device = _check_device(args.device)
    wish = EngineWish(
        args.engine,
        args.use_hpip,
        parse_hpi_config(args.hpi_config) if args.hpi_config else None,
        device[0] or ("gpu" if gpu_in_reach() else "cpu"),
    )
    named = _named(args.pipeline, args.models)
    check_routes([(name, load_pipeline(spec.name)) for name, spec in named])
    specs = [spec for _, spec in named]
    for line in _notices(args, specs):
        if notice:
            notice(line)
    found = [_models(spec, store, wish, notice) for spec in specs]
    engines, devices = _placed(device, wish, specs, [models for models, _ in found], machine)
    return tuple(
        Resolved(
            spec=spec,
            models=models,
            absent=absent,
            engines={role: name for role, (name, _) in chosen.items()},
            unmet={role: asked for role, (_, asked) in chosen.items() if asked},
            open_roles=tuple(role for role in models if is_open(wish, spec.models[role])),
            devices=devices,
            precision="f32" if args.precision == "fp32" else args.precision,
        )
        for spec, (models, absent), chosen in zip(specs, found, engines, strict=True)
    )


def _placed(
    device: tuple[str, tuple[int, ...]],
    wish: EngineWish,
    specs: Sequence[PipelineSpec],
    found: Sequence[Mapping[str, ModelFiles]],
    machine: Machine,
) -> tuple[list[dict[str, tuple[str, str]]], tuple[DeviceConfig, ...]]:
    """Role to engine and the one it stands in for, of each pipeline; and the devices. Raises ConfigError.

    A GPU that nobody has asked for is taken only if every model can use it.
    """
    try:
        engines = [
            {role: engine_or_stand_in(model, wish, spec.models[role]) for role, model in models.items()}
            for spec, models in zip(specs, found, strict=True)
        ]
        devices = _devices(device, [name for each in engines for name, _ in each.values()], machine)
    except ConfigError:
        if device[0] or wish.device == "cpu":
            raise
        devices = ()
    if not device[0] and wish.device == "gpu" and not (devices and devices[0].device != "cpu"):
        on_cpu = msgspec.structs.replace(wish, device="cpu")
        return _placed(("cpu", ()), on_cpu, specs, found, machine)
    return engines, devices


def _named(text: str, models: ModelSet) -> list[tuple[str, PipelineSpec]]:
    """What each pipeline of ``--pipeline`` is called there, and the pipeline. Raises ConfigError.

    Commas stand between them; a file whose own name has commas is one.
    """
    names = [text] if Path(text).is_file() else [name.strip() for name in text.split(",")]
    return [(name, load(name, models)) for name in names]


def pipeline_config(
    args: argparse.Namespace,
    store: ModelStore,
    resolved: Resolved,
    engines: Mapping[str, str],
    precisions: Mapping[str, str],
) -> PipelineConfig:
    """The pipeline with these engines in these precisions. Raises ConfigError."""
    spec = resolved.spec
    return PipelineConfig(
        name=spec.name,
        title=spec.title,
        generation=spec.generation,
        options=spec.options,
        models={
            role: with_scaler(fitting(model, engines[role]), args.allow_pickle_scaler, store.root)
            for role, model in resolved.models.items()
        },
        engines=dict(engines),
        serving=spec.serving,
        padding=args.padding,
        absent=resolved.absent,
        files=load_pipeline(spec.name).fetch(spec.options, store.root, store.stream),
        precisions=dict(precisions),
    )


def _models(
    spec: PipelineSpec, store: ModelStore, wish: EngineWish, notice: Callable[[str], None] | None
) -> tuple[dict[str, ModelFiles], dict[str, str]]:
    """Role to model, and optional role to why there is none. Raises ConfigError."""
    roles = load_pipeline(spec.name).roles
    models, absent = {}, {}
    for role, choice in spec.models.items():
        try:
            model = store.resolve(choice.name, choice.directory, onnx=reads_onnx(wish, choice))
            if wants_onnx(model, wish, choice):
                model = with_onnx(store.root, model, notice)
            models[role] = model
        except ConfigError as error:
            where = _key(roles[role], spec.generation)
            if not roles[role].optional or choice.directory is not None:
                raise ConfigError(f"{where}: {error}") from error
            absent[role] = f"{where}: {choice.name}: {error}"
    return models, absent


def _key(role: Role, generation: Generation) -> str:
    """Where a YAML says which model a role has."""
    if generation == "2024" and role.beta_key:
        return f"Pipeline.{role.beta_key}"
    *pipelines, module = role.submodule.split(".")
    return ".".join([*(f"SubPipelines.{name}" for name in pipelines), f"SubModules.{module}"])


def _notices(args: argparse.Namespace, specs: Iterable[PipelineSpec]) -> list[str]:
    lines = []
    if args.serial_number is not None or args.update_license:
        lines.append("--serial_number and --update_license are accepted; no licence is needed here")
    if args.engine and args.use_hpip:
        lines.append("--use_hpip has no effect beside --engine, as in PaddleX")
    ignored = dict.fromkeys(key for spec in specs for key in spec.ignored)
    return lines + [f"{key} has no effect here" for key in ignored]


def _check_device(text: str | None) -> tuple[str, tuple[int, ...]]:
    """``(kind, numbers)``; kind is empty for the default. Raises ConfigError."""
    if text is None:
        return "", ()
    kind, _, rest = text.partition(":")
    numbers = rest.split(",") if rest else []
    fine = all(number.isdecimal() for number in numbers) and (bool(rest) or ":" not in text)
    if kind not in {"cpu", "gpu"} or not fine:
        raise ConfigError(f"unknown device {text!r}; write cpu, cpu:N, gpu or gpu:I,J")
    found = tuple(int(number) for number in numbers)
    if kind == "cpu" and (len(found) > 1 or (found and not 1 <= found[0] <= _MAX_DEVICES)):
        raise ConfigError(f"device {text!r}: cpu:N makes N shares of the cores, 1 to {_MAX_DEVICES}")
    if len(set(found)) != len(found):
        raise ConfigError(f"device {text!r} names a GPU twice")
    return kind, found


def _devices(
    device: tuple[str, tuple[int, ...]], engines: Iterable[str], machine: Machine
) -> tuple[DeviceConfig, ...]:
    kind, numbers = device
    if kind != "cpu":
        usable = _usable_gpus(set(engines))
        if isinstance(usable, int):
            missing = [number for number in numbers if number >= usable]
            if missing:
                raise ConfigError(f"there is no GPU {missing[0]}: {usable} can be used")
            return gpu_devices(numbers or tuple(range(usable)), machine)
        if kind == "gpu":
            raise ConfigError(f"no GPU can be used: {usable}")
    nodes = {node: len(cpus) for node, cpus in machine.nodes().items()}
    return cpu_devices(machine.cores(), machine.memory_bytes(), numbers[0] if numbers else None, nodes)


def _usable_gpus(engines: set[str]) -> int | str:
    """How many GPUs all of these engines can use, or why none."""
    counts = {name: load_engine(name).gpus() for name in sorted(engines)}
    blind = [name for name, count in counts.items() if count == 0]
    if blind:
        return f"engine {', '.join(blind)} sees none here"
    return min(counts.values())
