"""Slow twin of kernels/nms.pyx: NumPy scalars, one pair of boxes at a time."""

import numpy as np


def overlap(one, other, plus):
    """Intersection over union of two boxes."""
    plus = np.float32(plus)
    wide = max(np.float32(0), min(one[2], other[2]) - max(one[0], other[0]) + plus)
    high = max(np.float32(0), min(one[3], other[3]) - max(one[1], other[1]) + plus)
    common = wide * high
    areas = [(box[2] - box[0] + plus) * (box[3] - box[1] + plus) for box in (one, other)]
    with np.errstate(invalid="ignore", divide="ignore"):
        return common / (areas[0] + areas[1] - common)


def nms(rows, same, other, *, plus=0.0):
    waiting = list(np.argsort(rows[:, 1], kind="stable")[::-1])
    kept = []
    while waiting:
        best = waiting.pop(0)
        kept.append(best)
        waiting = [
            place
            for place in waiting
            if overlap(rows[best, 2:6], rows[place, 2:6], plus)
            < np.float32(same if rows[best, 0] == rows[place, 0] else other)
        ]
    return np.array(kept, np.int64)
