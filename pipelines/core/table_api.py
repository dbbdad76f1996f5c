"""``POST /table-recognition`` in both generations: requests, settings, answers (API reference, 10.9)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from .base import Form, Generation, PipelineConfig, Reply, Source
from .box_rules import Boxes
from .detection_size import DetectionParams
from .draw import Pen, jpeg, ocr_picture
from .draw_boxes import RECIPE_2024, RECIPE_V3
from .errors import BadRequest, PipelineError
from .lines import rotated
from .ocr_api import (
    InferenceParams,
    Integer,
    Number,
    OcrOptions,
    OcrPage,
    OcrParams,
    OcrRequest,
    Settings,
    UnclipRatio,
    pruned_result,
    sure_lines,
)
from .page_settings import INVALID_SETTINGS, PageOptions, PageSettings
from .table_pictures import cell_picture, layout_picture


class TableOptions(PageOptions, frozen=True):
    """Settings of a table pipeline.

    The defaults are those of PaddleX 3.7.2's ``table_recognition.yaml`` but that UVDoc is not loaded.

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


class TableRequest(msgspec.Struct, rename="camel"):
    """Body of 3.x."""

    file: str
    file_type: Literal[0, 1] | None = None
    use_doc_orientation_classify: bool | None = None
    use_doc_unwarping: bool | None = None
    use_layout_detection: bool | None = None
    use_ocr_model: bool | None = None
    text_det_limit_side_len: Integer | None = None
    text_det_limit_type: str | None = None
    text_det_thresh: Number | None = None
    text_det_box_thresh: Number | None = None
    text_det_unclip_ratio: UnclipRatio | None = None
    text_rec_score_thresh: Number | None = None
    use_ocr_results_with_table_cells: bool = False
    visualize: bool | None = None


class TableRequest2024(msgspec.Struct, rename="camel"):
    """Body of the 2024 generation."""

    image: str
    inference_params: InferenceParams | None = None


class TableSettings:
    """A request's parameters over a pipeline's options.

    Raises:
        PipelineError: the request asks for a sub-model that is not loaded, or for none that reads.
    """

    def __init__(self, request: TableRequest, config: PipelineConfig) -> None:
        own = msgspec.convert(config.options, TableOptions)
        orientation, unwarping = request.use_doc_orientation_classify, request.use_doc_unwarping
        self.page = PageSettings.of(orientation, unwarping, own)
        self.page.check(config)
        asked = request.use_layout_detection
        self.layout = own.use_layout_detection if asked is None else asked
        if (self.layout and "layout" not in config.models) or request.use_ocr_model is False:
            raise PipelineError(INVALID_SETTINGS)
        reading = OcrRequest(
            "",
            text_det_limit_side_len=request.text_det_limit_side_len,
            text_det_limit_type=request.text_det_limit_type,
            text_det_thresh=request.text_det_thresh,
            text_det_box_thresh=request.text_det_box_thresh,
            text_det_unclip_ratio=request.text_det_unclip_ratio,
            text_rec_score_thresh=request.text_rec_score_thresh,
        )
        #: of the sub-pipeline
        self.ocr = Settings(reading, reader_config(config))


def reader_config(config: PipelineConfig) -> PipelineConfig:
    """A table pipeline's configuration as that of the OCR pipeline inside."""
    own = msgspec.convert(config.options, TableOptions)
    return msgspec.structs.replace(config, options=msgspec.to_builtins(own.ocr))


