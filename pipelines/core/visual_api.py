"""``POST /chatocr-visual`` of 3.x: request, settings, answer (API reference, 10.13)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from .base import Form, Generation, PipelineConfig, Reply, Source
from .box_rules import MERGE_MODES, Boxes, BoxRules
from .chat_settings import ChatOptions
from .draw import Pen, jpeg, ocr_picture
from .draw_boxes import RECIPE_V3, Recipe, draw_boxes
from .errors import BadRequest, PipelineError
from .lines import rotated
from .ocr_api import (
    Integer,
    Number,
    OcrForm,
    OcrOptions,
    OcrPage,
    OcrParams,
    OcrRequest,
    Settings,
    UnclipRatio,
    pruned_result,
)
from .page_blocks import Block, visual_info
from .page_settings import INVALID_SETTINGS, PageOptions, PageSettings


class VisualOptions(PageOptions, frozen=True):
    """Settings of document chat; PaddleX's but that UVDoc, tables and seals have no model by default.

    Attributes:
        rules: for the layout.
        ocr: how pages are read; it prepares no page of its own.
        chat: models and prompts.
    """

    rules: BoxRules = BoxRules()
    ocr: OcrOptions = OcrOptions(use_doc_preprocessor=False, limit_side_len=960, limit_type="max")
    chat: ChatOptions = ChatOptions()

    @classmethod
    def of(cls, config: PipelineConfig) -> VisualOptions:
        """From the builtins that a configuration holds: after a trip through JSON, class ids are text."""
        return msgspec.convert(config.options, cls, str_keys=True)


class VisualParams(msgspec.Struct, frozen=True):
    """What one page needs to know on a device: how it is turned and read, and rules for its layout."""

    ocr: OcrParams = OcrParams()
    rules: BoxRules = BoxRules()


class VisualPage(msgspec.Struct, frozen=True):
    """What a device found on one page."""

    ocr: OcrPage
    layout: Boxes
    blocks: list[Block]


class VisualRequest(msgspec.Struct, rename="camel"):
    """Body of 3.x."""

    file: str
    file_type: Literal[0, 1] | None = None
    use_doc_orientation_classify: bool | None = None
    use_doc_unwarping: bool | None = None
    use_seal_recognition: bool | None = None
    use_table_recognition: bool | None = None
    layout_threshold: Number | dict[str, Any] | None = None
    layout_nms: bool | None = None
    layout_unclip_ratio: Number | list[Number] | dict[str, Any] | None = None
    layout_merge_bboxes_mode: str | dict[str, Any] | None = None
    text_det_limit_side_len: Integer | None = None
    text_det_limit_type: str | None = None
    text_det_thresh: Number | None = None
    text_det_box_thresh: Number | None = None
    text_det_unclip_ratio: UnclipRatio | None = None
    text_rec_score_thresh: Number | None = None
    seal_det_limit_side_len: Integer | None = None
    seal_det_limit_type: str | None = None
    seal_det_thresh: Number | None = None
    seal_det_box_thresh: Number | None = None
    seal_det_unclip_ratio: UnclipRatio | None = None
    seal_rec_score_thresh: Number | None = None
    visualize: bool | None = None


def ocr_config(config: PipelineConfig) -> PipelineConfig:
    """The pipeline's configuration as that of the OCR pipeline inside."""
    own = VisualOptions.of(config)
    return msgspec.structs.replace(config, options=msgspec.to_builtins(own.ocr))


class VisualSettings:
    """A request's parameters over a pipeline's options.

    Raises:
        PipelineError: the request asks for a sub-model that is not loaded.
        BadRequest: a rule for the layout that is none.
    """

    def __init__(self, request: VisualRequest, config: PipelineConfig) -> None:
        own = VisualOptions.of(config)
        orientation, unwarping = request.use_doc_orientation_classify, request.use_doc_unwarping
        self.page = PageSettings.of(orientation, unwarping, own)
        self.page.check(config)
        if request.use_table_recognition or request.use_seal_recognition:
            raise PipelineError(INVALID_SETTINGS)
        self.rules = _rules(request).over(own.rules)
        fields = {name: getattr(request, name) for name in _READING}
        #: of the OCR pipeline inside
        self.reading = OcrRequest("", **fields)
        self.ocr = Settings(self.reading, ocr_config(config))

    @property
    def model_settings(self) -> dict[str, bool]:
        """As 3.x answers them."""
        return {
            "use_doc_preprocessor": self.page.preprocessor,
            "use_seal_recognition": False,
            "use_table_recognition": False,
            "use_formula_recognition": False,
        }


_READING = (
    "text_det_limit_side_len", "text_det_limit_type", "text_det_thresh", "text_det_box_thresh",
    "text_det_unclip_ratio", "text_rec_score_thresh",
)  # fmt: skip


