"""Rules of :mod:`box_rules` as YAML files write them: in a model's ``inference.yml``, in a sub-module."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from .box_rules import MERGE_MODES, BoxRules, MergeMode, Threshold, UnclipRatio
from .errors import ConfigError
from .inference_yml import Description
from .yaml_config import Section

T = TypeVar("T")

#: Scores below which 3.x draws nothing when the model does not say.
_DRAW_THRESHOLD = 0.5


def model_rules(about: Description) -> BoxRules:
    """``draw_threshold`` and the optional layout keys. Raises ConfigError."""

    def fault(key: str, message: str) -> ConfigError:
        return about.error(f"{key} {message}")

    drawn = about.top("draw_threshold")
    return _rules(about.top, fault, _DRAW_THRESHOLD if drawn is None else about.number(drawn))


def module_rules(module: Section, path: str) -> BoxRules:
    """The same keys of a sub-module in a 3.x pipeline YAML, ``threshold`` among them. Raises ConfigError."""

    def take(key: str) -> Any:
        return module.take(key, object, None)

    def fault(key: str, message: str) -> ConfigError:
        return ConfigError(f"{path}.{key} {message}")

    threshold = take("threshold")
    return _rules(take, fault, None if threshold is None else _threshold(threshold, fault))


def _rules(
    take: Callable[[str], Any], fault: Callable[[str, str], ConfigError], threshold: Threshold | None
) -> BoxRules:
    ratio, mode, nms = (take(f"layout_{key}") for key in ("unclip_ratio", "merge_bboxes_mode", "nms"))
    if not isinstance(nms, bool | None):
        raise fault("layout_nms", "must be true or false")
    return BoxRules(
        threshold,
        bool(nms),
        None if ratio is None else _unclip_ratio(ratio, fault),
        None if mode is None else _merge_mode(mode, fault),
    )


def _threshold(value: Any, fault: Callable[[str, str], ConfigError]) -> Threshold:
    if isinstance(value, Mapping):
        return _by_class(value, lambda entry: _number(entry, "threshold", fault), "threshold", fault)
    return _number(value, "threshold", fault)


def _unclip_ratio(value: Any, fault: Callable[[str, str], ConfigError]) -> UnclipRatio | None:
    """A number, two, or a map to two; 0 is none."""
    key = "layout_unclip_ratio"

    def pair(entry: Any) -> tuple[float, float]:
        if not isinstance(entry, (list, tuple)) or len(entry) != 2:
            raise fault(key, f"must hold two numbers, not {entry!r}")
        return _number(entry[0], key, fault), _number(entry[1], key, fault)

    if isinstance(value, Mapping):
        return _by_class(value, pair, key, fault)
    if isinstance(value, (list, tuple)):
        return pair(value)
    ratio = _number(value, key, fault)
    return (ratio, ratio) if ratio else None


def _merge_mode(value: Any, fault: Callable[[str, str], ConfigError]) -> MergeMode:
    key = "layout_merge_bboxes_mode"

    def word(entry: Any) -> str:
        if entry not in MERGE_MODES:
            raise fault(key, f"must be one of {', '.join(MERGE_MODES)}, not {entry!r}")
        return str(entry)

    return _by_class(value, word, key, fault) if isinstance(value, Mapping) else word(value)


def _by_class(
    value: Mapping[Any, Any], read: Callable[[Any], T], key: str, fault: Callable[[str, str], ConfigError]
) -> dict[int, T]:
    for number in value:
        if not isinstance(number, int) or isinstance(number, bool):
            raise fault(key, f"must have class ids as keys, not {number!r}")
    return {number: read(entry) for number, entry in value.items()}


def _number(value: Any, key: str, fault: Callable[[str, str], ConfigError]) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise fault(key, f"must be a number, not {value!r}")
    return float(value)
