"""What the server is about to do, in words: printed once at the start."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

import msgspec

from pipelines.core.config import ModelFiles, PipelineConfig
from pipelines.core.registry import load_engine, load_pipeline
from server.config import Config, DeviceConfig
from server.grpc_port import address
from server.ownership import owners
from server.readers import public
from server.stages import identity

#: Titles of the pipelines that have a model, by what makes it one.
Sharers = dict[tuple[str, str, str], list[str]]


def plan(config: Config, url: str) -> str:
    """The start-up plan, several lines.

    Args:
        config: what will run.
        url: where it will answer, with the port that was really bound.
    """
    rows: list[tuple[str, str]] = []
    sharers = _sharers(config.pipelines)
    for pipeline in config.pipelines:
        facts = f"API {config.api_generation} first, padding {pipeline.padding}"
        rows.append(("pipeline", f"{pipeline.title} ({facts})"))
        rows += [("models", line) for line in _models(pipeline, sharers)]
        rows += [("services", line) for line in load_pipeline(pipeline.name).notes(pipeline)]
    rows += [("devices", line) for line in _devices(config.devices)]
    rows.append(("workers", str(config.workers)))
    rows += [("limits", line) for line in _limits(config)]
    rows.append(("cache", config.cache_dir))
    rows += [("url", url + operation) for operation in _routes(config)]
    if config.grpc_port:
        rows.append(("grpc", address(config.host, config.grpc_port)))
    return "\n".join(_columns(rows))


def _columns(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Name and value; a name is written once for all its lines."""
    before = ""
    for name, value in rows:
        yield f"{name if name != before else '':<9} {value}"
        before = name


def _sharers(pipelines: Iterable[PipelineConfig]) -> Sharers:
    found: Sharers = {}
    for pipeline in pipelines:
        for role, model in pipeline.models.items():
            titles = found.setdefault(identity(model, pipeline.engines[role]), [])
            titles += [pipeline.title] if pipeline.title not in titles else []
    return found


def _models(pipeline: PipelineConfig, sharers: Sharers) -> Iterator[str]:
    roles = max((len(role) for role in pipeline.models), default=0)
    names = max((len(model.name) for model in pipeline.models.values()), default=0)
    for role, model in pipeline.models.items():
        engine = pipeline.engines[role]
        reduced = f" in {pipeline.precisions[role]}" if role in pipeline.precisions else ""
        others = [title for title in sharers[identity(model, engine)] if title != pipeline.title]
        shared = f", shared with {', '.join(others)}" if others else ""
        loaded = f"{engine}{reduced}, {_digest(model, engine)}, from {model.source}{shared}"
        yield f"{role:<{roles}}  {model.name:<{names}}  {loaded}"
    for role, reason in pipeline.absent.items():
        yield f"{role:<{roles}}  off: {reason}"


def _digest(model: ModelFiles, engine: str) -> str:
    """The file that the engine will load and the beginning of its SHA-256."""
    for kind in load_engine(engine).formats:
        if kind in model.files:
            file = model.files[kind].rpartition("/")[2]
            return f"{file} sha256 {model.sha256.get(file, 'unknown')[:12]}"
    return "no file"


def _devices(devices: tuple[DeviceConfig, ...]) -> Iterator[str]:
    for device, same in groupby(devices):
        count = len(list(same))
        times = f"{count} x " if count > 1 else ""
        where = "" if device.node is None else f" on NUMA node {device.node}"
        if device.device != "cpu":
            yield f"{times}{device.device}{where}"
            continue
        alone = f", {device.all_threads} when alone" if device.all_threads > device.threads else ""
        threads = "1 thread" if device.threads == 1 else f"{device.threads} threads"
        yield f"{times}cpu{where} with {threads}{alone}"


def _limits(config: Config, per_line: int = 4) -> Iterator[str]:
    limits = msgspec.structs.asdict(config.limits)
    words = [f"{name}={public(name, value)}" for name, value in limits.items()]
    for start in range(0, len(words), per_line):
        yield ", ".join(words[start : start + per_line])


def _routes(config: Config) -> Iterator[str]:
    """Every route, with its pipeline where there are several."""
    pipelines = config.pipelines
    for path, (place, _) in owners([load_pipeline(each.name) for each in pipelines]).items():
        yield f"{path}  {pipelines[place].title}" if len(pipelines) > 1 else path
