"""Slow twin of pipelines/core/box_rules.py: one box at a time, in the order of PaddleX 3.7.2's steps."""

import numpy as np

from tests.reference.nms import nms


def boxes_of(found, names, width, height, rules):
    """Rows ``[M, 6]`` that stay."""
    rows = list(above(found, rules.threshold))
    if rules.v3:
        if rules.layout_nms:
            rows = [rows[place] for place in nms(np.array(rows).reshape(-1, 6), 0.6, 0.98, plus=1.0)]
        rows = without_page_images(rows, names, width, height)
        if rules.layout_merge_bboxes_mode:
            rows = merged(rows, names, rules.layout_merge_bboxes_mode)
        if rules.layout_unclip_ratio:
            rows = [grown(row, rules.layout_unclip_ratio) for row in rows]
    done = []
    for kind, score, x1, y1, x2, y2 in rows:
        row = [kind, score, max(0, x1), max(0, y1), min(width, x2), min(height, y2)]
        if not rules.v3 or (row[4] > row[2] and row[5] > row[3]):
            done.append(row)
    return np.array(done, np.float32).reshape(-1, 6)


def above(found, threshold):
    if not isinstance(threshold, dict):
        return [row for row in found if row[1] > threshold and row[0] > -1]
    rows = []
    for kind in np.unique(found[:, 0]):
        limit = threshold.get(int(kind), 0.5)
        rows += [row for row in found if row[0] == kind and row[1] > limit and kind > -1]
    return rows


def without_page_images(rows, names, width, height):
    if len(rows) < 2 or "image" not in names:
        return rows
    most = (0.82 if width > height else 0.93) * (width * height)
    small = []
    for row in rows:
        area = (min(width, row[4]) - max(0, row[2])) * (min(height, row[5]) - max(0, row[3]))
        if row[0] != names.index("image") or area <= most:
            small.append(row)
    return small or rows


def inside(row, other):
    area = (row[4] - row[2]) * (row[5] - row[3])
    wide = max(0, min(row[4], other[4]) - max(row[2], other[2]))
    high = max(0, min(row[5], other[5]) - max(row[3], other[3]))
    return area > 0 and wide * high / area >= 0.9


def merged(rows, names, mode):
    formula = names.index("formula") if "formula" in names else None
    stay = [True] * len(rows)
    for kind, word in mode.items() if isinstance(mode, dict) else [(None, mode)]:
        if word == "union":
            continue
        contained, containing = set(), set()
        for i, row in enumerate(rows):
            for j, other in enumerate(rows):
                if i == j or (formula is not None and row[0] == formula != other[0]):
                    continue
                if kind is not None and kind != (other if word == "large" else row)[0]:
                    continue
                if inside(row, other):
                    contained.add(i)
                    containing.add(j)
        for i in range(len(rows)):
            keeps = i not in contained if word == "large" else i not in containing or i in contained
            stay[i] = stay[i] and keeps
    return [row for row, keeps in zip(rows, stay, strict=True) if keeps]


def grown(row, ratio):
    kind, score, x1, y1, x2, y2 = row
    if isinstance(ratio, dict):
        if kind not in ratio:
            return row
        ratio = ratio[kind]
    wide, high = x2 - x1, y2 - y1
    x, y = x1 + wide / 2, y1 + high / 2
    new_wide, new_high = wide * ratio[0], high * ratio[1]
    return [kind, score, x - new_wide / 2, y - new_high / 2, x + new_wide / 2, y + new_high / 2]
