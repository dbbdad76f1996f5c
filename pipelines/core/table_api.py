"""``POST /table-recognition`` in both generations: requests, settings, answers (API reference, 10.9)."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import msgspec
import numpy as np

from .box_rules import Boxes
from .config import PipelineConfig
from .document_api import DocumentForm, DocumentRequest, PageForm2024, PageRequest2024, Sheet, wire_names
from .draw import Pen, jpeg, ocr_picture
from .draw_boxes import RECIPE_2024, RECIPE_V3
from .errors import PipelineError
from .forms import Reply
from .ocr_api import (
    OcrOptions,
    OcrPage,
    OcrParams,
    ReadingOptions,
    ReadingSettings,
    pruned_result,
    reading_2024,
    sure_lines,
)
from .page_layout import layout_picture, layout_result
from .page_settings import INVALID_SETTINGS
from .table_pictures import cell_picture


class TableOptions(ReadingOptions, frozen=True):
    """Settings of a table pipeline.

    The defaults are those of PaddleX 3.7.2's ``table_recognition.yaml``, but UVDoc is loaded only
    where a YAML names it.

    Attributes:
        use_layout_detection: find the tables; without it the page is one.
        ocr: the sub-pipeline that reads the page; it prepares no page of its own.
    """

    use_layout_detection: bool = True
    ocr: OcrOptions = OcrOptions(
        use_doc_preprocessor=False, limit_side_len=960, limit_type="max", rec_batch_size=1
    )


class TableParams(msgspec.Struct, frozen=True):
    """What one page needs to know on a device.

    Attributes:
        ocr: how the page is turned and read.
        layout: find the tables; else the page is one.
        by_cell: read every cell by itself.
        crops: as the 2024 generation does, read every table again by itself, and match inside of it.
    """

    ocr: OcrParams = OcrParams()
    layout: bool = True
    by_cell: bool = False
    crops: bool = False


class Table(msgspec.Struct, frozen=True):
    """One table.

    Attributes:
        box: x1, y1, x2, y2 in whole pixels of the upright page: what was cut out.
        cells: ``[N, 4]``, boxes of its cells on the page.
        html: the whole table.
        lines: places in the page's texts of those that lie in it.
    """

    box: list[int]
    cells: np.ndarray
    html: str
    lines: list[int]


class TablePage(msgspec.Struct, frozen=True):
    """What a device found on one page. ``layout`` is None when nobody looked for tables."""

    ocr: OcrPage
    layout: Boxes | None
    tables: list[Table]


class TableRequest(DocumentRequest, rename="camel"):
    """Body of 3.x."""

    use_layout_detection: bool | None = None
    use_ocr_model: bool | None = None
    use_ocr_results_with_table_cells: bool = False


class TableSettings(ReadingSettings):
    """A request's parameters over a pipeline's options.

    Attributes:
        layout: find the tables.

    Raises:
        PipelineError: the request asks for a sub-model that is not loaded, or for none that reads.
    """

    def __init__(self, request: TableRequest, config: PipelineConfig) -> None:
        own = msgspec.convert(config.options, TableOptions)
        super().__init__(request, own, config)
        asked = request.use_layout_detection
        self.layout = own.use_layout_detection if asked is None else asked
        if (self.layout and "layout" not in config.models) or request.use_ocr_model is False:
            raise PipelineError(INVALID_SETTINGS)


class TableForm(DocumentForm[TableSettings]):
    """3.x: documents in, ``tableRecResults`` out."""

    request = TableRequest
    params_type = TableParams
    marks: ClassVar[frozenset[str]] = wire_names(TableRequest)
    results = "tableRecResults"

    def params(self, request: TableRequest, config: PipelineConfig) -> TableParams:
        """Raises PipelineError for a sub-model that is not loaded."""
        settings = TableSettings(request, config)
        by_cell = request.use_ocr_results_with_table_cells
        reading = msgspec.structs.replace(settings.reading(), drawn=self.visualize(request, config))
        return TableParams(ocr=reading, layout=settings.layout, by_cell=by_cell)

    def settings(self, request: TableRequest, config: PipelineConfig) -> TableSettings:
        """As in :class:`TableSettings`."""
        return TableSettings(request, config)

    def angle(self, found: TablePage) -> int:
        """As the device says."""
        return found.ocr.angle

    def flat(self, found: TablePage) -> np.ndarray | None:
        """As the device unwarped it."""
        return found.ocr.flat

    def pruned(self, found: TablePage, settings: TableSettings) -> dict[str, Any]:
        """Settings, preparation, layout, the page's lines, and the tables."""
        result: dict[str, Any] = {
            "model_settings": {
                "use_doc_preprocessor": settings.page.preprocessor,
                "use_layout_detection": settings.layout,
                "use_ocr_model": True,
            }
        }
        if settings.page.preprocessor:
            result["doc_preprocessor_res"] = settings.page.result(found.ocr.angle)
        if found.layout is not None:
            result["layout_det_res"] = layout_result(found.layout)
        read = pruned_result(found.ocr, settings.ocr)
        result["overall_ocr_res"] = read
        result["table_res_list"] = table_results(found.tables, found.ocr, read)
        return result

    def pictures(self, found: TablePage, sheet: Sheet, settings: TableSettings) -> dict[str, Any]:
        """Layout, preparation, lines and cells, where there are any; and the page."""
        pictures: dict[str, bytes] = {}
        if found.layout is not None:
            layout = layout_picture(sheet.upright, found.layout, sheet.pen, RECIPE_V3)
            pictures["layout_det_res"] = sheet.jpeg(layout)
        if settings.page.preprocessor:
            pictures["preprocessed_img"] = sheet.preprocessing(settings.page)
        quads = found.ocr.quads[found.ocr.kept]
        pictures["ocr_res_img"] = sheet.jpeg(ocr_picture(sheet.upright, quads, found.ocr.texts, sheet.pen))
        if found.tables:
            cells = cell_picture(sheet.upright, [table.cells for table in found.tables])
            pictures["table_cell_img"] = sheet.jpeg(cells)
        return {"outputImages": pictures, "inputImage": sheet.jpeg(sheet.pixels)}


