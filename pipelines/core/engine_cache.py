"""Engines that take minutes to build for one GPU, and are kept."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from .config import ModelFiles
from .download import locked

T = TypeVar("T")
_log = logging.getLogger(__name__)


def engine_file(
    cache_dir: str | None, engine: str, model: ModelFiles, program: str, *what: Any
) -> Path | None:
    """Path of a built engine, whose folder is made; None where nothing is to be kept.

    Args:
        cache_dir: ``EngineOptions.cache_dir``.
        engine: who builds it.
        model: whose it is; without a digest of ``program`` nothing is kept.
        program: path of the file that it is built from.
        what: all else that it depends on: GPU, versions, precision, shapes.

    Raises:
        OSError: the folder cannot be made.
    """
    digest = model.sha256.get(Path(program).name)
    if cache_dir is None or digest is None:
        return None
    key = hashlib.sha256(repr((digest, what)).encode()).hexdigest()[:24]
    folder = Path(cache_dir) / engine
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{model.name}-{key}.engine"


def load_or_build(
    file: Path | None, load: Callable[[bytes], T | None], build: Callable[[], bytes]
) -> T | None:
    """What ``load`` makes of the kept engine, or of one that is built and kept now.

    Processes that want the same one wait for the first. A kept one that does not load is built again.

    Args:
        file: from :func:`engine_file`.
        load: gives None for what it cannot use.
        build: gives a serialized engine.
    """
    if file is None:
        return load(build())
    with locked(file.with_suffix(".lock")):
        if file.is_file():
            if (found := load(file.read_bytes())) is not None:
                return found
            _log.warning("%s does not load and is built again", file.name)
        plan = build()
        _write_whole(file, plan)
    return load(plan)


def _write_whole(file: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all; an engine that cannot be kept still serves."""
    try:
        descriptor, staged = tempfile.mkstemp(prefix=".build-", dir=file.parent)
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(content)
        Path(staged).replace(file)
    except OSError as error:
        _log.warning("a built engine is not kept: %s", error)
