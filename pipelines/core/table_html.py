"""A table's structure tokens and its texts as HTML that is well formed, whatever the network says.

A structure network writes its table token by token: ``<tr>``, ``<td></td>``, ``<td``, `` colspan="2"``,
``>``, ``</td>`` and so on. Nothing makes it write them in pairs, and it may be cut off in the middle.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence

#: Tokens that begin a cell; the network gives a place for each of them.
CELL_TOKENS = frozenset({"<td>", "<td", "<td></td>"})
_SECTIONS = {"<thead>": "</thead>", "<tbody>": "</tbody>"}
_ATTRIBUTE = re.compile(r' (colspan|rowspan)="\d+"')
_PLAIN = CELL_TOKENS | {">", "</td>", "<tr>", "</tr>", *_SECTIONS, *_SECTIONS.values()}
_HEAD, _TAIL = ("<html>", "<body>", "<table>"), ("</table>", "</body>", "</html>")


def known(piece: str) -> bool:
    """Whether ``piece`` is a token that :func:`balanced` understands."""
    return piece in _PLAIN or _ATTRIBUTE.fullmatch(piece) is not None


class _Writer:
    """Keeps what is open: a section, a row, a cell, and in the cell's tag its attributes."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self._section = ""  # what ends the open section
        self._row = self._cell = self._tag = False
        self._attributes: set[str] = set()

    def add(self, piece: str) -> None:
        if self._tag and self._attribute(piece):
            return
        if piece in CELL_TOKENS:
            self._start_cell(piece)
        elif piece == "</td>":
            self._end_cell()
        elif piece == "<tr>":
            self._end_row()
            self.tokens.append(piece)
            self._row = True
        elif piece == "</tr>":
            self._end_row()
        elif piece in _SECTIONS:
            self.end_section()
            self.tokens.append(piece)
            self._section = _SECTIONS[piece]
        elif piece == self._section:
            self.end_section()

    def _attribute(self, piece: str) -> bool:
        """Inside ``<td``: take an attribute or the end of the tag; end the tag before anything else."""
        found = _ATTRIBUTE.fullmatch(piece)
        if found is None:
            self.tokens.append(">")
            self._tag = False
            return piece == ">"
        if found[1] not in self._attributes:
            self._attributes.add(found[1])
            self.tokens.append(piece)
        return True

    def _start_cell(self, piece: str) -> None:
        self._end_cell()
        if not self._row:
            self.tokens.append("<tr>")
            self._row = True
        self.tokens.append(piece)
        self._cell, self._tag = piece != "<td></td>", piece == "<td"
        self._attributes.clear()

    def _end_cell(self) -> None:
        if self._tag:
            self.tokens.append(">")
        if self._cell:
            self.tokens.append("</td>")
        self._cell = self._tag = False

    def _end_row(self) -> None:
        self._end_cell()
        if self._row:
            self.tokens.append("</tr>")
        self._row = False

    def end_section(self) -> None:
        self._end_row()
        if self._section:
            self.tokens.append(self._section)
        self._section = ""


def balanced(tokens: Iterable[str]) -> list[str]:
    """Tokens that open and close in pairs; tokens in pairs come back as they are.

    What nothing has opened is left out, what is open at the end is closed, and a cell outside of a row
    gets one. Every token that begins a cell stays, so cells keep their numbers.
    """
    writer = _Writer()
    for piece in tokens:
        writer.add(piece)
    writer.end_section()
    return writer.tokens


def skeleton(tokens: Sequence[str]) -> str:
    """A table without texts: PaddleX writes its tokens with single spaces between them."""
    return " ".join((*_HEAD, *tokens, *_TAIL))


def filled(tokens: Sequence[str], texts: Mapping[int, Sequence[str]]) -> str:
    """A table with its texts.

    Args:
        tokens: from :func:`balanced`.
        texts: number of a cell to the texts in it, in order.
    """
    written, cell = [*_HEAD], 0
    for piece in tokens:
        if not piece.endswith("</td>"):
            written.append(piece)
            continue
        written += (piece.removesuffix("</td>"), _content(texts.get(cell, ())), "</td>")
        cell += 1
    return "".join((*written, *_TAIL))


def _content(texts: Sequence[str]) -> str:
    """Several texts are joined with spaces as PaddleX does: none where one is, none for empty texts."""
    if len(texts) == 1:
        return html.escape(texts[0], quote=False)
    joined = ""
    for place, text in enumerate(texts):
        part = text.removeprefix(" ")
        if part and place < len(texts) - 1 and not part.endswith(" "):
            part += " "
        joined += part
    return html.escape(joined, quote=False)
