"""Arithmetic of plots: where ticks are, how numbers are written, curves as few points and as dashes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

#: Parts of the axis of heights at most, and the lengths that they may have, times a power of ten.
_PARTS, _STEPS = 9, (1.0, 2.0, 2.5, 5.0, 10.0)
#: A curve of more points is drawn by the extremes of each pixel column.
_MOST_POINTS = 4096
#: matplotlib's dashes of a line of 1.5 points, on and off, pixels; OpenCV's ends are a pixel longer each.
_ON, _OFF = 5.7, 5.3
#: Dashes of a curve at most; a longer one is so jagged that nobody sees them.
_MOST_DASHES = 4000


def ticks(low: float, high: float) -> list[float]:
    """Round numbers from ``low`` to ``high``, at most ten."""
    raw = (high - low) / _PARTS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(step * power for step in _STEPS if step * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def number_labels(numbers: Sequence[float]) -> list[str]:
    """Ticks as text, all with as many decimals as their distance needs."""
    if len(numbers) < 2 or max(map(abs, numbers)) >= 1e7:
        return [f"{number:.6g}" for number in numbers]
    step = numbers[1] - numbers[0]
    if step < 1e-6:
        return [f"{number:.9g}" for number in numbers]
    decimals = next(places for places in range(9) if abs(step * 10**places - round(step * 10**places)) < 1e-6)
    return [f"{number + 0.0:.{decimals}f}" for number in numbers]


def few_points(points: Points) -> Points:
    """A curve ``[N, 2]`` whose x ascends; of a large N highest and lowest point of each pixel column."""
    if len(points) <= _MOST_POINTS:
        return points
    starts = np.flatnonzero(np.diff(np.floor(points[:, 0]), prepend=-np.inf))
    x = points[starts, 0]
    low, high = np.minimum.reduceat(points[:, 1], starts), np.maximum.reduceat(points[:, 1], starts)
    return np.stack([np.repeat(x, 2), np.stack([low, high], axis=1).ravel()], axis=1)


def dashes(points: Points) -> list[Points]:
    """A curve ``[N, 2]`` cut into dashes; whole where there would be too many."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    count = math.ceil(along[-1] / (_ON + _OFF))
    if not 0 < count <= _MOST_DASHES:
        return [points]
    begins = np.arange(count) * (_ON + _OFF)
    ends = np.minimum(begins + _ON, along[-1])
    inner = np.searchsorted(along, begins, "right"), np.searchsorted(along, ends, "left")
    heads, tails = (
        np.stack([np.interp(at, along, points[:, axis]) for axis in (0, 1)], axis=1) for at in (begins, ends)
    )
    return [
        np.concatenate([head[None], points[first:last], tail[None]])
        for head, tail, first, last in zip(heads, tails, *inner, strict=True)
    ]
