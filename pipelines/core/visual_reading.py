"""What is on one page of a document: layout, lines, tables and seals, as blocks in reading order (10.13)."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipelines.stages.detection import Detection
from pipelines.stages.table_structure import MS_PER_TABLE, TableStructure

from .box_rules import Boxes
from .config import PipelineConfig
from .errors import EngineError
from .ocr_api import OcrPage, OcrParams
from .page_blocks import blocks_of, members, shared_blocks
from .reading import Part, Reader, reading_bytes, reading_cost_ms, side_by_side, stage_of
from .seals import Seal, SealReader, seal_boxes
from .stage import StageFactory
from .table_api import Table
from .table_match import Crop, crops_of, merged
from .table_reading import TableReader
from .visual_api import VisualOptions, VisualPage, VisualParams

#: One-thread time of finding the layout of a page (608 x 800 px); source as in detection.py.
_MS_PER_LAYOUT = 30.0
#: Room for a page's layout, and for its tables besides their texts.
_LAYOUT_BYTES, _TABLE_BYTES = 256 << 10, 1 << 20


def page_cost_ms(params: VisualParams, height: int, width: int) -> float:
    """Rough one-thread time of reading a page, its layout and a table; nobody knows how many there are."""
    reading = reading_cost_ms(params.ocr, height, width)
    return reading + _MS_PER_LAYOUT + params.tables * MS_PER_TABLE


def page_bytes(params: VisualParams, height: int, width: int) -> int:
    """Upper bound of a packed page: its texts as lines, in blocks, in tables and on seals; pixels once."""
    times = 7 if params.tables else 3
    seals = reading_bytes(params.seals, height, width) if params.seals else 0
    parts = _LAYOUT_BYTES + params.tables * _TABLE_BYTES + seals
    texts = reading_bytes(msgspec.structs.replace(params.ocr, drawn=False), height, width)
    return (times - 1) * texts + reading_bytes(params.ocr, height, width) + parts


class PageReader:
    """Reads pages with the models behind a pipeline's roles.

    Roles are those of :class:`~pipelines.core.reading.Reader`, ``layout``, and ``table_structure`` and
    those of :class:`~pipelines.core.seals.SealReader` where they are loaded.
    """

    def __init__(self, config: PipelineConfig, stages: StageFactory) -> None:
        own = VisualOptions.of(config)
        self._reader = Reader(config, stages, own.ocr.rec_batch_size)
        self._layout: Detection = stage_of(config, stages, Detection, "layout")
        structure: TableStructure | None = stage_of(config, stages, TableStructure, "table_structure")
        self._tables = TableReader(structure, self._reader, OcrParams()) if structure else None
        reads_seals = "seal_detection" in config.models
        self._seals = SealReader(config, stages, own.seal.rec_batch_size) if reads_seals else None

    def read(self, image: NDArray[np.uint8], params: VisualParams) -> Part[VisualPage]:
        """One page, from pixels to blocks. What does not wait for each other runs side by side."""
        image, angle = yield from self._reader.upright(image, params.ocr.doc_orientation)
        image = yield from self._reader.flat(image, params.ocr.doc_unwarping)
        parts: list[Part[Any]] = [self._find(image, params), self._reader.read(image, params.ocr, angle)]
        layout, page = yield from side_by_side(parts)
        if params.ocr.expect and params.ocr.expect not in page.texts:
            raise EngineError(f"the canary page says {params.ocr.expect!r}, the models read {page.texts!r}")
        crops = crops_of(image, layout) if params.tables and self._tables else []
        parts = [self._read_tables(crops, image, page, params), self._read_seals(image, layout, params.seals)]
        (tables, page, texts), seals = yield from side_by_side(parts)
        own = _html_of(layout, tables) if params.tables else {}
        between = "" if params.crops else ", "
        own |= {number: between.join(seal.texts) for number, seal in seals.items()}
        inside = members(page, layout)
        again = {}
        for number in shared_blocks(inside, layout.labels, own):  # in turn: each takes a page of memory
            again[number] = yield from self._texts(image, layout.rows[number, 2:6], params)
        if params.ocr.doc_unwarping and params.ocr.drawn:
            page = msgspec.structs.replace(page, flat=image)
        blocks = blocks_of(page, layout, inside, again, own, image.shape[1])
        return VisualPage(page, layout, blocks, tables, texts, list(seals.values()))

    def _find(self, image: NDArray[np.uint8], params: VisualParams) -> Part[Boxes]:
        (layout,) = yield [self._layout.call(image, params.rules)]
        return cast("Boxes", layout)

    def _read_tables(
        self, crops: list[Crop], image: NDArray[np.uint8], page: OcrPage, params: VisualParams
    ) -> Part[tuple[list[Table], OcrPage, list[str]]]:
        """Tables, the page's lines, and the texts of each table: in 2024 those that were read in it."""
        if self._tables is None or not crops:
            return [], page, []
        if params.crops:
            found = yield from side_by_side([self._tables.again(crop, params.ocr) for crop in crops])
            pages = [read for _, read in found]
            texts = [" ".join(read.texts) for read in pages]
            return [table for table, _ in found], merged(page, crops, pages), texts
        parts = [self._tables.in_page(crop, image, page, False) for crop in crops]
        tables = yield from side_by_side(parts)
        return tables, page, [" ".join(page.texts[line] for line in table.lines) for table in tables]

    def _read_seals(
        self, image: NDArray[np.uint8], layout: Boxes, params: OcrParams | None
    ) -> Part[dict[int, Seal]]:
        """Block to what its seal says."""
        if self._seals is None or params is None:
            return {}
        boxes = seal_boxes(layout)
        read = yield from side_by_side([self._seals.read(image, box, params) for box in boxes.values()])
        return dict(zip(boxes, read, strict=True))

    def _texts(
        self, image: NDArray[np.uint8], box: NDArray[np.float32], params: VisualParams
    ) -> Part[list[str]]:
        """What one block says on a page that is white around it, and so has the size that the page has."""
        left, top, right, bottom = box.astype(np.int64).tolist()
        alone = np.full_like(image, 255)
        alone[top:bottom, left:right] = image[top:bottom, left:right]
        return (yield from self._reader.read(alone, params.ocr)).texts


def _html_of(layout: Boxes, tables: list[Table]) -> dict[int, str]:
    """Block to the HTML of its table; a block without a whole pixel has none."""
    html = {tuple(table.box): table.html for table in tables}
    corners = layout.rows[:, 2:6].astype(np.int64).tolist()
    return {
        number: html.get(tuple(box), "")
        for number, (box, label) in enumerate(zip(corners, layout.labels, strict=True))
        if label.lower() == "table"
    }
