"""PaddleX pipeline YAMLs of both generations, and pipelines named without one, as one description.

What is common to all pipelines is read here: name, sub-models, engine choice; ``serving_yaml.py`` reads the
``Serving`` section. A pipeline reads its own settings in ``Pipeline.parse_yaml``, with the
:class:`Section` reader, which knows at the end what nobody asked for.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from .base import Pipeline, Role
from .config import Generation, ModelSet, ServingOptions
from .errors import ConfigError
from .registry import find_pipeline, load_pipeline
from .yaml_file import read_yaml

T = TypeVar("T")

#: Settings that choose an engine; allowed at the top, in a sub-pipeline and in a sub-module.
ENGINE_KEYS = ("use_hpip", "hpi_config", "engine", "engine_config")
#: Keys of a v3 document that are read here.
COMMON_KEYS = ("pipeline_name", "Serving", *ENGINE_KEYS)
#: Keys of a v3 sub-module that are read here.
MODULE_KEYS = ("module_name", "model_name", "model_dir", *ENGINE_KEYS)


class ModelChoice(msgspec.Struct, frozen=True):
    """Which model a role asks for.

    Attributes:
        name: official model name, or None when a folder says it itself.
        directory: folder that holds ``inference.yml``, or None: look the name up.
        engine: engine that the YAML names for it, as PaddleX spells it, or None.
        use_hpip: high-performance inference asked for or refused by the YAML, or None.
        hpi_config: PaddleX's dictionary of that name, or None.
    """

    name: str | None
    directory: str | None = None
    engine: str | None = None
    use_hpip: bool | None = None
    hpi_config: dict[str, Any] | None = None


class PipelineSpec(msgspec.Struct, frozen=True):
    """A pipeline to be served, before its models are looked up.

    Attributes:
        name: registry name (``ocr``); ``title``: PaddleX's name (``OCR``).
        generation: layout of the YAML it came from; ``v3`` when there was none.
        options: builtins of the pipeline's ``options`` struct.
        models: role to model; roles that are not loaded are absent.
        serving: the ``Serving`` section.
        ignored: keys that are accepted and have no effect here, for the log.
    """

    name: str
    title: str
    generation: Generation
    options: dict[str, Any]
    models: dict[str, ModelChoice]
    serving: ServingOptions = ServingOptions()
    ignored: tuple[str, ...] = ()


class Section:
    """A mapping of a YAML document, read key by key.

    Args:
        raw: the mapping; None counts as empty.
        path: where it is, for messages (``SubModules.TextDetection``).

    Raises:
        ConfigError: ``raw`` is something else.
    """

    def __init__(self, raw: Any, path: str = "") -> None:
        if raw is not None and not isinstance(raw, Mapping):
            raise ConfigError(f"{path or 'the document'} must be a mapping, not {type(raw).__name__}")
        self._left: dict[str, Any] = dict(raw or {})
        self._path = path

    def name(self, key: object) -> str:
        """Where ``key`` is, for messages."""
        return f"{self._path}.{key}" if self._path else str(key)

    def take(self, key: str, kind: type[T], default: T) -> T:
        """The value of ``key`` as ``kind``; absent or null gives ``default``. Raises ConfigError."""
        value = self._left.pop(key, None)
        if value is None:
            return default
        try:
            return msgspec.convert(value, kind, strict=False)
        except msgspec.ValidationError as error:
            raise ConfigError(f"{self.name(key)}: {error}") from error

    def section(self, key: str) -> Section:
        """The mapping under ``key``; empty when absent."""
        return Section(self._left.pop(key, None), self.name(key))

    def skip(self, *keys: str) -> Section:
        """Leave ``keys`` to somebody else."""
        for key in keys:
            self._left.pop(key, None)
        return self

    def finish(self) -> None:
        """Raise ConfigError naming a key that nobody took."""
        if self._left:
            raise ConfigError(f"unknown key {self.name(next(iter(self._left)))}")


def load(name_or_path: str, models: ModelSet = "starter") -> PipelineSpec:
    """A pipeline from its PaddleX name or from a YAML file; ``models`` are for what the file leaves open.

    As in PaddleX 3.x a value that ends in ``.yml`` or ``.yaml`` is a path; as in the 2024
    generation so is any other file that exists.

    Raises:
        ConfigError: unknown name, unreadable file, unknown key or a value that cannot be.
    """
    if name_or_path.endswith((".yml", ".yaml")) or Path(name_or_path).is_file():
        return from_document(read_document(Path(name_or_path)), models)
    return from_name(name_or_path, models)


def from_name(name: str, models: ModelSet = "starter") -> PipelineSpec:
    """The pipeline with its default models and settings. Raises ConfigError."""
    module = find_pipeline(name)
    cls = load_pipeline(module)
    chosen = {role: ModelChoice(spec.named(models)) for role, spec in cls.roles.items() if spec.default}
    return PipelineSpec(module, cls.names[0], "v3", msgspec.to_builtins(cls.options()), chosen)


def read_document(path: Path) -> dict[str, Any]:
    """A YAML file as PaddleX reads it: text that is a Python literal becomes that value.

    Raises:
        ConfigError: the file is missing, no YAML, or no mapping.
    """
    loaded = read_yaml(path)
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path} does not hold a mapping")
    try:
        return {key: _evaluated(value) for key, value in loaded.items()}
    except RecursionError:  # YAML can say that a mapping holds itself
        raise ConfigError(f"{path} is nested too deeply") from None


def _evaluated(value: Any) -> Any:
    """Text inside mappings through ``ast.literal_eval``; text inside lists stays (as PaddleX)."""
    if isinstance(value, dict):
        return {key: _evaluated(inner) for key, inner in value.items()}
    if isinstance(value, str):
        try:
            return ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return value
    return value


def from_document(document: Mapping[str, Any], models: ModelSet = "starter") -> PipelineSpec:
    """A loaded YAML of either generation. Raises ConfigError."""
    from .serving_yaml import read_serving  # noqa: PLC0415 - it needs this module

    generation: Generation = "2024" if "Global" in document or "Pipeline" in document else "v3"
    head = Section(document.get("Global"), "Global") if generation == "2024" else Section(document)
    title = head.take("pipeline_name", str, "")
    if not title:
        where = "Global.pipeline_name" if generation == "2024" else "pipeline_name"
        raise ConfigError(f"the pipeline YAML has no {where}")
    if generation == "2024":
        head.skip("input").finish()
    module = find_pipeline(title)
    cls = load_pipeline(module)
    options = cls.parse_yaml(document, generation)
    if generation == "2024":
        # That generation reads the section and never looks at it.
        unread = tuple(key for key in ("Serving",) if key in document)
        chosen = _beta_models(document, cls, options)
        return PipelineSpec(module, cls.names[0], generation, options, chosen, ignored=unread)
    chosen = _v3_models(document, cls, options, models)
    has_pages = any(form.page_by_page for operation in cls.operations for form in operation.forms)
    serving, ignored = read_serving(document.get("Serving"), has_pages)
    return PipelineSpec(module, cls.names[0], generation, options, chosen, serving, ignored)


def own_settings(document: Mapping[str, Any], generation: Generation) -> Section:
    """What ``Pipeline.parse_yaml`` has to read: everything but the keys common to all pipelines."""
    if generation == "v3":
        return Section(document).skip(*COMMON_KEYS)
    Section(document).skip("Global", "Pipeline", "Serving").finish()
    return Section(document.get("Pipeline"), "Pipeline")


def _v3_models(
    document: Mapping[str, Any], cls: type[Pipeline], options: dict[str, Any], models: ModelSet
) -> dict[str, ModelChoice]:
    chosen = {}
    for role, spec in cls.roles.items():
        if not cls.loads(role, options):
            continue
        choice = _v3_choice(document, spec)
        if choice is None and spec.default is None:
            raise ConfigError(f"the pipeline YAML has no SubModules entry {spec.submodule}")
        chosen[role] = choice or ModelChoice(spec.named(models))
    return chosen


def _v3_choice(document: Mapping[str, Any], spec: Role) -> ModelChoice | None:
    """The sub-module of a role; the nearest of the engine keys on the way down holds."""
    *pipelines, submodule = spec.submodule.split(".")
    levels = [document]
    for step in pipelines:
        levels.append((levels[-1].get("SubPipelines") or {}).get(step) or {})
    entry = (levels[-1].get("SubModules") or {}).get(submodule)
    if not isinstance(entry, Mapping):
        return None
    levels.append(entry)
    path = spec.submodule
    nearest = {key: level[key] for level in levels for key in ENGINE_KEYS if level.get(key) is not None}
    engine = Section(nearest, path)
    module = Section(entry, path)
    task = module.take("module_name", str, spec.task)
    if task != spec.task:
        raise ConfigError(f"{path}.module_name must be {spec.task}, not {task}")
    name = module.take("model_name", str, "").strip()
    if not name:
        raise ConfigError(f"{path} has no model_name")
    return ModelChoice(
        name,
        module.take("model_dir", str, "") or None,
        engine.take("engine", str, "") or None,
        engine.take("use_hpip", bool | None, None),  # type: ignore[arg-type]
        engine.take("hpi_config", dict[str, Any], {}) or None,
    )


def _beta_models(
    document: Mapping[str, Any], cls: type[Pipeline], options: dict[str, Any]
) -> dict[str, ModelChoice]:
    """2024: one key per model under ``Pipeline``; an existing path wins, else it is an official name."""
    section = Section(document.get("Pipeline"), "Pipeline")
    chosen = {}
    for role, spec in cls.roles.items():
        named = section.take(spec.beta_key, str, "") if spec.beta_key else ""
        if named:
            exists = Path(named).exists()
            chosen[role] = ModelChoice(None, named) if exists else ModelChoice(named)
        elif spec.beta_key and cls.loads(role, options):
            raise ConfigError(f"the pipeline YAML has no Pipeline.{spec.beta_key}")
    return chosen
