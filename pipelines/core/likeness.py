"""Whether two engines' answers say the same, in the terms of a task: texts, boxes, pixels, numbers.

Every function returns None for a yes, else one line that names a difference. Engines that compute in f32
differ by 1e-5 or less on the networks here, far inside all of these limits; they decide about bf16, fp16
and int8, and find engines that are wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

#: Characters that may differ; golden cases ask as much of the lines of another engine (tests/golden).
TEXT_SHARE = 0.005
#: Overlap (intersection over union) of two outlines of one text line. A line 12 px high that has shifted
#: by 1 px keeps 0.85; below 0.75 ascenders are cut off.
QUAD_IOU = 0.75
#: Corners this near are the same, however thin the box, pixels.
QUAD_PIXELS = 2.0
#: Overlap of two boxes of one object, and how far its score may be off.
BOX_IOU, BOX_SCORE = 0.9, 0.05
#: How far the probability of a class may be off.
PROBABILITY = 0.02
#: Pixels of a picture that may get another label.
PIXEL_SHARE = 0.005
#: How far a value of a series may be off, in the range of the values expected.
SERIES_SHARE = 0.01
#: Cosine of the angle between two embeddings of one text; unrelated ones have 0.0 to 0.3.
COSINE = 0.999


def same(expected: Any, found: Any) -> str | None:
    """Equal, but for the last digits of floats."""
    if isinstance(expected, msgspec.Struct):
        expected = msgspec.structs.asdict(expected)
        found = msgspec.structs.asdict(found) if isinstance(found, msgspec.Struct) else found
    if isinstance(expected, Mapping):
        alike = isinstance(found, Mapping) and expected.keys() == found.keys()
        parts = [(expected[key], found[key]) for key in expected] if alike else None
    elif isinstance(expected, (list, tuple)):
        alike = isinstance(found, (list, tuple)) and len(expected) == len(found)
        parts = list(zip(expected, found, strict=True)) if alike else None
    elif isinstance(expected, (float, np.ndarray)):
        alike = np.shape(expected) == np.shape(found) and np.allclose(expected, found, rtol=1e-3, atol=1e-4)
        parts = [] if alike else None
    else:
        parts = [] if expected == found else None
    if parts is None:
        return f"{found!r:.60} for {expected!r:.60}"
    return next((words for pair in parts if (words := same(*pair)) is not None), None)


def texts(expected: Sequence[str], found: Sequence[str]) -> str | None:
    """At least 99.5 % of the characters of all lines together are right."""
    pairs = list(zip(expected, found, strict=True))
    wrong = [distance(*pair) for pair in pairs]
    total = max(1, sum(map(len, expected)))
    if sum(wrong) <= TEXT_SHARE * total:
        return None
    one, other = pairs[int(np.argmax(wrong))]
    return f"{sum(wrong)} of {total} characters differ: {other!r:.60} for {one!r:.60}"


def distance(one: str, other: str) -> int:
    """Levenshtein's: how many characters must be added, dropped or changed."""
    if one == other:
        return 0
    row = list(range(len(other) + 1))
    for place, letter in enumerate(one, start=1):
        before, row[0] = row[0], place
        for column, against in enumerate(other, start=1):
            least = min(row[column] + 1, row[column - 1] + 1, before + (letter != against))
            before, row[column] = row[column], least
    return row[-1]


def quads(expected: NDArray[Any], found: NDArray[Any]) -> str | None:
    """As many outlines ``[N, 4, 2]``, and each where one of the others is."""
    if len(expected) != len(found):
        return f"{len(found)} boxes for {len(expected)}"
    if not len(expected):
        return None
    centres = found.mean(axis=1)
    for quad in expected.astype(np.float32):
        nearest = int(np.square(centres - quad.mean(axis=0)).sum(axis=1).argmin())
        other = found[nearest].astype(np.float32)
        overlap = 1.0 if np.abs(quad - other).max() <= QUAD_PIXELS else _overlap(quad, other)
        if overlap < QUAD_IOU:
            corners = quad.astype(int).tolist()
            return f"the box at {corners} overlaps by {overlap:.2f}"
    return None


def _overlap(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Intersection over union of two convex outlines."""
    common, _ = cv2.intersectConvexConvex(one, other)
    union = cv2.contourArea(one) + cv2.contourArea(other) - common
    return float(common / union) if union > 0 else 0.0


def boxes(expected: NDArray[np.float32], found: NDArray[np.float32]) -> tuple[str | None, list[int]]:
    """As many objects (rows of class, score, x1, y1, x2, y2), each of its class, place and score.

    Returns:
        The difference, and for each row expected the one that was found in its place.
    """
    if len(expected) != len(found):
        return f"{len(found)} objects for {len(expected)}", []
    partners: list[int] = []
    for row in expected:
        overlaps = np.where(found[:, 0] == row[0], iou(row[2:6], found[:, 2:6]), -1.0)
        overlaps[partners] = -1.0  # two objects in one place have two partners
        best = int(overlaps.argmax())
        if overlaps[best] < BOX_IOU:
            return f"no box near {row[2:6].astype(int).tolist()} (class {int(row[0])}, {row[1]:.2f})", []
        if abs(found[best, 1] - row[1]) > BOX_SCORE:
            return f"a score of {found[best, 1]:.3f} for {row[1]:.3f}", []
        partners.append(best)
    return None, partners


def iou(box: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of a box x1, y1, x2, y2 with each of ``[N, 4]``."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    common = np.clip(high - low, 0, None).prod(axis=1)
    union = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(axis=1) - common
    return np.where(union > 0, common / np.maximum(union, 1e-9), 1.0).astype(np.float32)


def pixels(expected: NDArray[Any], found: NDArray[Any]) -> str | None:
    """At least 99.5 % of the pixels have the same label."""
    if expected.shape != found.shape:
        return f"a map of {found.shape} for {expected.shape}"
    other = float(np.mean(expected != found))
    return f"{other:.2%} of the pixels differ" if other > PIXEL_SHARE else None


def probabilities(expected: NDArray[np.float32], found: NDArray[np.float32]) -> str | None:
    """No class is off by more than 0.02."""
    if expected.shape != found.shape:
        return f"{found.shape} scores for {expected.shape}"
    worst = int(np.abs(expected - found).argmax())
    if not abs(expected[worst] - found[worst]) <= PROBABILITY:
        return f"class {worst} has {found[worst]:.3f} for {expected[worst]:.3f}"
    return None


def series(expected: NDArray[np.float32], found: NDArray[np.float32]) -> str | None:
    """No value is off by more than 1 % of the range of those expected."""
    if expected.shape != found.shape:
        return f"values of shape {found.shape} for {expected.shape}"
    worst = float(np.abs(expected - found).max(initial=0.0))
    most = SERIES_SHARE * max(float(np.ptp(expected)), 1e-3) if expected.size else 0.0
    return None if worst <= most else f"a value is off by {worst:.3g}, more than {most:.3g}"


def direction(expected: NDArray[np.float32], found: NDArray[np.float32]) -> str | None:
    """Two vectors point the same way."""
    if expected.shape != found.shape:
        return f"a vector of {found.shape} for {expected.shape}"
    length = max(float(np.linalg.norm(expected) * np.linalg.norm(found)), 1e-12)
    cosine = float(expected @ found) / length
    return None if cosine >= COSINE else f"the cosine between two embeddings is {cosine:.4f}"
