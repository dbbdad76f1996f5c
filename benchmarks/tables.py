"""The tables of the table benchmarks and golden cases: rendered pages with the HTML that they show.

    python -m benchmarks.tables FOLDER            write every page and its HTML

Ruled and unruled, with spanning cells, 3 to 40 rows, straight and tilted. All text is made of random
words and numbers, from a seed.
"""

from __future__ import annotations

import argparse
import html
import io
import random
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from .pages import HAN, WORDS

_INK, _PAPER = (25, 25, 30), (255, 255, 255)
#: Heights of letters and rows, and the space left and right of a text, pixels.
_LETTERS, _ROW, _PAD = 20, 38, 10
#: Around a table, pixels.
_MARGIN = 60


class Cell(NamedTuple):
    """One cell: its place in the grid, how many columns and rows it covers, and what stands in it."""

    row: int
    column: int
    columns: int
    rows: int
    text: str


class Sheet(NamedTuple):
    """One page with one table.

    Attributes:
        rules: ``grid`` around every cell, ``lines`` above and below head and body, or ``none``.
        spans: the head has groups of columns, the first column groups of rows.
    """

    name: str
    rows: int
    columns: int
    rules: str = "grid"
    spans: bool = False
    degrees: float = 0.0
    han: bool = False


SHEETS = (
    Sheet("grid-3x3", 3, 3),
    Sheet("grid-6x4", 6, 4),
    Sheet("grid-10x5", 10, 5),
    Sheet("grid-20x6", 20, 6),
    Sheet("grid-40x5", 40, 5),
    Sheet("grid-40x12", 40, 12),
    Sheet("grid-8x4-han", 8, 4, han=True),
    Sheet("lines-5x3", 5, 3, "lines"),
    Sheet("lines-12x5", 12, 5, "lines"),
    Sheet("lines-30x4", 30, 4, "lines"),
    Sheet("open-4x3", 4, 3, "none"),
    Sheet("open-10x4", 10, 4, "none"),
    Sheet("open-25x5", 25, 5, "none"),
    Sheet("spans-6x5", 6, 5, spans=True),
    Sheet("spans-10x6", 10, 6, spans=True),
    Sheet("spans-18x5-lines", 18, 5, "lines", spans=True),
    Sheet("tilted-grid-6x4", 6, 4, degrees=2.0),
    Sheet("tilted-grid-12x5", 12, 5, degrees=-2.0),
    Sheet("tilted-open-8x4", 8, 4, "none", degrees=2.0),
    Sheet("tilted-spans-8x5", 8, 5, spans=True, degrees=2.0),
)


def cells_of(sheet: Sheet, seed: int = 1) -> list[Cell]:
    """Cells of a sheet, row by row."""
    generator = random.Random(f"{sheet.name}-{seed}")
    taken: set[tuple[int, int]] = set()
    found = []
    for row in range(sheet.rows):
        for column in range(sheet.columns):
            if (row, column) in taken:
                continue
            columns, rows = _span(sheet, row, column, generator)
            taken |= {(row + i, column + j) for i in range(rows) for j in range(columns)}
            found.append(Cell(row, column, columns, rows, _text(sheet, row, column, columns, generator)))
    return found


def _span(sheet: Sheet, row: int, column: int, generator: random.Random) -> tuple[int, int]:
    if not sheet.spans:
        return 1, 1
    if row == 0:
        return (1, 2) if column == 0 else (min(2, sheet.columns - column), 1)
    if column == 0 and row > 1:
        return 1, min(generator.choice((1, 2, 2, 3)), sheet.rows - row)
    return 1, 1


