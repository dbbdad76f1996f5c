"""Cuts text into chunks as PaddleX does: at the coarsest separator that is there, with some overlap.

The rule is that of LangChain's RecursiveCharacterTextSplitter with PaddleX's settings (API reference,
10.13): a separator starts the piece behind it, white space at the ends of a chunk goes. Time is linear in
the length of the text.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

SEPARATORS = ("\t", "\n", "。", "\n\n", "")
OVERLAP = 20


def chunks(text: str, size: int) -> list[str]:
    """Chunks of at most ``size`` characters, more than OVERLAP of them."""
    return list(_cut(text, size, SEPARATORS))


def _cut(text: str, size: int, separators: Sequence[str]) -> Iterator[str]:
    at = next((i for i, mark in enumerate(separators) if mark in text), len(separators) - 1)
    waiting: list[str] = []
    for piece in _pieces(text, separators[at]):
        if len(piece) < size:
            waiting.append(piece)
            continue
        yield from _joined(waiting, size)
        waiting = []
        if separators[at + 1 :]:
            yield from _cut(piece, size, separators[at + 1 :])
        else:
            yield piece
    yield from _joined(waiting, size)


def _pieces(text: str, separator: str) -> list[str]:
    if not separator:
        return list(text)
    first, *others = text.split(separator)
    return [piece for piece in (first, *(separator + other for other in others)) if piece]


def _joined(pieces: Sequence[str], size: int) -> Iterator[str]:
    """Neighbouring pieces together; each chunk begins with what ends the one before."""
    window: deque[str] = deque()
    length = 0
    for piece in pieces:
        if length + len(piece) > size and window:
            if chunk := "".join(window).strip():
                yield chunk
            while window and (length > OVERLAP or length + len(piece) > size):
                length -= len(window.popleft())
        window.append(piece)
        length += len(piece)
    if chunk := "".join(window).strip():
        yield chunk
