"""Cell matching and HTML pair by pair and text by text, as PaddleX writes them."""

import html


def iou(one, other):
    left, top = max(one[0], other[0]), max(one[1], other[1])
    right, bottom = min(one[2], other[2]), min(one[3], other[3])
    if left >= right or top >= bottom:
        return 0.0
    common = (right - left) * (bottom - top)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return common / (areas - common)


def distance(one, other):
    first = abs(other[0] - one[0]) + abs(other[1] - one[1])
    second = abs(other[2] - one[2]) + abs(other[3] - one[3])
    return first + second + min(first, second)


def cells_of(boxes, cells):
    """For each box the first of the cells with the smallest (1 - IoU, distance)."""
    keys = [[(1.0 - iou(cell, box), distance(cell, box)) for cell in cells] for box in boxes]
    return [row.index(min(row)) for row in keys]


def filled(tokens, texts):
    """Text in front of every ``</td>``; ``tokens`` are well formed."""
    written, cell = "", 0
    for token in tokens:
        if "</td>" not in token:
            written += token
            continue
        contents = list(texts.get(cell, []))
        if len(contents) > 1:
            contents = [content.removeprefix(" ") for content in contents]
            for place, content in enumerate(contents[:-1]):
                contents[place] += " " if content and content[-1] != " " else ""
        written += token.replace("</td>", html.escape("".join(contents), quote=False) + "</td>")
        cell += 1
    return f"<html><body><table>{written}</table></body></html>"
