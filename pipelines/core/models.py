"""The model store: from a model's name to files on disk, checked by SHA-256.

Order: explicit folder, own cache, this package or a pinned wheel on PyPI (models with a card),
PaddleX's cache and official hubs (all other names). What the network answers never changes which
model a name means.

::

    <cache_dir>/models/<name>/    one complete exported model, with .stamp.json
    <cache_dir>/blobs/<sha256>    files out of wheels (hard-linked into models/)
    <cache_dir>/digests/<name>    digests of hub models, recorded on first use
    <cache_dir>/locks/            one per model and wheel
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

import msgspec

from .cards import Card, Member, Wheel, card_names, load_card, wheel_members, write_inference
from .config import ModelFiles
from .download import locked, say, sha256_of
from .errors import ConfigError
from .folders import Stamp, adopt, changed, describe, move, read_stamp, write_stamp
from .fonts import CJK_FONT
from .hub_models import HubModels
from .hubs import NAME, Hubs
from .official import package_of
from .packaged import unpack
from .wheels import WheelStore, link_or_copy


class Listed(msgspec.Struct, frozen=True):
    """One line of ``models list``. ``state`` is ``ready``, ``not fetched`` or what is wrong."""

    name: str
    task: str
    state: str
    origin: str


def default_cache_dir() -> Path:
    """``$XDG_CACHE_HOME/paddle-pipeline-server``, normally below ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    return Path(base) / "paddle-pipeline-server"


def resolve(
    name_or_dir: str, cache_dir: str | Path | None = None, stream: TextIO | None = None
) -> ModelFiles:
    """A model name or a model folder to its files, fetched when needed. Raises ConfigError."""
    store = ModelStore(cache_dir, stream)
    if os.sep in name_or_dir or Path(name_or_dir).is_dir():
        return store.resolve(None, name_or_dir)
    return store.resolve(name_or_dir)


class ModelStore:
    """Resolves, fetches and verifies models.

    Args:
        cache_dir: where everything is kept; None is :func:`default_cache_dir`.
        stream: where progress and notices go; None is silent.
        pip: replaces this interpreter's ``pip`` (tests).
        hubs: replaces the official hubs (tests); None reads the environment when needed.
    """

    def __init__(
        self,
        cache_dir: str | Path | None = None,
        stream: TextIO | None = None,
        *,
        pip: Sequence[str] | None = None,
        hubs: Hubs | None = None,
    ) -> None:
        self.root = Path(cache_dir or default_cache_dir()).absolute()
        self.stream = stream
        self._wheels = WheelStore(self.root, stream, pip)
        self._uncarded = HubModels(self.root, stream, hubs)

    def resolve(self, name: str | None, directory: str | None = None, *, onnx: bool = False) -> ModelFiles:
        """Files of model ``name``, or of the exported model in ``directory``.

        With both, the folder must hold a model of that name. ``onnx`` asks for the package in ONNX of an
        official model that has one, in place of that in Paddle format. Raises ConfigError.
        """
        model = self._resolve(name, directory, onnx)
        card = load_card(model.name)
        return msgspec.structs.replace(model, avoid=card[0].avoid) if card else model

    def _resolve(self, name: str | None, directory: str | None, onnx: bool) -> ModelFiles:
        if directory is not None:
            return adopt(Path(directory), name)
        if name is None:
            raise ConfigError("a model needs a name or a folder")
        if not NAME.fullmatch(name):
            raise ConfigError(f"{name!r} is neither a model name nor a folder that exists")
        loaded = load_card(name)
        if loaded is None:
            return self._uncarded.get(name, package_of(name, onnx))
        folder = self.root / "models" / name
        if (stamp := self._intact(folder, loaded[1])) is None:
            with locked(self.root / "locks" / f"{name}.lock"):
                stamp = self._intact(folder, loaded[1]) or self._install(name, folder, *loaded)
        return describe(name, folder, stamp)

    def font(self) -> str:
        """Path of the font with CJK glyphs for drawing, fetched when needed. Raises ConfigError."""
        member = Member(CJK_FONT.member, CJK_FONT.bytes, CJK_FONT.sha256)
        wheel = Wheel(CJK_FONT.package, CJK_FONT.version, CJK_FONT.wheel_bytes, {"font": member})
        if (path := self._wheels.blob(member)) is None:
            self._wheels.fetch(wheel)
            path = self._wheels.blob(member)
        if path is None:
            raise ConfigError(f"{wheel.pin} did not give its font")
        return str(path)

    def list(self) -> Iterator[Listed]:
        """Every model with a card, then what else is in the cache."""
        for name in card_names():
            if (loaded := load_card(name)) is None:
                continue
            card, digest = loaded
            folder = self.root / "models" / name
            state = "ready" if self._intact(folder, digest) else "not fetched"
            yield Listed(name, card.task, state, card.origin)
        for folder in sorted((self.root / "models").glob("*")):
            if folder.name[0] != "." and folder.name not in card_names():
                stamp = read_stamp(folder)
                yield Listed(
                    folder.name, "", "ready" if stamp else "incomplete", stamp.source if stamp else ""
                )

    def verify(self) -> Iterator[Listed]:
        """Read every fetched model again and compare each file with its digest."""
        for listed in self.list():
            folder = self.root / "models" / listed.name
            if (stamp := read_stamp(folder)) is None:
                continue
            loaded = load_card(listed.name)
            pinned = loaded[0].pinned if loaded else {}
            wrong = [
                file for file, known in stamp.files.items()
                if not (folder / file).is_file()
                or sha256_of(folder / file) != pinned.get(file, known.sha256)
            ]  # fmt: skip
            yield msgspec.structs.replace(listed, state=f"changed: {', '.join(wrong)}" if wrong else "ready")

    def _install(self, name: str, folder: Path, card: Card, digest: str) -> Stamp:
        """Fetch what is missing and put the folder in place in one step."""
        if folder.exists():
            say(self.stream, f"{name} has changed on disk or is outdated: setting it up again")
        for wheel in card.wheels:
            if any(self._wheels.blob(member) is None for member in wheel.members.values()):
                self._wheels.fetch(wheel, wheel_members(wheel.pin))
        folder.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=folder.parent))
        try:
            for wheel in card.wheels:
                for file, member in wheel.members.items():
                    link_or_copy(self.root / "blobs" / member.sha256, staged / file)
            for file, packed in card.package.items():
                unpack(packed, staged / file)
            if card.inference:
                write_inference(card, staged)
            stamp = write_stamp(staged, card.source, digest)
            move(staged, folder)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        return stamp

    def _intact(self, folder: Path, card: str) -> Stamp | None:
        """The stamp, when the folder was made from this card and no file has changed since."""
        stamp = read_stamp(folder)
        if stamp is None or stamp.card != card or any(True for _ in changed(folder, stamp)):
            return None
        return stamp