def _text(sheet: Sheet, row: int, column: int, columns: int, generator: random.Random) -> str:
    head = row <= (1 if sheet.spans else 0)
    if sheet.han and (head or column == 0):
        return "".join(generator.choices(HAN, k=generator.randint(2, 4)))
    if head or column == 0:
        return " ".join(generator.choices(WORDS, k=2 if columns > 1 else 1)).capitalize()
    kind = generator.random()
    if kind < 0.15:
        return generator.choice(WORDS)
    if kind < 0.5:
        return str(generator.randint(1, 9999))
    return f"{generator.uniform(1, 9999):,.2f}"


def true_html(cells: list[Cell]) -> str:
    """What the page shows, without ``thead`` and ``tbody``: they are not to be seen."""
    rows: dict[int, list[str]] = {}
    for cell in cells:
        spans = (("colspan", cell.columns), ("rowspan", cell.rows))
        attributes = "".join(f' {name}="{count}"' for name, count in spans if count > 1)
        rows.setdefault(cell.row, []).append(f"<td{attributes}>{html.escape(cell.text, quote=False)}</td>")
    body = "".join(f"<tr>{''.join(rows.get(row, []))}</tr>" for row in range(max(rows) + 1))
    return f"<html><body><table>{body}</table></body></html>"


def render(sheet: Sheet, font: str, cells: list[Cell] | None = None) -> Image.Image:
    """The page; ``font`` is a file that has Latin and simplified Chinese glyphs."""
    face, cells = ImageFont.truetype(font, _LETTERS), cells or cells_of(sheet)
    widths = [2 * _PAD + 30] * sheet.columns
    for cell in cells:
        share = (face.getlength(cell.text) + 3 * _PAD) / cell.columns
        for column in range(cell.column, cell.column + cell.columns):
            widths[column] = max(widths[column], int(share) + 1)
    lefts = [_MARGIN + sum(widths[:column]) for column in range(sheet.columns + 1)]
    width, bottom = lefts[-1] + _MARGIN, 2 * _MARGIN + sheet.rows * _ROW
    image = Image.new("RGB", (max(width, 480), bottom + 2 * _MARGIN), _PAPER)
    draw = ImageDraw.Draw(image)
    words = " ".join(random.Random(sheet.name).choices(WORDS, k=6)).capitalize()
    draw.text((_MARGIN, _MARGIN), words[: image.width // 14], font=face, fill=_INK)
    for cell in cells:
        _draw(draw, sheet, cell, lefts, face)
    if sheet.rules == "lines":
        head = 2 if sheet.spans else 1
        for row, thick in ((0, 3), (head, 1), (sheet.rows, 3)):
            y = 2 * _MARGIN + row * _ROW
            draw.line((lefts[0], y, lefts[-1], y), fill=_INK, width=thick)
    if sheet.degrees:
        image = image.rotate(sheet.degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=_PAPER)
    return image


def _draw(
    draw: ImageDraw.ImageDraw, sheet: Sheet, cell: Cell, lefts: list[int], face: ImageFont.FreeTypeFont
) -> None:
    left, right = lefts[cell.column], lefts[cell.column + cell.columns]
    top = 2 * _MARGIN + cell.row * _ROW
    bottom = top + cell.rows * _ROW
    if sheet.rules == "grid":
        draw.rectangle((left, top, right, bottom), outline=_INK, width=2)
    across = (left + right) / 2 if cell.columns > 1 else left + _PAD
    anchor = "mm" if cell.columns > 1 else "lm"
    draw.text((across, (top + bottom) / 2), cell.text, font=face, fill=_INK, anchor=anchor)


def png(image: Image.Image) -> bytes:
    """Few colours: a small file."""
    out = io.BytesIO()
    image.convert("L").save(out, "PNG", optimize=True)
    return out.getvalue()


def main() -> None:
    from . import peers

    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("folder", type=Path)
    folder: Path = options.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for sheet in SHEETS:
        (folder / f"{sheet.name}.png").write_bytes(png(render(sheet, peers.font())))
        (folder / f"{sheet.name}.html").write_text(true_html(cells_of(sheet)), encoding="utf-8")


if __name__ == "__main__":
    main()
