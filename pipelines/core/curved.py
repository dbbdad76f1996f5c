"""Pictures of text whose box is a polygon: straight where it nearly fills a rectangle, else straightened.

The rule is PaddleX's for text on seals (API reference, 9.6): the two ends of the ribbon that the polygon is
are found, both long sides are sampled at equal steps, and the piece between two steps becomes a rectangle.
Its arithmetic is kept to the order of the terms: where both sides lie equally high, the last digit says
which one is the upper one.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
#: Corners: whole numbers ``[K, 2]``, x and y; a side of a ribbon, or vectors: float64 ``[K, 2]``.
Corners = NDArray[np.int32]
Points = NDArray[np.float64]

#: Share of its rectangle that a polygon fills when it is cut out as the rectangle.
_STRAIGHT = 0.7
#: Steps of each long side.
_STEPS = 15
#: An edge shorter than this share of the mean belongs to its neighbour.
_SHORT = 0.9
#: Of four corners the level edges are the ends when the upright ones are that much longer.
_OBLONG = 2.0
#: A picture this much higher than wide is turned.
_TALL = 1.5
#: Sides that OpenCV warps.
_LONGEST = 32766
#: A polygon with more corners is cut out as its rectangle: what follows takes the square of them.
MOST_CORNERS = 512


def polygon_picture(page: Pixels, polygon: NDArray[np.int16]) -> Pixels | None:
    """What stands in a polygon, as a line from left to right.

    Args:
        page: uint8 ``[H, W, 3]``.
        polygon: whole numbers ``[K, 2]``, x and y, at least three corners.

    Returns:
        uint8 ``[h, w, 3]``, or None when there is no whole pixel, or a side above 32766 of them.
    """
    if max(page.shape[:2]) > _LONGEST:
        return None
    corners = polygon.astype(np.int32)
    rectangle = cv2.minAreaRect(corners)
    width, height = rectangle[1]
    sides = None
    if cv2.contourArea(corners) < _STRAIGHT * width * height:
        sides = _sides(corners) if 4 <= len(corners) <= MOST_CORNERS and is_simple(corners) else None
    if sides is None:
        return _rectangle(page, np.asarray(cv2.boxPoints(rectangle), np.float32))
    upper, lower = _sampled(sides[0]), _sampled(sides[1])
    if (upper.mean(axis=0) - lower.mean(axis=0))[1] > 0:
        upper, lower = lower, upper
    return _straightened(page, np.concatenate([upper, lower]).astype(np.float32))


def is_simple(corners: Corners) -> bool:
    """Whether the edges of a polygon meet in its corners only. Exact; memory is the square of the corners."""
    ring = corners.astype(np.int64)
    start = ring[(ring != np.roll(ring, 1, axis=0)).any(axis=1)]
    end, count = np.roll(start, -1, axis=0), len(start)
    if count < 3:
        return False
    low, high = np.minimum(start, end), np.maximum(start, end)
    near = ((low[:, np.newaxis] <= high) & (low <= high[:, np.newaxis])).all(axis=2)
    # on which side of each edge the ends of every other one lie; touching counts as crossing
    along = end - start
    sides = [np.sign(_cross(along[:, np.newaxis], each - start[:, np.newaxis])) for each in (start, end)]
    parted = sides[0] * sides[1] <= 0
    meet = near & parted & parted.T
    index = np.arange(count)
    after = (index + 1) % count
    folded = (_cross(along, along[after]) == 0) & ((along * along[after]).sum(axis=1) < 0)
    meet[index, index] = meet[index, after] = meet[after, index] = False
    return not (meet.any() or folded.any())


def _cross(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    product: NDArray[np.int64] = one[..., 0] * other[..., 1] - one[..., 1] * other[..., 0]
    return product


# --- a polygon that is nearly a rectangle


def _rectangle(page: Pixels, corners: NDArray[np.float32]) -> Pixels | None:
    by_x = corners[np.argsort(corners[:, 0], kind="stable")]
    left, right = by_x[:2], by_x[2:]
    top_left, bottom_left = left if left[1, 1] > left[0, 1] else left[::-1]
    top_right, bottom_right = right if right[1, 1] > right[0, 1] else right[::-1]
    quad = np.array([top_left, top_right, bottom_right, bottom_left], np.float32)
    edges = np.linalg.norm(quad - np.roll(quad, -1, axis=0), axis=1)
    width, height = int(max(edges[0], edges[2])), int(max(edges[1], edges[3]))
    if not 0 < min(width, height) <= max(width, height) <= _LONGEST:
        return None
    found = _warped(page, quad, width, height, cv2.INTER_CUBIC, cv2.BORDER_REPLICATE)
    return np.rot90(found) if height / width >= _TALL else found


def _warped(
    page: Pixels, quad: NDArray[np.float32], width: float, height: float, smooth: int, border: int
) -> Pixels:
    """A quadrilateral as a rectangle of the whole pixels that ``width`` and ``height`` hold."""
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    matrix = cv2.getPerspectiveTransform(quad, target)
    size = (int(width), int(height))
    return np.asarray(cv2.warpPerspective(page, matrix, size, flags=smooth, borderMode=border), np.uint8)


# --- a ribbon


def _sides(polygon: Corners) -> tuple[Corners, Corners] | None:
    """Corners along both long sides, in the order of the polygon; None when it is no ribbon."""
    corners = _merged(polygon)
    count = len(corners)
    if count < 4:
        return None
    first, second = _ends_of_four(corners) if count == 4 else _ends(corners)
    twice = np.concatenate([corners, corners])
    sides = twice[first:second], twice[second : first + count]
    return sides if min(map(len, sides)) > 1 else None


def _merged(corners: Corners) -> Corners:
    """Corners, each the mean of those that short edges join, in whole pixels."""
    lengths = np.linalg.norm(np.diff(corners, axis=0), axis=1)
    shortest = _SHORT * (sum(lengths.tolist()) / (len(lengths) + 1e-8))
    group = np.concatenate([[0], np.cumsum(lengths >= shortest)])
    if np.linalg.norm(corners[0] - corners[-1]) < shortest:
        if not group[-1]:
            return corners[:0]
        group[group == group[-1]] = 0
    means = [corners[group == number].mean(axis=0) for number in np.unique(group)]
    return np.array(means).astype(np.int32)


def _ends_of_four(corners: Corners) -> tuple[int, int]:
    """Where the two sides begin in a polygon of four corners."""
    edges = np.roll(corners, -1, axis=0) - corners
    slopes = np.abs(edges[:, 1] / (edges[:, 0] + 1e-8))
    lengths = np.linalg.norm(edges, axis=1)
    level = 0 if slopes[0] + slopes[2] < slopes[1] + slopes[3] else 1  # edges 0 and 2, or 1 and 3
    upright = 1 - level
    oblong = lengths[upright::2].sum() > lengths[level::2].sum() * _OBLONG
    return (1, 3) if (level if oblong else upright) == 0 else (0, 2)


def _ends(corners: Corners) -> tuple[int, int]:
    """Where the two sides begin: after the pair of edges that looks most like the ends of a ribbon.

    Those are bent sharply at both sides and far from the middle of the polygon, and half its corners apart.
    """
    count = len(corners)
    edges = np.roll(corners, -1, axis=0) - corners
    before, after = np.roll(edges, 1, axis=0), np.roll(edges, -1, axis=0)
    bends = (_angles(edges, before) + _angles(edges, after)) / np.pi
    far = np.linalg.norm(corners - corners.mean(axis=0), axis=1)
    far = np.maximum(np.roll(far, -1), far)
    score = 0.5 * bends + 0.15 * (_angles(before, after) / np.pi) + 0.35 * (far / max(far.max(), 1e-8))
    if count % 2 == 0:
        score[[count // 2 - 1, count - 1]] += 0.1
    place = np.arange(count - 3) / float(count - 4)
    apart = 1.0 / (np.sqrt(2.0 * np.pi) * 0.5) * np.exp(-np.power((place - 0.5) / 0.5, 2.0) / 2)
    others = (np.arange(count)[:, np.newaxis] + np.arange(2, count - 1)) % count
    pairs = score[:, np.newaxis] + score[others] * (apart / apart.max()) * 0.3
    head, step = divmod(int(pairs.argmax()), count - 3)
    first, second = (head + 1) % count, (head + step + 3) % count
    return min(first, second), max(first, second)


def _angles(one: Corners, other: Corners) -> Points:
    """Angles between vectors, radians."""
    units = [each / (np.linalg.norm(each, axis=1, keepdims=True) + 1e-8) for each in (one, other)]
    return np.asarray(np.arccos(np.clip((units[0] * units[1]).sum(axis=1), -1.0, 1.0)))


def _sampled(side: Corners) -> Points:
    """``_STEPS + 1`` points at equal distances along a line."""
    lengths = np.linalg.norm(np.diff(side, axis=0), axis=1)
    reached = np.concatenate([[0.0], np.cumsum(lengths)])
    at = np.arange(1, _STEPS) * (reached[-1] / (_STEPS + 1e-8))
    edge = np.searchsorted(reached[1:], at, side="right").clip(max=len(lengths) - 1)
    share = (at - reached[edge]) / np.maximum(lengths[edge], 1e-8)
    between = side[edge] + (side[edge + 1] - side[edge]) * share[:, np.newaxis]
    return np.concatenate([side[:1], between, side[-1:]])


def _straightened(page: Pixels, ribbon: NDArray[np.float32]) -> Pixels | None:
    """Pieces of a ribbon side by side: the upper side from left to right, then the lower one back."""
    spread = ribbon.max(axis=0).astype(np.int64) - ribbon.min(axis=0).astype(np.int64)
    upright = spread[1] > _TALL * spread[0]
    points: NDArray[Any] = ribbon.astype(np.float64)
    count = len(ribbon) // 2
    if upright:
        ribbon, points = np.roll(ribbon, -1, axis=0), np.roll(points, -1, axis=0)
        # lengths are taken of the points as they lie after the turn, in float32
        points = np.stack([points[:, 1], page.shape[0] - points[:, 0] - 1], axis=1).astype(np.float32)
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    reached = np.concatenate([[0.0], np.cumsum(((steps + steps[::-1]) / 2)[: count - 1])])
    # centred and rounded before the difference is taken: a piece of 12.0 may have 11 whole pixels
    widths = np.abs(np.diff((reached - reached[-1] / 2).astype(np.float32)))
    height = int(np.around(np.linalg.norm(points[:count] - points[: count - 1 : -1], axis=1).mean()))
    if widths.min() < 1 or not height:
        (left, top), (right, bottom) = np.maximum(ribbon.min(axis=0), 0), ribbon.max(axis=0)
        found = page[int(top) : int(bottom), int(left) : int(right)]
        return found.copy() if found.size else None
    pieces = []
    for place, width in enumerate(widths.tolist()):
        quad = ribbon[[place, place + 1, -2 - place, -1 - place]]
        pieces.append(_warped(page, quad, width, height, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT))
    found = np.concatenate(pieces, axis=1)
    return np.ascontiguousarray(np.rot90(found, 3)) if upright else found
