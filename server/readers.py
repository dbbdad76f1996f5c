"""From the text of an option to its value, wherever the text comes from."""

from __future__ import annotations

import argparse
from typing import Any

_UNITS = {"k": 10, "ki": 10, "m": 20, "mi": 20, "g": 30, "gi": 30}


class Secret(str):
    """The value of an option that is never printed: ``type=Secret``."""

    __slots__ = ()


class Whole:
    """Reads an integer of ``low`` to ``high``."""

    def __init__(self, low: int, high: int | None = None) -> None:
        self._low, self._high = low, high

    def __call__(self, text: str) -> int:
        """The number. Raises ArgumentTypeError."""
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if value < self._low or (self._high is not None and value > self._high):
            bounds = f"{self._low} to {self._high}" if self._high is not None else f"at least {self._low}"
            raise argparse.ArgumentTypeError(f"{value} is out of range, {bounds}")
        return value


def read_bytes(text: str) -> int:
    """Bytes, with an optional unit: ``1048576``, ``1024k``, ``1MiB``, ``2G`` (powers of 1024)."""
    digits = text.strip().lower().removesuffix("b")
    number = digits.rstrip("kmgi")
    shift = _UNITS.get(digits[len(number) :], 0 if digits == number else -1)
    if not number.isdecimal() or shift < 0 or int(number) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write bytes, or 64k, 256M, 2G")
    return int(number) << shift


def public(name: str, value: Any) -> str:
    """A limit's value as it may be typed again: ``256M`` for 268435456 bytes."""
    if name.endswith("_bytes") and value % (1 << 20) == 0:
        return f"{value >> 20}M"
    return str(value)
