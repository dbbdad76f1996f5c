"""Which engine runs which model, and why not another. PaddleX's words for engines are understood."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

import msgspec

from pipelines.core.config import ModelFiles
from pipelines.core.errors import ConfigError
from pipelines.core.onnx_export import missing, program_of
from pipelines.core.registry import engine_names, load_engine
from pipelines.core.yaml_config import ModelChoice

HPIP_EXTRA = "the extra 'hpip' brings it: python -m pip install -e '.[hpip]'"
#: Tried in this order when nobody asks for an engine.
AUTOMATIC = ("paddle", "onnxruntime", "openvino")
#: What high-performance inference takes on a GPU until there is a plan: the first that can run a model.
ON_GPU = ("tensorrt", "onnxruntime_tensorrt", "onnxruntime", "paddle_tensorrt", "paddle")
#: PaddleX 3.x's ``--engine`` values to ours; ``hpi`` is high-performance inference.
ALIASES = {"paddle_static": "paddle", "hpi": "openvino"}
#: PaddleX's values that name something else than an engine for exported models.
REFUSED = {
    "paddle_dynamic": "it needs the training code of a model; use paddle",
    "flexible": "it needs the training code of a model; use paddle",
    "transformers": "it runs safetensors models; use paddle, onnxruntime or openvino",
    "genai_client": "it is a client of another server",
}
#: Keys of PaddleX 3.x's ``hpi_config``; only ``backend`` has an effect here.
HPI_KEYS = (
    "auto_config", "backend", "backend_config", "hpi_info", "auto_paddle2onnx", "device_type", "device_id",
)  # fmt: skip


class EngineWish(msgspec.Struct, frozen=True):
    """What the command line or a YAML says about engines; None where it says nothing.

    ``device``: the kind of device that ``use_hpip`` is for, ``cpu`` or ``gpu``.
    """

    engine: str | None = None
    use_hpip: bool | None = None
    hpi_config: dict[str, Any] | None = None
    device: str = "cpu"


def engine_name(value: str) -> str:
    """One of our engines from PaddleX's name or ours. Raises ConfigError."""
    if value in REFUSED:
        raise ConfigError(f"engine {value} cannot be used: {REFUSED[value]}")
    name = ALIASES.get(value, value)
    if name not in engine_names():
        known = sorted({*ALIASES, *engine_names()} - {"fake"})
        raise ConfigError(f"unknown engine {value!r}; known: {', '.join(known)}")
    return name


def parse_hpi_config(text: str) -> dict[str, Any]:
    """``--hpi_config``: a Python dictionary, as PaddleX 3.x takes it. Raises ConfigError."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ConfigError(
            "--hpi_config must be a Python dictionary such as {'backend': 'openvino'}"
        ) from error
    if not isinstance(value, dict):
        raise ConfigError("--hpi_config must be a Python dictionary such as {'backend': 'openvino'}")
    return value


def _hpip_engine(config: Mapping[str, Any] | None, device: str, model: ModelFiles | None) -> str:
    """The engine of high-performance inference: its ``backend``, else what suits ``device``.

    ``model`` is None while it is not known yet. Raises ConfigError.
    """
    for key in config or {}:
        if key not in HPI_KEYS:
            raise ConfigError(f"unknown key hpi_config.{key}; known: {', '.join(HPI_KEYS)}")
    backend = (config or {}).get("backend")
    if backend is None and device == "gpu":
        return _engine_on_gpu(model)
    name = engine_name(str(backend)) if backend is not None else "openvino"
    if name == "openvino" and load_engine(name).available() is not None:
        raise ConfigError(f"--use_hpip needs OpenVINO, which is not installed; {HPIP_EXTRA}")
    return name


def _engine_on_gpu(model: ModelFiles | None) -> str:
    """The first of :data:`ON_GPU` that sees a GPU, and can run ``model`` there. Raises ConfigError."""
    reasons = []
    for name in ON_GPU:
        cls = load_engine(name)
        reason = cls.available() if model is None else _objection(name, model)
        if reason is None and cls.gpus() == 0:
            reason = "it sees no GPU"
        if reason is None:
            return name
        reasons.append(f"{name}: {reason}")
    what = f"{model.name} on a GPU" if model else "models on a GPU"
    raise ConfigError(f"--use_hpip finds no engine for {what} ({'; '.join(reasons)})")


def gpu_in_reach() -> bool:
    """Whether high-performance inference could use a GPU here."""
    return any(load_engine(name).gpus() for name in ON_GPU)


def _wished(asked: EngineWish, choice: ModelChoice, model: ModelFiles | None) -> str | None:
    """The engine asked for: command line before YAML, ``engine`` before ``use_hpip``."""
    for wish in (asked, choice):
        if wish.engine:
            return engine_name(wish.engine)
        if wish.use_hpip:
            return _hpip_engine(wish.hpi_config or choice.hpi_config, asked.device, model)
        if wish.use_hpip is False:
            return None
    return None


def is_open(asked: EngineWish, choice: ModelChoice) -> bool:
    """Whether high-performance inference is asked for, and its engine is left to us."""
    for wish in (asked, choice):
        if wish.engine:
            return False
        if wish.use_hpip is not None:
            return wish.use_hpip and (wish.hpi_config or choice.hpi_config or {}).get("backend") is None
    return False


def reference_engine(model: ModelFiles, otherwise: str) -> str:
    """The engine whose answers others are compared with: Paddle's own, else the first that can run it.

    ``otherwise`` is for models that only one engine runs.
    """
    try:
        return choose_engine(model, EngineWish(), ModelChoice(model.name))
    except ConfigError:
        return otherwise


def _objection(name: str, model: ModelFiles) -> str | None:
    """Why engine ``name`` cannot run ``model`` here, or None."""
    return misfit(name, model) or load_engine(name).available() or load_engine(name).refuses(model)


def misfit(name: str, model: ModelFiles) -> str | None:
    """Which files engine ``name`` would need that ``model`` does not have, or None."""
    formats = load_engine(name).formats
    if set(formats) & model.files.keys():
        return None
    has = ", ".join(sorted(model.files.keys() - {"params"}))
    return f"it runs {' or '.join(formats)}, the model has {has}"


def reads_onnx(asked: EngineWish, choice: ModelChoice) -> bool:
    """Whether the engine that a model would run on takes ONNX rather than Paddle's own programs."""
    ready = (name for name in AUTOMATIC if load_engine(name).available() is None)
    name = _wished(asked, choice, None) or next(ready, AUTOMATIC[0])
    return "pir" not in load_engine(name).formats


