"""Models without a card: PaddleX's own cache and hubs, with digests recorded on first use."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path
from typing import TextIO

import msgspec

from .config import ModelFiles
from .download import locked, say
from .errors import ConfigError
from .folders import DESCRIPTION, Stamp, adopt, changed, describe, model_name, move, read_stamp, write_stamp
from .hubs import Hubs
from .official import nearest, official, task_of


class HubModels:
    """The part of the model store below ``root`` that official names fill.

    Args:
        root, stream: of the store.
        hubs: None reads the environment when needed.
    """

    def __init__(self, root: Path, stream: TextIO | None, hubs: Hubs | None) -> None:
        self._root, self._stream, self._hubs = root, stream, hubs

    def get(self, name: str, package: str) -> ModelFiles:
        """Model ``name`` out of one of its packages: own cache, PaddleX's cache, official hubs.

        Raises ConfigError.
        """
        folder = self._root / "models" / package
        if stamp := read_stamp(folder):
            self._enforce(name, folder, stamp)
            return describe(name, folder, stamp)
        home = Path(os.environ.get("PADDLE_PDX_CACHE_HOME") or Path("~/.paddlex").expanduser())
        if (home / "official_models" / package / DESCRIPTION).is_file():
            return adopt(home / "official_models" / package, name)
        if task_of(name) is None:
            raise ConfigError(_unknown(name))
        waiting = partial(say, self._stream, f"waiting for another process that is fetching {package}")
        with locked(self._root / "locks" / f"{package}.lock", waiting):
            if (stamp := read_stamp(folder)) is None:
                stamp = self._from_hub(name, package, folder)
        return describe(name, folder, stamp)

    def _from_hub(self, name: str, package: str, folder: Path) -> Stamp:
        part = self._root / "models" / f".{package}.part"  # kept when broken off, so that it can be continued
        part.mkdir(parents=True, exist_ok=True)
        source = (self._hubs or Hubs.from_environment()).fetch(package, part, self._stream)
        try:
            stamp = write_stamp(part, source, "")
            self._compare(package, stamp)
            describe(name, part, stamp)
            if (own := model_name(part)) != name:
                raise ConfigError(f"it holds model {own!r}")
            self._record(package, stamp)
        except ConfigError as error:
            shutil.rmtree(part)
            raise ConfigError(f"{package} from {source} cannot be used: {error}") from error
        move(part, folder)
        return stamp

    def _compare(self, package: str, stamp: Stamp) -> None:
        """Raise ConfigError when a package is not what it was when it was first fetched."""
        record, digests = self._digests(package), _sha256(stamp)
        if record.exists() and (before := msgspec.json.decode(record.read_bytes())) != digests:
            both = before.keys() | digests.keys()
            differing = sorted(file for file in both if before.get(file) != digests.get(file))
            raise ConfigError(f"other {', '.join(differing)} than on first use; delete {record} to accept it")

    def _record(self, package: str, stamp: Stamp) -> None:
        record = self._digests(package)
        record.parent.mkdir(parents=True, exist_ok=True)
        if not record.exists():
            record.write_bytes(msgspec.json.encode(_sha256(stamp)))
            for file, digest in _sha256(stamp).items():
                say(self._stream, f"{package}/{file} sha256 {digest} (recorded on first use)")

    def _digests(self, package: str) -> Path:
        return self._root / "digests" / f"{package}.json"

    def _enforce(self, name: str, folder: Path, stamp: Stamp) -> None:
        for file in changed(folder, stamp):
            raise ConfigError(
                f"{folder / file} differs from what was fetched; delete {folder} to fetch {name} anew"
            )


def _sha256(stamp: Stamp) -> dict[str, str]:
    return {file: known.sha256 for file, known in stamp.files.items()}


def _unknown(name: str) -> str:
    if name in official().others:
        return f"{name} is a model of PaddleX that no pipeline here can use"
    close = nearest(name)
    guess = f"did you mean {close}?" if close else "python -m server models names lists what is known"
    return f"unknown model {name!r}; {guess}"
