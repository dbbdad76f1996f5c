"""What PaddleX's model names are, without asking anybody (``official_models.yml``)."""

from __future__ import annotations

import difflib
from functools import cache
from pathlib import Path

import msgspec
import yaml

from .cards import card_names

#: Added to a model's name for its package in ONNX, as PaddleX does.
ONNX_SUFFIX = "_onnx"


class Official(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """PaddleX's names.

    Attributes:
        tasks: PaddleX's module name to the names of its models.
        others: models for which there is no pipeline here.
        repositories: tasks whose models are on the hubs with repositories, not only on BOS.
        onnx: models that have a package in ONNX as well.
    """

    tasks: dict[str, frozenset[str]]
    others: frozenset[str]
    repositories: frozenset[str]
    onnx: frozenset[str]


@cache
def official() -> Official:
    """The table that ships with this package."""
    raw = Path(__file__).with_name("official_models.yml").read_bytes()
    return msgspec.convert(yaml.safe_load(raw), Official)


def task_of(name: str) -> str | None:
    """The module that a PaddleX model belongs to; None for names that no pipeline here can use."""
    return next((task for task, names in official().tasks.items() if name in names), None)


def in_repositories(package: str) -> bool:
    """Whether HuggingFace, AI Studio and ModelScope have a package; BOS has every one."""
    return task_of(package.removesuffix(ONNX_SUFFIX)) in official().repositories


def package_of(name: str, onnx: bool) -> str:
    """What to fetch for a model: its package in ONNX where that is wanted and exists."""
    return name + ONNX_SUFFIX if onnx and name in official().onnx else name


def nearest(name: str) -> str | None:
    """The known name that is most like ``name``, or None when none is close. Case does not count."""
    known = [*card_names(), *(each for names in official().tasks.values() for each in sorted(names))]
    folded = {each.casefold(): each for each in known}
    close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else None
