"""The module name is the registry: a file in ``pipelines/`` or ``pipelines/engines/`` is an entry."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import TYPE_CHECKING

import pipelines
import pipelines.engines

from .errors import ConfigError

if TYPE_CHECKING:
    from pipelines.core.base import Pipeline
    from pipelines.engines.base import Engine


def pipeline_modules() -> tuple[str, ...]:
    """Registry names of all pipelines, sorted."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(pipelines.__path__) if not m.ispkg))


def engine_names() -> tuple[str, ...]:
    """Names of all engines, sorted. ``fake`` is for tests."""
    found = (m.name for m in pkgutil.iter_modules(pipelines.engines.__path__))
    return tuple(sorted(name for name in found if name != "base"))


@cache
def load_pipeline(module: str) -> type[Pipeline]:
    """The ``PIPELINE`` class of ``pipelines/<module>.py``."""
    loaded: type[Pipeline] = importlib.import_module(f"pipelines.{module}").PIPELINE
    return loaded


def find_pipeline(name: str) -> str:
    """Registry name of a PaddleX pipeline name of either generation. Raises ConfigError."""
    known = {title: module for module in pipeline_modules() for title in load_pipeline(module).names}
    if name in known:
        return known[name]
    raise ConfigError(f"unknown pipeline {name!r}; known: {', '.join(sorted(known))}")


@cache
def load_engine(name: str) -> type[Engine]:
    """The ``ENGINE`` class of ``pipelines/engines/<name>.py``. Raises ConfigError on an unknown name."""
    if name not in engine_names():
        raise ConfigError(f"unknown engine {name!r}; known: {', '.join(engine_names())}")
    loaded: type[Engine] = importlib.import_module(f"pipelines.engines.{name}").ENGINE
    return loaded