def _rules(request: VisualRequest) -> BoxRules:
    """The request's rules for the layout. In JSON class ids are text; PaddleX never finds them."""
    ratio = request.layout_unclip_ratio
    if isinstance(ratio, (int, float)):
        ratio = [ratio, ratio]
    rules = {
        "threshold": request.layout_threshold,
        "layout_nms": bool(request.layout_nms),
        "layout_unclip_ratio": ratio,
        "layout_merge_bboxes_mode": request.layout_merge_bboxes_mode,
    }
    try:
        found = msgspec.convert(rules, BoxRules, str_keys=True)
    except msgspec.ValidationError as error:
        raise BadRequest(f"The rules for the layout are not valid: {error}") from None
    mode = found.layout_merge_bboxes_mode
    words = set(mode.values()) if isinstance(mode, dict) else {mode} - {None, ""}
    if not words <= set(MERGE_MODES):
        raise BadRequest(f"`layoutMergeBboxesMode` must be one of {', '.join(MERGE_MODES)}")
    return found


class VisualForm(Form):
    """3.x: documents in, ``layoutParsingResults`` and ``visualInfo`` out."""

    generation: ClassVar[Generation] = "v3"
    request = VisualRequest
    params_type = VisualParams
    marks: ClassVar[frozenset[str]] = frozenset(
        field.encode_name for field in msgspec.structs.fields(VisualRequest)
    )

    def source(self, request: VisualRequest) -> Source:
        """``file`` with the client's ``fileType``."""
        return Source("file", request.file, request.file_type)

    def params(self, request: VisualRequest, config: PipelineConfig) -> VisualParams:
        """Raises PipelineError and BadRequest."""
        settings = VisualSettings(request, config)
        ocr = OcrForm().params(settings.reading, ocr_config(config))
        return VisualParams(msgspec.structs.replace(ocr, doc_orientation=settings.page.turns), settings.rules)

    def respond(self, reply: Reply) -> dict[str, Any]:
        """``{layoutParsingResults, visualInfo, dataInfo}``."""
        settings = VisualSettings(cast("VisualRequest", reply.request), reply.config)
        pen = Pen(reply.font) if reply.visualize else None
        results, infos = [], []
        for page in reply.pages:
            found = cast("VisualPage", page.result)
            result: dict[str, Any] = {"prunedResult": _pruned(found, settings)}
            if pen is not None and page.pixels is not None:
                result |= _pictures(found, page.pixels, settings, reply.config, pen)
            results.append(result)
            infos.append(visual_info(found.blocks))
        return {"layoutParsingResults": results, "visualInfo": infos, "dataInfo": reply.data_info}


def _pruned(found: VisualPage, settings: VisualSettings) -> dict[str, Any]:
    """``prunedResult`` of one page, keys in PaddleX's order."""
    result: dict[str, Any] = {
        "model_settings": settings.model_settings,
        "parsing_res_list": [
            {"block_bbox": block.box, "block_label": block.label, "block_content": block.content}
            for block in found.blocks
        ],
    }
    if settings.page.preprocessor:
        result["doc_preprocessor_res"] = settings.page.result(found.ocr.angle)
    boxes = [
        {"cls_id": int(row[0]), "label": label, "score": row[1], "coordinate": row[2:6]}
        for row, label in zip(found.layout.rows.tolist(), found.layout.labels, strict=True)
    ]
    result["layout_det_res"] = {"boxes": boxes}
    result["overall_ocr_res"] = pruned_result(found.ocr, settings.ocr)
    return result


def layout_picture(page: NDArray[np.uint8], layout: Boxes, pen: Pen, recipe: Recipe) -> NDArray[np.uint8]:
    """The page with the boxes of its layout."""
    picture: NDArray[np.uint8] = page.copy()
    draw_boxes(picture, layout.rows[:, 2:6], layout.labels, layout.rows[:, 1].tolist(), pen, recipe)
    return picture


def _pictures(
    found: VisualPage, pixels: NDArray[np.uint8], settings: VisualSettings, config: PipelineConfig, pen: Pen
) -> dict[str, Any]:
    largest = config.serving.max_output_img_size
    turned = rotated(pixels, found.ocr.angle)
    pictures: dict[str, bytes] = {}
    if settings.page.preprocessor:
        shown = settings.page.picture(pixels, turned, found.ocr.angle, pen)
        pictures["preprocessed_img"] = jpeg(shown, largest)
    pictures["layout_det_res"] = jpeg(layout_picture(turned, found.layout, pen, RECIPE_V3), largest)
    quads = found.ocr.quads[found.ocr.kept]
    pictures["overall_ocr_res"] = jpeg(ocr_picture(turned, quads, found.ocr.texts, pen), largest)
    return {"outputImages": pictures, "inputImage": jpeg(pixels, largest)}
