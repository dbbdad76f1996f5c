"""Where the words of a line are: from the steps of its recogniser to boxes on the page (API reference, 10.8).

A Chinese character is a word of its own; letters and digits side by side are one, with a dot between
digits and with dashes behind them; what is left in between, spaces too, is one word a run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

#: A box whose hull is so many times as high as wide is read downwards.
_UPRIGHT_RATIO = 1.5
_LETTER, _DIGIT = re.compile("[a-zA-Z0-9]"), re.compile("[0-9]")

Kind = Literal["chinese", "letters", "others"]


class Trace(msgspec.Struct, frozen=True):
    """Where in a recogniser's output the characters of a line were.

    Attributes:
        characters: the dictionary's entries, in the order of the text.
        steps: int32 ``[N]``, the first time step of each.
        columns: how many time steps the line's picture takes; the padding behind it has more.
    """

    characters: list[str]
    steps: NDArray[np.int32]
    columns: float


def words_of(trace: Trace, quad: NDArray[np.int16], flip: bool) -> tuple[list[str], NDArray[np.int32]]:
    """Words of a line and their boxes on the page.

    Args:
        trace: what was read.
        quad: int16 ``[4, 2]``, the line's corners from its upper left one on.
        flip: the line stands on its head: it begins at the other end.

    Returns:
        The words in reading order, and int32 ``[words, 4]``: left, top, right, bottom of each.
    """
    hull_width, hull_height = np.ptp(quad.astype(int), axis=0).tolist()
    downwards = hull_height > _UPRIGHT_RATIO * hull_width
    (x0, y0), (x1, _), (_, y2), _ = quad.tolist()
    (start, end), (low, high) = ((y0, y2), (x0, x1)) if downwards else ((x0, x1), (y0, y2))
    words, spans = [], []
    for word, first, last in _spans(trace, end - start):
        words.append(word)
        spans.append((end - last, end - first) if flip else (start + first, start + last))
    boxes = np.empty((len(words), 4), np.int32)
    along, across = ((1, 3), (0, 2)) if downwards else ((0, 2), (1, 3))
    boxes[:, along] = np.sort(np.array(spans, np.int32).reshape(-1, 2), axis=1)
    boxes[:, across] = sorted((low, high))
    return words, boxes


def _spans(trace: Trace, length: int) -> Iterator[tuple[str, int, int]]:
    """Words, and where along a line of ``length`` pixels each begins and ends."""
    if not trace.characters:
        return
    cell = length / trace.columns
    groups = list(_groups(trace.characters))
    steps = trace.steps.tolist()
    # The pitch of Chinese characters, from the runs of them; without a run, an even share of the line.
    runs = [steps[start:stop] for kind, start, stop in groups if kind == "chinese" and stop - start > 1]
    pitches = [(run[-1] - run[0] + 1) * cell / (len(run) - 1) for run in runs]
    pitch = sum(pitches) / len(pitches) if pitches else length / len(trace.characters)
    for kind, start, stop in groups:
        if kind != "chinese":
            word = "".join(trace.characters[start:stop])
            yield word, int(steps[start] * cell), int((steps[stop - 1] + 1) * cell)
            continue
        for place in range(start, stop):
            centre = (steps[place] + 0.5) * cell
            first, last = max(int(centre - pitch / 2), 0), min(int(centre + pitch / 2), length)
            yield trace.characters[place], first, last


def _groups(characters: Sequence[str]) -> Iterator[tuple[Kind, int, int]]:
    """Runs of one kind: (kind, first, behind the last)."""
    start, before = 0, _kind(characters, 0, None)
    for place in range(1, len(characters)):
        kind = _kind(characters, place, before)
        if kind != before:
            yield before, start, place
            start, before = place, kind
    yield before, start, len(characters)


def _kind(characters: Sequence[str], place: int, before: Kind | None) -> Kind:
    character = characters[place]
    if "\u4e00" <= character <= "\u9fff":
        return "chinese"
    if _LETTER.search(character):
        return "letters"
    number_goes_on = place + 1 < len(characters) and _DIGIT.search(characters[place + 1])
    if before == "letters" and (character == "-" or (character == "." and number_goes_on)):
        return "letters"
    return "others"
