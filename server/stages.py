"""The stages of a device, each once, and their engines in two forms: one share, and all cores."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from pipelines.core.config import ModelFiles
from pipelines.core.errors import ConfigError
from pipelines.core.registry import load_engine
from pipelines.core.stage import Stage, StageFactory
from pipelines.engines.base import Engine, EngineOptions
from server.config import Config, DeviceConfig

_log = logging.getLogger(__name__)


class Forms(NamedTuple):
    """One model loaded for its share of the cores, and for all of them (the same object if equal)."""

    share: Engine
    whole: Engine


class Stages(StageFactory):
    """Builds each distinct stage once, and loads each distinct model once.

    Stages that differ only in settings share their engine.
    """

    def __init__(self, config: Config, device: DeviceConfig) -> None:
        self._device = device
        self._options = EngineOptions(
            device=device.device,
            threads=device.threads,
            cache_dir=config.cache_dir or None,
        )
        self._precisions = {
            identity(each.models[role], each.engines[role]): precision
            for each in config.pipelines
            for role, precision in each.precisions.items()
        }
        self._stages: dict[Any, Stage] = {}
        self._forms: dict[tuple[str, str, str], Forms] = {}

    def get(self, cls: type[Stage], model: ModelFiles, engine: str, **settings: Any) -> Any:
        """The shared instance of ``cls(model, engine, **settings)``."""
        key = (cls, identity(model, engine), tuple(sorted(settings.items())))
        if key not in self._stages:
            self._stages[key] = cls(model, engine, **settings)
        return self._stages[key]

    @property
    def all(self) -> tuple[Stage, ...]:
        """Every stage that has been asked for, in that order."""
        return tuple(self._stages.values())

    def load(self) -> None:
        """Load every model.

        Raises:
            ConfigError: an engine cannot be used here.
            EngineError: an engine failed on a model.
        """
        for stage in self._stages.values():
            key = identity(stage.model, stage.engine_name)
            if key not in self._forms:
                started = time.monotonic()
                self._forms[key] = self._load(stage.model, stage.engine_name)
                taken = time.monotonic() - started
                _log.info("%s: %s loaded in %.2f s", stage.model.name, stage.engine_name, taken)

    def _load(self, model: ModelFiles, name: str) -> Forms:
        cls = load_engine(name)
        missing = cls.available()
        if missing is not None:
            raise ConfigError(missing)
        precision = self._precisions.get(identity(model, name), "f32")
        share = cls(model, msgspec.structs.replace(self._options, precision=precision))
        if self._device.all_threads <= self._device.threads:
            return Forms(share, share)
        return Forms(share, share.sibling(self._device.all_threads))

    def engine(self, stage: Stage, whole: bool) -> Engine:
        """The engine of ``stage``, all cores when ``whole``. Every model's other form gives memory back."""
        for forms in self._forms.values():
            if forms.share is not forms.whole:
                (forms.share if whole else forms.whole).trim()
        chosen = self._forms[identity(stage.model, stage.engine_name)]
        return chosen.whole if whole else chosen.share

    def trim(self) -> None:
        """Give back what large runs have left with the engines."""
        for forms in self._forms.values():
            for engine in forms:
                engine.trim()

    def warm_up(self, run: Callable[[Stage, bool, Sequence[Any]], Sequence[Any]]) -> None:
        """Run every stage's canary on both forms. Raises what the stage answers when it fails.

        Args:
            run: runs a stage on inputs, on the all-core form if its second argument is true.
        """
        for stage in self._stages.values():
            forms = self._forms[identity(stage.model, stage.engine_name)]
            for whole in (False, True) if forms.whole is not forms.share else (False,):
                for call in stage.canary():
                    for result in run(stage, whole, [call.input]):
                        if isinstance(result, Exception):
                            raise result

    def close(self) -> None:
        """Free all models."""
        for forms in self._forms.values():
            for engine in {id(form): form for form in forms}.values():
                engine.close()
        self._forms.clear()


def identity(model: ModelFiles, engine: str) -> tuple[str, str, str]:
    """What makes two models the same one, loaded once on each device whoever asks for it."""
    return model.name, model.directory, engine
