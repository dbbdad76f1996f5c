"""Takes models out of this package: ``pipelines/weights/``."""

from __future__ import annotations

from pathlib import Path

from .cards import Packed
from .download import fsync_file, sha256_of
from .errors import ConfigError


def weights_folder() -> Path:
    """Where this package has its weights."""
    return Path(__file__).parents[1] / "weights"


def unpack(packed: Packed, target: Path) -> None:
    """Write one file from its parts. It is not linked: the package stays as it was installed.

    Raises ConfigError when the installation lacks a part or has other bytes than the card pins.
    """
    with target.open("wb") as file:
        for part in packed.parts:
            try:
                raw = (weights_folder() / part).read_bytes()
            except OSError as error:
                raise ConfigError(f"this installation lacks pipelines/weights/{part}: {error}") from error
            file.write(raw)
    found = sha256_of(target)
    if found != packed.sha256:
        joined = " + ".join(packed.parts)
        raise ConfigError(f"pipelines/weights: {joined} has sha256 {found}, not the one pinned")
    fsync_file(target)