def table_results(tables: list[Table], page: OcrPage, read: dict[str, Any]) -> list[dict[str, Any]]:
    """``table_res_list`` (3.x); ``read`` is the answer for the page's lines."""
    return [
        {
            "cell_box_list": table.cells,
            "pred_html": table.html,
            "table_ocr_pred": {
                "rec_polys": read["rec_polys"][table.lines],
                "rec_texts": [page.texts[line] for line in table.lines],
                "rec_scores": [page.scores[line] for line in table.lines],
                "rec_boxes": read["rec_boxes"][table.lines],
            },
        }
        for table in tables
    ]


class TableForm2024(PageForm2024):
    """2024: one image in, ``tables`` and always two pictures out."""

    params_type = TableParams

    def params(self, request: PageRequest2024, config: PipelineConfig) -> TableParams:
        """Reading as on ``/ocr`` in that generation. Raises BadRequest or PipelineError."""
        reading = reading_2024(request.inference_params)
        if "layout" not in config.models:
            raise PipelineError(INVALID_SETTINGS)
        return TableParams(reading, crops=True)

    def respond(self, reply: Reply) -> dict[str, Any]:
        """``{tables, layoutImage, ocrImage}``; of a TIFF with several frames the first."""
        page = reply.pages[0]
        found = cast("TablePage", page.result)
        tables = [{"bbox": [float(side) for side in table.box], "html": table.html} for table in found.tables]
        result: dict[str, Any] = {"tables": tables}
        if page.pixels is not None and found.layout is not None:
            pen = Pen(reply.font)
            layout = layout_picture(page.pixels, found.layout, pen, RECIPE_2024)
            result["layoutImage"] = jpeg(layout, quality=75)
            result["ocrImage"] = jpeg(ocr_picture(page.pixels, *sure_lines(found.ocr), pen), quality=75)
        return result
