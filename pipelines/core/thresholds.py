"""Thresholds of multi-label models: for all, for each, or for some and a default (API reference, 10.5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

#: Bounds of JSON numbers that are thresholds: they are compared as float32.
Threshold = Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)]


class Thresholds(msgspec.Struct, frozen=True):
    """What each class must exceed.

    Attributes:
        default: of every class that ``classes`` does not name; None: of no class.
        classes: class indices; empty with no default: ``values`` has one number per class, in order.
        values: what these classes must exceed.
    """

    default: float | None = None
    classes: tuple[int, ...] = ()
    values: tuple[float, ...] = ()

    def limits(self, count: int) -> NDArray[np.float32]:
        """float32 ``[count]``: 3.x compares in that precision.

        Raises ValueError when they are of another number of classes.
        """
        if self.default is None:
            if len(self.values) != count:
                raise ValueError(f"the model has {count} classes, the list {len(self.values)} numbers")
            return np.array(self.values, np.float32)
        wrong = [index for index in self.classes if index >= count]
        if wrong:
            raise ValueError(f"class {wrong[0]} does not exist, the model has {count} classes")
        made = np.full(count, self.default, np.float32)
        made[list(self.classes)] = self.values
        return made


def read_thresholds(value: Any) -> Thresholds:
    """From a number, a list with one number per class, or a mapping of class indices and ``default``.

    Raises:
        ValueError: with a sentence, when it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, list, tuple, Mapping)):
        raise ValueError("must be a number, a list with one number per class, or a mapping with a default")
    if isinstance(value, (int, float)):
        return Thresholds(_number(value))
    if isinstance(value, Mapping):
        return _from_mapping(value)
    if not value:
        raise ValueError("the list is empty")
    return Thresholds(values=tuple(map(_number, value)))


def _from_mapping(value: Mapping[Any, Any]) -> Thresholds:
    if value.get("default") is None:
        raise ValueError("a mapping must have the key `default`")
    classes = {_index(key): _number(number) for key, number in value.items() if key != "default"}
    return Thresholds(_number(value["default"]), tuple(classes), tuple(classes.values()))


def _index(key: Any) -> int:
    text = str(key)
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise ValueError(f"{text[:20]!r} is not the index of a class")
    return int(text)


def _number(value: Any) -> float:
    try:
        return msgspec.convert(value, Threshold)
    except msgspec.ValidationError as error:
        raise ValueError(f"{value!r:.20} is no threshold") from error
