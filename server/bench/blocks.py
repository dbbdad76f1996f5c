"""Two servers in turn: short blocks of the same requests at the same times, now to one, now to the other.

What the machine does meanwhile meets both alike, and half of the time either is the first of its pair.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from pipelines.core.errors import ConfigError
from server.bench.knee import Row

Side = Literal["a", "b"]
#: Loads one side with a block; the same number gives the same requests at the same times.
Measure = Callable[[Side, int], Row]


class Blocks(msgspec.Struct, frozen=True, tag="blocks", tag_field="kind"):
    """What one side did.

    Attributes:
        session: the same for both files of one measurement.
        url: of the server.
        what: what was sent, and how the server was asked.
        rows: one a block, in their order.
    """

    session: str
    url: str
    what: dict[str, str]
    rows: tuple[Row, ...]


def measure_in_turns(measure: Measure, count: int) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """``count`` blocks of each side, in the order a b, b a, a b, and so on."""
    rows: dict[Side, list[Row]] = {"a": [], "b": []}
    for number in range(count):
        sides: tuple[Side, Side] = ("a", "b") if number % 2 == 0 else ("b", "a")
        for side in sides:
            rows[side].append(measure(side, number))
    return tuple(rows["a"]), tuple(rows["b"])


def new_session() -> str:
    """Names one measurement of two servers."""
    return uuid.uuid4().hex


def write_blocks(path: Path, blocks: Blocks) -> None:
    """Write a file for :func:`read_blocks`. Raises OSError."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(blocks), indent=0))


def read_blocks(path: Path) -> Blocks:
    """Read one side. Raises ConfigError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Blocks)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{path} is no file of python -m server bench pair: {error}") from error
