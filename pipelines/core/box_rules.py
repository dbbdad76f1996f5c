"""What happens to a detector's rows between its network and the answer (API reference, 9.4).

Rows are float32 ``[N, 6]``: class, score, x1, y1, x2, y2 in pixels of the source picture. Comparisons
are in float32, as NumPy makes them in PaddleX.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from kernels.nms import nms

from .errors import EngineError

#: Overlap from which the weaker of two boxes goes: of one class, and of two (PaddleX, ``layout_nms``).
_IOU_SAME, _IOU_OTHER = 0.6, 0.98
#: Share of a box that lies in another from which it counts as contained.
_CONTAINED = 0.9
#: Share of the page from which an ``image`` box is a mistake: on pages wider than high, and on others.
_WIDE_PAGE, _HIGH_PAGE = 0.82, 0.93
#: Score that a class needs which a map of thresholds does not name.
_UNNAMED = 0.5

MERGE_MODES = ("union", "large", "small")

Rows = NDArray[np.float32]
Places = NDArray[np.int64]
#: One score for all classes, or class id to score.
Threshold = float | dict[int, float]
#: (across, down) for all classes, or class id to such a pair.
UnclipRatio = tuple[float, float] | dict[int, tuple[float, float]]
#: A word of MERGE_MODES for all classes, or class id to such a word.
MergeMode = str | dict[int, str]


class BoxRules(msgspec.Struct, frozen=True):
    """What a request or a pipeline says; None is the next one's word, at last the model's.

    Attributes:
        threshold: rows stay when their score is above it.
        layout_nms: drop what overlaps a stronger box.
        layout_unclip_ratio: boxes grow about their centres by these factors.
        layout_merge_bboxes_mode: of boxes inside each other keep the ``large`` or the ``small`` ones.
        v3: False leaves out what 3.x has added: the last three, the rule about ``image`` boxes,
            and that boxes without an area are dropped.
    """

    threshold: Threshold | None = None
    layout_nms: bool = False
    layout_unclip_ratio: UnclipRatio | None = None
    layout_merge_bboxes_mode: MergeMode | None = None
    v3: bool = True

    def over(self, other: BoxRules) -> BoxRules:
        """These rules, completed from ``other``.

        As in PaddleX a layout rule that is False or empty counts as not given; a threshold of 0 is one.
        """
        return BoxRules(
            other.threshold if self.threshold is None else self.threshold,
            self.layout_nms or other.layout_nms,
            self.layout_unclip_ratio or other.layout_unclip_ratio,
            self.layout_merge_bboxes_mode or other.layout_merge_bboxes_mode,
            self.v3,
        )


class Boxes(msgspec.Struct, frozen=True):
    """Objects of one picture.

    Attributes:
        rows: float32 ``[N, 6]``, inside the picture.
        labels: N names.
    """

    rows: np.ndarray
    labels: list[str]


def boxes_of(
    found: Rows, names: Sequence[str], width: int, height: int, rules: BoxRules
) -> tuple[Boxes, Places]:
    """A network's rows to a picture's objects, and which rows they were.

    Args:
        found: float32 ``[N, 6]``; ``[N, 7]`` and ``[N, 8]`` have reading-order columns behind, which sort.
        names: the model's ``label_list``.
        width: of the source picture, pixels.
        height: of the source picture, pixels.
        rules: complete but for the layout rules, which may be absent.

    Raises:
        EngineError: rows of another width, or a class that has no name.
    """
    if found.ndim != 2 or found.shape[1] not in (6, 7, 8):
        raise EngineError(f"the model gives rows of shape {found.shape}, not [N, 6]")
    kept = above(found, rules.threshold)
    if rules.v3:
        if rules.layout_nms:
            kept = kept[nms(found[kept, :6], _IOU_SAME, _IOU_OTHER, plus=1.0)]
        kept = _without_page_images(found, kept, names, width, height)
        if rules.layout_merge_bboxes_mode:
            kept = kept[_merged(found[kept], names, rules.layout_merge_bboxes_mode)]
        if found.shape[1] > 6:
            kept = _in_reading_order(found, kept)
    rows = found[kept, :6]
    if rules.v3 and rules.layout_unclip_ratio:
        _unclip(rows, rules.layout_unclip_ratio)
    return within(rows, kept, names, width, height, solid=rules.v3)


def within(
    rows: Rows, kept: Places, names: Sequence[str], width: int, height: int, *, solid: bool
) -> tuple[Boxes, Places]:
    """Objects of a picture of ``width`` x ``height``, their boxes cut to it (in place), and their ``kept``.

    With ``solid`` boxes without an area are dropped. Raises EngineError for a class that has no name.
    """
    # fmax and fmin: like Python's max and min they take the bound for a coordinate that is no number.
    np.fmax(rows[:, 2:4], 0, out=rows[:, 2:4])
    np.fmin(rows[:, 4:6], (width, height), out=rows[:, 4:6], casting="same_kind")
    if solid:
        full = (rows[:, 4] > rows[:, 2]) & (rows[:, 5] > rows[:, 3])
        rows, kept = rows[full], kept[full]
    return Boxes(rows, _named(rows[:, 0], names)), kept


def _named(classes: NDArray[np.float32], names: Sequence[str]) -> list[str]:
    numbers = classes.astype(np.int64)
    if len(numbers) and numbers.max() >= len(names):
        raise EngineError(f"the model found class {numbers.max()}, its label_list has {len(names)}")
    return [names[number] for number in numbers.tolist()]


def above(found: Rows, threshold: Threshold | None) -> Places:
    """Places of rows that are above their threshold; with a map they come class by class."""
    if not isinstance(threshold, Mapping):
        return np.flatnonzero((found[:, 1] > np.float32(threshold or 0.0)) & (found[:, 0] > -1))
    order = np.argsort(found[:, 0], kind="stable")
    classes = found[order, 0]
    limits = np.array([threshold.get(int(number), _UNNAMED) for number in classes.tolist()], np.float32)
    return np.compress((found[order, 1] > limits) & (classes > -1), order)


def _without_page_images(found: Rows, kept: Places, names: Sequence[str], width: int, height: int) -> Places:
    """Drop ``image`` boxes that cover the page, unless nothing else would be left."""
    if len(kept) < 2 or "image" not in names:
        return kept
    rows = found[kept]
    wide = np.fmin(rows[:, 4], np.float32(width)) - np.fmax(rows[:, 2], np.float32(0))
    high = np.fmin(rows[:, 5], np.float32(height)) - np.fmax(rows[:, 3], np.float32(0))
    most = np.float32((_WIDE_PAGE if width > height else _HIGH_PAGE) * (width * height))
    small = (rows[:, 0] != names.index("image")) | (wide * high <= most)
    return kept[small] if small.any() else kept


def _merged(rows: Rows, names: Sequence[str], mode: MergeMode) -> NDArray[np.bool_]:
    """Which boxes stay of those that lie in each other."""
    stay = np.ones(len(rows), np.bool_)
    inside = None
    for number, word in mode.items() if isinstance(mode, Mapping) else [(None, mode)]:
        if word == "union":
            continue
        if inside is None:
            inside = _containment(rows, names)
        pairs = inside
        if number is not None:
            of_class = rows[:, 0] == number
            pairs = inside & (of_class[np.newaxis, :] if word == "large" else of_class[:, np.newaxis])
        contained, containing = pairs.any(axis=1), pairs.any(axis=0)
        stay &= ~contained if word == "large" else ~containing | contained
    return stay


def _containment(rows: Rows, names: Sequence[str]) -> NDArray[np.bool_]:
    """``[N, N]``: box i lies in box j. A formula lies in formulas only."""
    x1, y1, x2, y2 = rows[:, 2:6].T
    across = np.minimum(x2[:, np.newaxis], x2) - np.maximum(x1[:, np.newaxis], x1)
    down = np.minimum(y2[:, np.newaxis], y2) - np.maximum(y1[:, np.newaxis], y1)
    area = (x2 - x1) * (y2 - y1)
    common = np.maximum(across, 0) * np.maximum(down, 0)
    share = np.divide(common, area[:, np.newaxis], out=np.zeros_like(common), where=area[:, np.newaxis] > 0)
    inside: NDArray[np.bool_] = share >= np.float32(_CONTAINED)
    np.fill_diagonal(inside, False)
    if "formula" in names:
        formula = rows[:, 0] == names.index("formula")
        inside &= ~(formula[:, np.newaxis] & ~formula)
    return inside


def _in_reading_order(found: Rows, kept: Places) -> Places:
    """By column 6, and where that is equal by falling column 7 if there is one."""
    first, second = found[kept, 6], -found[kept, found.shape[1] - 1]
    return np.take(kept, np.lexsort([second, first] if found.shape[1] == 8 else [first]))


def _unclip(rows: Rows, ratio: UnclipRatio) -> None:
    """Scale boxes about their centres, in place."""
    across, down = np.ones((2, len(rows)), np.float32)
    if isinstance(ratio, Mapping):
        for number, (wide, high) in ratio.items():
            across[rows[:, 0] == number], down[rows[:, 0] == number] = wide, high
        changed = np.isin(rows[:, 0], list(ratio))
    else:
        across[:], down[:] = ratio
        changed = np.ones(len(rows), np.bool_)
    for low, high, factor in ((2, 4, across), (3, 5, down)):
        size = rows[:, high] - rows[:, low]
        centre, grown = rows[:, low] + size / 2, size * factor
        rows[changed, low] = (centre - grown / 2)[changed]
        rows[changed, high] = (centre + grown / 2)[changed]
