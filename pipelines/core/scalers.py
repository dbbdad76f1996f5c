"""A model's scaler: ``scaler.json``, and how one is made of PaddleX's ``scaler.pkl``.

A pickle can run any code, so a server never loads one. What is in ``scaler.pkl`` is read in a child without
running it (:mod:`pipelines.core.pickle_notes`), when the operator says so: with ``--allow_pickle_scaler``, or
once with ``python -m server models convert DIR``.
"""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from .config import ModelFiles
from .errors import ConfigError
from .inference_yml import Description

JSON, PICKLE = "scaler.json", "scaler.pkl"
#: Key of ``ModelFiles.files`` for a scaler that is not in the model's folder.
FILE = "scaler"
#: Largest pickle. 10,000 columns with names take 0.5 MB.
_MOST_BYTES = 4 << 20
#: Wall time of the child; it takes 0.05 s.
_CHILD_S = 20.0
_ROOT = Path(__file__).resolve().parents[2]
#: ``-I -S``: neither the environment nor installed packages have a part in it.
_CHILD = "import sys; sys.path.append(sys.argv[1]); from pipelines.core import pickled_scaler as c; c.main()"


class Scaler(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``scaler.json``: what is subtracted from each column, then what it is divided by.

    Attributes:
        columns: names; empty when the scaler was fitted on numbers without names.
        mean, scale: one number per column.
    """

    columns: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]

    def check(self, path: Path) -> Scaler:
        """Itself. Raises ConfigError, naming the file, when its numbers cannot be."""
        sizes = {len(self.mean), len(self.scale), len(self.columns) or len(self.mean)}
        if len(sizes) != 1 or not all(map(math.isfinite, self.mean + self.scale)) or 0.0 in self.scale:
            raise ConfigError(f"{path} must hold one finite mean and one scale other than 0 per column")
        return self


def read_scaler(path: Path) -> Scaler:
    """``scaler.json``. Raises ConfigError, with the ways out where there is only ``scaler.pkl``."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Scaler).check(path)
    except FileNotFoundError as error:
        if path.with_name(PICKLE).exists():
            raise ConfigError(_refusal(path.with_name(PICKLE))) from error
        raise ConfigError(f"{path.parent} has no {JSON}, and its inference.yml says scale") from error
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error


def with_scaler(model: ModelFiles, allowed: bool, cache: Path) -> ModelFiles:
    """The model, with a scaler made of its ``scaler.pkl`` if it needs that one.

    Args:
        model: any model.
        allowed: whether the operator allows it (``--allow_pickle_scaler``).
        cache: folder for what is made; it is found again by the pickle's SHA-256.

    Raises:
        ConfigError: it needs one and may not, or the pickle is no scaler.
    """
    pickle = Path(model.directory) / PICKLE
    if (
        not pickle.exists()
        or pickle.with_name(JSON).exists()
        or not Description(model.directory).top("scale")
    ):
        return model
    if not allowed:
        raise ConfigError(_refusal(pickle))
    data = _content(pickle)
    made = cache / "scalers" / f"{hashlib.sha256(data).hexdigest()}.json"
    if not made.exists():
        made.parent.mkdir(parents=True, exist_ok=True)
        _write(made, _unpickled(pickle, data))
    return msgspec.structs.replace(model, files={**model.files, FILE: str(made)})


def convert(folder: Path) -> tuple[Path, Scaler]:
    """Make ``scaler.json`` of ``scaler.pkl`` in a model's folder; it replaces no file. Raises ConfigError."""
    pickle, made = folder / PICKLE, folder / JSON
    if made.exists():
        raise ConfigError(f"{made} is there already; remove it to make it anew")
    scaler = _unpickled(pickle, _content(pickle))
    _write(made, scaler)
    return made, scaler


def _refusal(pickle: Path) -> str:
    return (
        f"{pickle} is a pickle, which can run code, and there is no {JSON} beside it: make that with "
        f"`python -m server models convert {pickle.parent}`, or start with --allow_pickle_scaler"
    )


def _content(pickle: Path) -> bytes:
    try:
        with pickle.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {pickle}: {error.strerror or error}") from error
    if len(data) > _MOST_BYTES:
        raise ConfigError(f"{pickle} is larger than {_MOST_BYTES >> 20} MiB, which no scaler is")
    return data


class _Answer(msgspec.Struct):
    """The child's line."""

    columns: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    error: str = ""


def _unpickled(pickle: Path, data: bytes) -> Scaler:
    """What a child finds in a pickle. Raises ConfigError."""
    refused = f"{pickle} cannot be used as a scaler"
    command = [sys.executable, "-I", "-S", "-c", _CHILD, str(_ROOT)]
    try:
        done = subprocess.run(
            command, input=data, capture_output=True, timeout=_CHILD_S, env={}, cwd="/", check=True
        )
        answer = msgspec.json.decode(done.stdout, type=_Answer)
    except subprocess.TimeoutExpired as error:
        raise ConfigError(f"{refused}: reading it takes more than {_CHILD_S:.0f} s") from error
    except (subprocess.CalledProcessError, msgspec.DecodeError) as error:
        raise ConfigError(f"{refused}: reading it took too much time or memory") from error
    if answer.error:
        raise ConfigError(f"{refused}: {answer.error}")
    return Scaler(answer.columns, answer.mean, answer.scale).check(pickle)


def _write(path: Path, scaler: Scaler) -> None:
    """All at once. Raises ConfigError."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            file.write(msgspec.json.format(msgspec.json.encode(scaler), indent=1) + b"\n")
        made = Path(file.name)
        made.chmod(0o644)
        made.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error
