"""Which of several pipelines answers a route."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.core.base import Pipeline
from pipelines.core.errors import ConfigError


def owners(pipelines: Sequence[type[Pipeline]]) -> dict[str, tuple[int, int]]:
    """Route to the places of its pipeline and of its operation there.

    Of two with one route the first has it, but an operation that gives way only has it where nobody else
    wants it.
    """
    found: dict[str, tuple[int, int]] = {}
    for place, pipeline in enumerate(pipelines):
        for index, operation in enumerate(pipeline.operations):
            other = found.get(operation.path)
            if other is None or (_gives_way(pipelines, other) and not operation.gives_way):
                found[operation.path] = (place, index)
    return found


def check_routes(named: Sequence[tuple[str, type[Pipeline]]]) -> None:
    """Raise ConfigError when two pipelines claim one route, and neither gives way.

    Args:
        named: what each pipeline was asked for by, and the pipeline.
    """
    claims: dict[str, int] = {}
    for place, (name, pipeline) in enumerate(named):
        for operation in pipeline.operations:
            first = place if operation.gives_way else claims.setdefault(operation.path, place)
            if first != place:
                raise ConfigError(f"--pipeline: {named[first][0]} and {name} both answer {operation.path}")


def _gives_way(pipelines: Sequence[type[Pipeline]], place: tuple[int, int]) -> bool:
    return pipelines[place[0]].operations[place[1]].gives_way
