"""The tables of a page: structure and texts together, for every pipeline that has tables in it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.stages.table_structure import TableStructure

from .ocr_api import OcrPage, OcrParams
from .reading import Part, Reader, side_by_side
from .table_api import Table
from .table_html import filled, skeleton
from .table_match import Crop, cells_of, grouped, hulls, inside


class TableReader:
    """Reads tables that were cut out of pages.

    Args:
        structure: finds rows and cells.
        reader: reads the pages.
        cell_params: how a cell is read by itself.
    """

    def __init__(self, structure: TableStructure, reader: Reader, cell_params: OcrParams) -> None:
        self._structure, self._reader, self._cell_params = structure, reader, cell_params

    def in_page(self, crop: Crop, page: NDArray[np.uint8], ocr: OcrPage, by_cell: bool) -> Part[Table]:
        """3.x: texts of the page's lines, matched in the page."""
        (structure,) = yield [self._structure.call(crop.pixels)]
        height, width = page.shape[:2]
        cells = hulls(structure.cells + crop.box[:2]).clip(0, [width, height, width, height])
        boxes = hulls(ocr.quads[ocr.kept])
        lines = inside(boxes, crop.box)
        if not len(cells) or not len(lines):
            return Table(crop.corners, cells, skeleton(structure.tokens), lines.tolist())
        if by_cell:
            texts = yield from side_by_side([self._cell(crop.pixels, corners) for corners in structure.cells])
            chosen = cells_of(cells.astype(np.float32), cells)
        else:
            texts = [ocr.texts[line] for line in lines]
            chosen = cells_of(boxes[lines], cells)
        html = filled(structure.tokens, grouped(chosen, texts))
        return Table(crop.corners, cells, html, lines.tolist())

    def _cell(self, table: NDArray[np.uint8], corners: NDArray[np.int64]) -> Part[str]:
        """What stands in one cell, between its first and its third corner, read by itself."""
        (left, top), (right, bottom) = np.maximum(corners[[0, 2]], 0).tolist()
        pixels = table[top:bottom, left:right]
        if not pixels.size:
            return ""
        return "".join((yield from self._reader.read(pixels, self._cell_params)).texts)

    def again(self, crop: Crop, params: OcrParams) -> Part[tuple[Table, OcrPage]]:
        """2024: the table's picture is read once more, and matched in itself."""
        (structure,) = yield [self._structure.call(crop.pixels)]
        ocr = yield from self._reader.read(crop.pixels, params)
        cells, boxes = hulls(structure.cells), hulls(ocr.quads[ocr.kept])
        chosen = cells_of(boxes, cells) if len(cells) else np.empty(0, np.int64)
        html = filled(structure.tokens, grouped(chosen, ocr.texts))
        return Table(crop.corners, cells + crop.corners[:2] * 2, html, []), ocr