def fitting(model: ModelFiles, name: str) -> ModelFiles:
    """The model with the files that engine ``name`` is to run: without those to avoid, if others are left."""
    usable = set(load_engine(name).formats) & model.files.keys()
    avoided = usable & set(model.avoid.get(name, ()))
    if avoided == usable:
        return model
    files = {kind: path for kind, path in model.files.items() if kind not in avoided}
    return msgspec.structs.replace(model, files=files)


def _at_its_best(name: str, model: ModelFiles) -> bool:
    """Whether engine ``name`` can run a file of ``model`` that it need not avoid."""
    usable = set(load_engine(name).formats) & model.files.keys()
    return not usable <= set(model.avoid.get(name, ()))


def needs_onnx(name: str, model: ModelFiles) -> bool:
    """Whether engine ``name``, which is here, could run ``model`` if ONNX were made of its Paddle program."""
    cls = load_engine(name)
    fits = "onnx" in cls.formats and program_of(model) is not None and misfit(name, model) is not None
    return fits and cls.available() is None and load_engine("paddle").available() is None


def wants_onnx(model: ModelFiles, asked: EngineWish, choice: ModelChoice) -> bool:
    """Whether ONNX that was made of ``model`` would be used: by the engine asked for, or by a plan."""
    wished = None if is_open(asked, choice) else _wished(asked, choice, model)
    return is_open(asked, choice) or (wished is not None and needs_onnx(wished, model))


def engine_or_stand_in(model: ModelFiles, asked: EngineWish, choice: ModelChoice) -> tuple[str, str]:
    """Name of the engine for ``model``; and of the one asked for, where Paddle stands in for it ("" else).

    It does where ONNX would have to be made of the model's Paddle program first. Raises ConfigError.
    """
    try:
        return choose_engine(model, asked, choice), ""
    except ConfigError:
        wished = _wished(asked, choice, model)
        if wished is None or not needs_onnx(wished, model):
            raise
        if not is_open(asked, choice) and (reason := missing()) is not None:
            text = (
                f"{model.name} cannot run on engine {wished}: {misfit(wished, model)}, and no ONNX: {reason}"
            )
            raise ConfigError(text) from None
        return "paddle", wished


def choose_engine(model: ModelFiles, asked: EngineWish, choice: ModelChoice) -> str:
    """Name of the engine for ``model``.

    Raises:
        ConfigError: the engine asked for cannot run it, or none can; says why.
    """
    wished = _wished(asked, choice, model)
    if wished is not None:
        if (reason := _objection(wished, model)) is not None:
            raise ConfigError(f"{model.name} cannot run on engine {wished}: {reason}")
        return wished
    names = sorted(set(AUTOMATIC) & set(engine_names()), key=AUTOMATIC.index)
    reasons = []
    for name in sorted(names, key=lambda name: not _at_its_best(name, model)):
        if (reason := _objection(name, model)) is None:
            return name
        reasons.append(f"{name}: {reason}")
    raise ConfigError(f"no engine can run {model.name} ({'; '.join(reasons)})")
