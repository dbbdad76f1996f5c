"""A page's lines and layout as blocks in reading order, and as what a language model is shown (10.13)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from .box_rules import Boxes
from .ocr_api import OcrPage

#: A line belongs to a block when they overlap by more than this both ways, pixels.
_OVERLAP = 3
#: Blocks that hold no text of their own; ``formula`` needs a model that is not served.
_WORDLESS = frozenset({"formula"})
OTHER = "other_text"


class Block(msgspec.Struct, frozen=True):
    """A part of a page.

    Attributes:
        box: x1, y1, x2, y2 on the upright page.
        label: what it is; content: what it says.
        own: the content is of a model for such parts: HTML of a table, texts of a seal.
    """

    box: list[float]
    label: str
    content: str
    own: bool = False


def line_boxes(page: OcrPage) -> NDArray[np.int16]:
    """int16 ``[N, 4]``: upright boxes of the lines that were kept."""
    quads = page.quads[page.kept]
    boxes: NDArray[np.int16] = np.concatenate([quads.min(axis=1), quads.max(axis=1)], axis=1)
    return boxes


def members(page: OcrPage, layout: Boxes) -> NDArray[np.bool_]:
    """``[blocks, lines]``: which line lies in which block."""
    lines, blocks = line_boxes(page).astype(np.float32), layout.rows[:, 2:6]
    low = np.maximum(blocks[:, np.newaxis, :2], lines[np.newaxis, :, :2])
    high = np.minimum(blocks[:, np.newaxis, 2:], lines[np.newaxis, :, 2:])
    inside: NDArray[np.bool_] = ((high - low) > _OVERLAP).all(axis=2)
    return inside


def shared_blocks(inside: NDArray[np.bool_], labels: Sequence[str], own: Collection[int] = ()) -> list[int]:
    """Blocks with a line that lies in another block of text too: they have to be read by themselves.

    ``own`` are those with a model of their own, which are not of text.
    """
    texts = np.array(
        [label.lower() not in _WORDLESS and number not in own for number, label in enumerate(labels)],
        np.bool_,
    )
    among = inside & texts[:, np.newaxis]
    found: list[int] = np.flatnonzero((among & (among.sum(axis=0) > 1)).any(axis=1)).tolist()
    return found


def blocks_of(
    page: OcrPage,
    layout: Boxes,
    inside: NDArray[np.bool_],
    again: Mapping[int, list[str]],
    own: Mapping[int, str],
    width: int,
) -> list[Block]:
    """Blocks of a page in reading order.

    Args:
        page: lines of the upright page.
        layout: of the upright page.
        inside: from :func:`members`.
        again: block to the texts that were read in it by itself.
        own: block to what a model for such blocks says.
        width: of the page, pixels.
    """
    blocks = []
    for number, (box, label) in enumerate(zip(layout.rows[:, 2:6].tolist(), layout.labels, strict=True)):
        name = label.lower()
        if number in own:
            blocks.append(Block(box, name, own[number], own=True))
            continue
        texts = again.get(number, [page.texts[line] for line in np.flatnonzero(inside[number])])
        blocks.append(Block(box, name, "" if name in _WORDLESS else "\n".join(texts)))
    alone = np.flatnonzero(~inside.any(axis=0)).tolist()
    boxes = line_boxes(page).tolist()
    blocks += [Block([float(x) for x in boxes[line]], OTHER, page.texts[line]) for line in alone]
    return in_reading_order(blocks, width)


def in_reading_order(blocks: Sequence[Block], width: int) -> list[Block]:
    """From top to bottom; of two columns the left one first. A block across both ends them (PaddleX)."""
    if len(blocks) == 1:
        return list(blocks)
    ordered: list[Block] = []
    columns: tuple[list[Block], list[Block]] = ([], [])
    for block in sorted(blocks, key=lambda each: (each.box[1], each.box[0])):
        left, _, right, _ = block.box
        if left < width / 4 and right < 3 * width / 5:
            columns[0].append(block)
        elif left > 2 * width / 5:
            columns[1].append(block)
        else:
            ordered += [*columns[0], *columns[1], block]
            columns = ([], [])
    return [*ordered, *columns[0], *columns[1]]


def texts_by_label(blocks: Sequence[Block], prefix: str = "") -> dict[str, str]:
    """Label to the texts of its blocks, joined as PaddleX does; tables and formulas are no texts."""
    found: dict[str, list[str]] = {}
    for block in blocks:
        if block.label not in _WORDLESS and not (block.own and block.label == "table"):
            found.setdefault(prefix + block.label, []).append(block.content)
    return {label: "\n ".join(texts) for label, texts in found.items()}
