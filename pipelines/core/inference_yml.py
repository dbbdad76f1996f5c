"""``inference.yml``: what an exported PaddleX model says about its own pre- and post-processing.

Layout: API reference, 7.1. The lists of operations of the OCR and classification families are read here,
those of detectors in ``detection_input.py``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec

from .errors import ConfigError
from .yaml_file import read_yaml

_FRACTION = re.compile(r"\s*([\d.]+)\s*/\s*([\d.]+)\s*")
#: Per channel, red first, of values between 0 and 1.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Normalization(msgspec.Struct, frozen=True):
    """``x * scale + shift`` per channel, as 3.x applies it (API reference, 9.3)."""

    scale: tuple[float, float, float]
    shift: tuple[float, float, float]


class Description:
    """One model's ``inference.yml``.

    Args:
        directory: the model's folder.

    Raises:
        ConfigError: the file is missing or is no YAML mapping.
    """

    def __init__(self, directory: str) -> None:
        self._path = Path(directory) / "inference.yml"
        loaded = read_yaml(self._path)
        if not isinstance(loaded, dict):
            raise ConfigError(f"{self._path} does not hold a mapping")
        self._document: dict[str, Any] = loaded

    def top(self, key: str) -> Any:
        """The value of a key at the top of the document; None when it is absent."""
        return self._document.get(key)

    @property
    def postprocess(self) -> Mapping[str, Any]:
        """The ``PostProcess`` section; empty when there is none."""
        return self._mapping(self._document.get("PostProcess"), "PostProcess")

    def operation(self, name: str) -> Mapping[str, Any] | None:
        """Arguments of one of ``PreProcess.transform_ops``; None when the operation is not listed."""
        operations = self._mapping(self._document.get("PreProcess"), "PreProcess").get("transform_ops")
        for entry in operations or []:
            if isinstance(entry, Mapping) and name in entry:
                return self._mapping(entry[name], name)
        return None

    def required(self, name: str) -> Mapping[str, Any]:
        """As :meth:`operation`. Raises ConfigError when the operation is not listed."""
        found = self.operation(name)
        if found is None:
            raise self.error(f"PreProcess.transform_ops has no {name}")
        return found

    def only_operations(self, known: Collection[str]) -> None:
        """Raise ConfigError when ``PreProcess.transform_ops`` lists an operation that is not in ``known``."""
        operations = self._mapping(self._document.get("PreProcess"), "PreProcess").get("transform_ops")
        for entry in operations or []:
            for name in entry if isinstance(entry, Mapping) else (entry,):
                if name not in known:
                    raise self.error(f"PreProcess.transform_ops: {name} is not supported")

    def normalization(self) -> Normalization:
        """``NormalizeImage``; what it leaves out is 1/255 and the ImageNet constants."""
        operation = self.operation("NormalizeImage") or {}
        factor = self.number(operation.get("scale") or "1./255.")
        mean, std = operation.get("mean"), operation.get("std")
        return self.constants(factor, mean or IMAGENET_MEAN, std or IMAGENET_STD)

    def constants(self, factor: float, means: Any, stds: Any, what: str = "NormalizeImage") -> Normalization:
        """``(x * factor - mean) / std`` in the two numbers of 3.x. Raises ConfigError about ``what``."""
        mean, std = self.triple(means, f"{what}.mean"), self.triple(stds, f"{what}.std")
        if 0.0 in std:
            raise self.error(f"{what}.std must not be 0")
        scale = [factor / value for value in std]
        shift = [-m / s for m, s in zip(mean, std, strict=True)]
        return Normalization((scale[0], scale[1], scale[2]), (shift[0], shift[1], shift[2]))

    def number(self, value: Any) -> float:
        """A number, or text such as ``1./255.`` (PaddleX evaluates it; only a fraction is accepted here)."""
        try:
            if isinstance(value, str) and (fraction := _FRACTION.fullmatch(value)):
                return float(fraction[1]) / float(fraction[2])
            return float(value)
        except (TypeError, ValueError, ArithmeticError):
            raise self.error(f"{_shown(value)} is not a number") from None

    def triple(self, value: Any, what: str) -> tuple[float, float, float]:
        """Three numbers, one per channel. Raises ConfigError."""
        try:
            first, second, third = (float(entry) for entry in value)
        except (TypeError, ValueError, ArithmeticError):
            raise self.error(f"{what} must be three numbers, not {_shown(value)}") from None
        return first, second, third

    def shape(self, value: Any, length: int, what: str) -> tuple[int, ...]:
        """A list of ``length`` positive integers. Raises ConfigError."""
        try:
            found = tuple(msgspec.convert(value, list[int]))
        except msgspec.ValidationError:
            found = ()
        if len(found) != length or min(found) < 1:
            raise self.error(f"{what} must be {length} positive integers, not {_shown(value)}")
        return found

    def labels(self, family: str) -> tuple[str, ...]:
        """``PostProcess.<family>.label_list`` as text. Raises ConfigError when it is missing."""
        listed = self._mapping(self.postprocess.get(family), family).get("label_list")
        if not isinstance(listed, list) or not listed:
            raise self.error(f"PostProcess.{family}.label_list is missing")
        return tuple(str(label) for label in listed)

    def label_list(self) -> tuple[str, ...]:
        """``label_list`` at the top of a detector's document. Raises ConfigError when it is missing."""
        listed = self.top("label_list")
        if not isinstance(listed, list) or not listed:
            raise self.error("label_list is missing")
        return tuple(str(label) for label in listed)

    def error(self, message: str) -> ConfigError:
        """A ConfigError that names this file."""
        return ConfigError(f"{self._path}: {message}")

    def _mapping(self, value: Any, what: str) -> Mapping[str, Any]:
        if value is not None and not isinstance(value, Mapping):
            raise self.error(f"{what} must be a mapping")
        return value or {}


def _shown(value: Any) -> str:
    """A value of the file for a message; Python refuses to write numbers of thousands of digits."""
    try:
        return repr(value)
    except ValueError:
        return "a number of thousands of digits"
