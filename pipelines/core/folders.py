"""Model folders: which formats one holds, and whether its files are still what was put there."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from .config import ModelFiles
from .download import sha256_of
from .errors import ConfigError
from .yaml_file import read_yaml

#: format to its program file; ``params`` goes with ``pdmodel`` and ``pir`` (API reference, section 7).
PROGRAMS = {
    "onnx": "inference.onnx",
    "pdmodel": "inference.pdmodel",
    "pir": "inference.json",
    "ir": "inference.xml",
    "fake": "fake.json",
}
PARAMS = "inference.pdiparams"
DESCRIPTION = "inference.yml"
_STAMP = ".stamp.json"


class _Stamped(msgspec.Struct):
    sha256: str
    bytes: int


class Stamp(msgspec.Struct):
    """What is known about a model folder: origin, the card's digest, and each file."""

    source: str
    card: str
    files: dict[str, _Stamped]


def describe(name: str, folder: Path, stamp: Stamp | None) -> ModelFiles:
    """What the folder holds, by format. Raises ConfigError when there is no program in it."""
    files = {kind: str(folder / file) for kind, file in PROGRAMS.items() if (folder / file).is_file()}
    if (folder / PARAMS).is_file():
        files["params"] = str(folder / PARAMS)
    else:
        for kind in ("pdmodel", "pir"):
            files.pop(kind, None)
    if "ir" in files and not (folder / "inference.bin").is_file():
        del files["ir"]
    if not files.keys() - {"params"}:
        programs = ", ".join(PROGRAMS.values())
        raise ConfigError(f"{folder} holds no model: it needs one of {programs} with its weights")
    digests = {file: known.sha256 for file, known in stamp.files.items()} if stamp else {}
    return ModelFiles(name, str(folder), files, digests, stamp.source if stamp else "")


def model_name(folder: Path) -> str:
    """``Global.model_name`` of the folder's description. Raises ConfigError."""
    path = folder / DESCRIPTION
    loaded = read_yaml(path)
    found = loaded.get("Global") if isinstance(loaded, dict) else None
    name = found.get("model_name") if isinstance(found, dict) else None
    if not isinstance(name, str):
        raise ConfigError(f"{path} has no Global.model_name")
    return name


def adopt(folder: Path, name: str | None) -> ModelFiles:
    """Somebody else's folder, used where it lies; it must hold model ``name`` if that is given.

    Raises ConfigError.
    """
    folder = folder.absolute()
    if not folder.is_dir():
        raise ConfigError(f"model folder not found: {folder}")
    if not (folder / DESCRIPTION).is_file():
        raise ConfigError(f"{folder} has no {DESCRIPTION}")
    own = model_name(folder)
    if name is not None and own != name:
        raise ConfigError(f"{folder} holds model {own!r}, not {name!r}")
    model = describe(own, folder, None)
    digests = {Path(path).name: sha256_of(Path(path)) for path in model.files.values()}
    return msgspec.structs.replace(model, sha256=digests, source=str(folder))


def write_stamp(folder: Path, source: str, card: str) -> Stamp:
    """Record digest and size of every file of a new folder."""
    files = {}
    for path in sorted(folder.iterdir()):
        if not path.name.startswith("."):
            files[path.name] = _Stamped(sha256_of(path), path.stat().st_size)
    stamp = Stamp(source, card, files)
    (folder / _STAMP).write_bytes(msgspec.json.encode(stamp))
    return stamp


def read_stamp(folder: Path) -> Stamp | None:
    """The stamp of a folder, or None when there is none that can be read."""
    try:
        return msgspec.json.decode((folder / _STAMP).read_bytes(), type=Stamp)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None


def changed(folder: Path, stamp: Stamp) -> Iterator[str]:
    """Files that are not what the stamp says. All are read: 1 GB takes a second or two, at start only."""
    for file, known in stamp.files.items():
        path = folder / file
        try:
            status = path.stat()
        except FileNotFoundError:
            yield file
            continue
        if status.st_size != known.bytes or sha256_of(path) != known.sha256:
            yield file


def move(staged: Path, folder: Path) -> None:
    """Put ``staged`` in the place of ``folder`` (the caller holds the lock)."""
    staged.chmod(0o755)
    if folder.exists():
        old = Path(tempfile.mkdtemp(prefix=".old.", dir=folder.parent))
        folder.rename(old / "model")
        staged.rename(folder)
        shutil.rmtree(old)
    else:
        staged.rename(folder)
