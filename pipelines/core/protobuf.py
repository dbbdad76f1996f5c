"""The protobuf wire format, read field by field: enough to look into a model without its framework."""

from __future__ import annotations

from collections.abc import Iterator

from .errors import ConfigError


def fields(raw: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(number, value) of each field of a message: an unsigned integer, or the bytes of a nested field.

    Fixed-width fields (floats) are skipped. Raises ConfigError when ``raw`` is no message.
    """
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(raw, at)
            yield tag >> 3, value
        elif kind == 2:
            size, at = _varint(raw, at)
            if at + size > len(raw):
                raise ConfigError("the model file is cut short")
            yield tag >> 3, raw[at : at + size]
            at += size
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ConfigError("the model file is not what its name says")


def messages(raw: memoryview, number: int) -> Iterator[memoryview]:
    """The nested fields with one number."""
    for found, value in fields(raw):
        if found == number and isinstance(value, memoryview):
            yield value


def text(raw: memoryview, number: int) -> str:
    """A string field; empty when absent."""
    return next((bytes(value).decode() for value in messages(raw, number)), "")


def signed(value: int) -> int:
    """A varint as int64: negative numbers are written as 2**64 - n."""
    return value - (1 << 64) if value >= 1 << 63 else value


def _varint(raw: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        if at >= len(raw):
            raise ConfigError("the model file is cut short")
        byte = raw[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise ConfigError("the model file is not what its name says")
