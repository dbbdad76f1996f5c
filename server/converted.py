"""ONNX files that were made of Paddle programs: ``<cache_dir>/converted/<model>-<key>/``.

A folder holds ``inference.onnx`` and ``result.json``, or ``result.json`` alone for a model whose conversion
is not to be used. The key is over the program and what converts it: with another release it is tried anew.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from pipelines.core.config import ModelFiles
from pipelines.core.download import fsync_file, sha256_of
from pipelines.core.folders import move
from pipelines.core.onnx_export import program_of, versions

#: Goes up when a change of this code makes conversions of before worthless.
_VERSION = 1
_PROGRAM, _RESULT = "inference.onnx", "result.json"


class Conversion(msgspec.Struct, frozen=True):
    """What came of one.

    Attributes:
        sha256: of the ONNX file; "" when there is none.
        refused: why what was made is not used; "" when it is.
        difference: largest absolute difference of outputs from Paddle's; None when shapes differ.
    """

    sha256: str = ""
    refused: str = ""
    difference: float | None = None


def folder_of(root: Path, model: ModelFiles) -> Path:
    """Where the conversion of ``model`` is kept below the cache folder ``root``."""
    paths = [path for path in (program_of(model), model.files.get("params")) if path is not None]
    digests = [model.sha256.get(Path(path).name) or sha256_of(Path(path)) for path in paths]
    facts = repr((_VERSION, digests, sorted(versions().items())))
    return root / "converted" / f"{model.name}-{hashlib.sha256(facts.encode()).hexdigest()[:24]}"


def read_conversion(
    root: Path, model: ModelFiles, notice: Callable[[str], None] | None = None
) -> Conversion | None:
    """What is known of the conversion of ``model``; None when nothing is, or its file is damaged.

    ``notice`` takes a line about a file that is.
    """
    folder = folder_of(root, model)
    try:
        found = msgspec.json.decode((folder / _RESULT).read_bytes(), type=Conversion)
        if not found.refused and sha256_of(folder / _PROGRAM) != found.sha256:
            raise ValueError("its checksum is wrong")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        if notice:
            notice(f"the conversion {folder} is not used: {' '.join(str(error).split())}")
        return None
    return found


def keep_conversion(root: Path, model: ModelFiles, program: Path | None, found: Conversion) -> None:
    """Put a conversion in its place in one step; the caller holds the lock. Raises OSError."""
    folder = folder_of(root, model)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=".new.", dir=folder.parent))
    try:
        if program is not None:
            shutil.copyfile(program, staged / _PROGRAM)
            fsync_file(staged / _PROGRAM)
            found = msgspec.structs.replace(found, sha256=sha256_of(staged / _PROGRAM))
        (staged / _RESULT).write_bytes(msgspec.json.encode(found))
        fsync_file(staged / _RESULT)
        move(staged, folder)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def with_onnx(root: Path, model: ModelFiles, notice: Callable[[str], None] | None = None) -> ModelFiles:
    """The model, with the ONNX file that was made of its program where there is one to be used."""
    if program_of(model) is None:
        return model
    found = read_conversion(root, model, notice)
    if found is None or found.refused:
        return model
    path = str(folder_of(root, model) / _PROGRAM)
    return msgspec.structs.replace(
        model, files=model.files | {"onnx": path}, sha256=model.sha256 | {_PROGRAM: found.sha256}
    )