class TableForm(Form):
    """3.x: documents in, ``tableRecResults`` out."""

    generation: ClassVar[Generation] = "v3"
    request = TableRequest
    params_type = TableParams
    marks: ClassVar[frozenset[str]] = frozenset(
        field.encode_name for field in msgspec.structs.fields(TableRequest)
    )

    def source(self, request: TableRequest) -> Source:
        """``file`` with the client's ``fileType``."""
        return Source("file", request.file, request.file_type)

    def params(self, request: TableRequest, config: PipelineConfig) -> TableParams:
        """Raises PipelineError for a sub-model that is not loaded."""
        settings = TableSettings(request, config)
        ocr = settings.ocr.params()
        return TableParams(
            ocr=msgspec.structs.replace(ocr, doc_orientation=settings.page.turns),
            layout=settings.layout,
            by_cell=request.use_ocr_results_with_table_cells,
        )

    def respond(self, reply: Reply) -> dict[str, Any]:
        """``{tableRecResults, dataInfo}``."""
        settings = TableSettings(cast("TableRequest", reply.request), reply.config)
        pen = Pen(reply.font) if reply.visualize else None
        results = []
        for page in reply.pages:
            found = cast("TablePage", page.result)
            result: dict[str, Any] = {"prunedResult": _pruned(found, settings)}
            if pen is not None and page.pixels is not None:
                result |= _pictures(found, page.pixels, settings, reply.config, pen)
            results.append(result)
        return {"tableRecResults": results, "dataInfo": reply.data_info}


def _pruned(found: TablePage, settings: TableSettings) -> dict[str, Any]:
    """``prunedResult`` of one page, keys in PaddleX's order."""
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
        result["layout_det_res"] = {"boxes": _layout_boxes(found.layout)}
    read = pruned_result(found.ocr, settings.ocr)
    result["overall_ocr_res"] = read
    result["table_res_list"] = [
        {
            "cell_box_list": table.cells,
            "pred_html": table.html,
            "table_ocr_pred": {
                "rec_polys": read["rec_polys"][table.lines],
                "rec_texts": [found.ocr.texts[line] for line in table.lines],
                "rec_scores": [found.ocr.scores[line] for line in table.lines],
                "rec_boxes": read["rec_boxes"][table.lines],
            },
        }
        for table in found.tables
    ]
    return result


def _layout_boxes(layout: Boxes) -> list[dict[str, Any]]:
    return [
        {"cls_id": int(row[0]), "label": label, "score": row[1], "coordinate": row[2:]}
        for row, label in zip(layout.rows.tolist(), layout.labels, strict=True)
    ]


def _pictures(
    found: TablePage, pixels: NDArray[np.uint8], settings: TableSettings, config: PipelineConfig, pen: Pen
) -> dict[str, Any]:
    largest = config.serving.max_output_img_size
    turned = rotated(pixels, found.ocr.angle)
    pictures: dict[str, bytes] = {}
    if found.layout is not None:
        pictures["layout_det_res"] = jpeg(layout_picture(turned, found.layout, pen, RECIPE_V3), largest)
    if settings.page.preprocessor:
        shown = settings.page.picture(pixels, turned, found.ocr.angle, pen)
        pictures["preprocessed_img"] = jpeg(shown, largest)
    quads = found.ocr.quads[found.ocr.kept]
    pictures["ocr_res_img"] = jpeg(ocr_picture(turned, quads, found.ocr.texts, pen), largest)
    if found.tables:
        pictures["table_cell_img"] = jpeg(
            cell_picture(turned, [table.cells for table in found.tables]), largest
        )
    return {"outputImages": pictures, "inputImage": jpeg(pixels, largest)}


class TableForm2024(Form):
    """2024: one image in, ``tables`` and always two pictures out."""

    generation: ClassVar[Generation] = "2024"
    request = TableRequest2024
    params_type = TableParams
    marks: ClassVar[frozenset[str]] = frozenset(
        field.encode_name for field in msgspec.structs.fields(TableRequest2024)
    )

    def source(self, request: TableRequest2024) -> Source:
        """``image``, which is never a PDF."""
        return Source("image", request.image, 1)

    def params(self, request: TableRequest2024, config: PipelineConfig) -> TableParams:
        """Reading as on ``/ocr`` in that generation. Raises BadRequest or PipelineError."""
        if request.inference_params is not None and request.inference_params.max_long_side is not None:
            raise BadRequest("`max_long_side` is currently not supported.")
        if "layout" not in config.models:
            raise PipelineError(INVALID_SETTINGS)
        return TableParams(OcrParams(detection=DetectionParams(limit_type="max"), alone=True), crops=True)

    def visualize(self, request: TableRequest2024, config: PipelineConfig) -> bool:
        """That generation has no switch."""
        return True

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
