"""``POST /chatocr-visual`` of 3.x: request, settings, answer (API reference, 10.13)."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from .box_rules import MERGE_MODES, Boxes, BoxRules
from .chat_settings import ChatOptions
from .config import PipelineConfig
from .document_api import DocumentForm, DocumentRequest, Integer, Number, Sheet, UnclipRatio, wire_names
from .draw import ocr_picture
from .draw_boxes import RECIPE_V3
from .errors import BadRequest, PipelineError
from .forms import Reply
from .ocr_api import (
    OcrOptions,
    OcrPage,
    OcrParams,
    OcrRequest,
    ReadingOptions,
    ReadingSettings,
    Settings,
    pruned_result,
)
from .page_blocks import Block, texts_by_label
from .page_layout import layout_picture, layout_result
from .page_settings import INVALID_SETTINGS
from .seals import Seal, seal_picture, seal_result
from .table_api import Table, table_results
from .table_pictures import cell_picture

#: PaddleX 3.7.2's values for the text of seals.
SEAL_READING = OcrOptions(
    use_doc_preprocessor=False, limit_side_len=736, limit_type="min",
    thresh=0.2, box_thresh=0.6, unclip_ratio=0.5, rec_batch_size=1,
)  # fmt: skip


class VisualOptions(ReadingOptions, frozen=True):
    """Settings of document chat; PaddleX's but that UVDoc and seals have no model by default.

    Attributes:
        use_table_recognition, use_seal_recognition: load the models for such parts of a page.
        seal: how the text of seals is read.
        rules: for the layout.
        chat: models and prompts.
        left_out: what the YAML asks for and cannot be had, in words.
    """

    use_table_recognition: bool = True
    use_seal_recognition: bool = False
    seal: OcrOptions = SEAL_READING
    rules: BoxRules = BoxRules()
    left_out: tuple[str, ...] = ()
    chat: ChatOptions = ChatOptions()

    @classmethod
    def of(cls, config: PipelineConfig) -> VisualOptions:
        """From the builtins that a configuration holds: after a trip through JSON, class ids are text."""
        return msgspec.convert(config.options, cls, str_keys=True)


class VisualParams(msgspec.Struct, frozen=True):
    """What one page needs to know on a device.

    Attributes:
        ocr: how it is turned and read.
        rules: for its layout.
        tables: recognise them.
        crops: as the 2024 generation does, read every table again by itself, and match inside of it.
        seals: how the text of seals is read; None: not at all.
    """

    ocr: OcrParams = OcrParams()
    rules: BoxRules = BoxRules()
    tables: bool = False
    crops: bool = False
    seals: OcrParams | None = None


class VisualPage(msgspec.Struct, frozen=True):
    """What a device found on one page; ``table_texts`` has the texts of each table in one line."""

    ocr: OcrPage
    layout: Boxes
    blocks: list[Block]
    tables: list[Table] = []
    table_texts: list[str] = []
    seals: list[Seal] = []

    @property
    def info(self) -> dict[str, Any]:
        """The page's entry of ``visualInfo`` (3.x)."""
        return {
            "normal_text_dict": texts_by_label(self.blocks, "words in "),
            "table_text_list": self.table_texts,
            "table_html_list": [table.html for table in self.tables],
        }


class VisualRequest(DocumentRequest, rename="camel"):
    """Body of 3.x."""

    use_seal_recognition: bool | None = None
    use_table_recognition: bool | None = None
    layout_threshold: Number | dict[str, Any] | None = None
    layout_nms: bool | None = None
    layout_unclip_ratio: Number | list[Number] | dict[str, Any] | None = None
    layout_merge_bboxes_mode: str | dict[str, Any] | None = None
    seal_det_limit_side_len: Integer | None = None
    seal_det_limit_type: str | None = None
    seal_det_thresh: Number | None = None
    seal_det_box_thresh: Number | None = None
    seal_det_unclip_ratio: UnclipRatio | None = None
    seal_rec_score_thresh: Number | None = None


class VisualSettings(ReadingSettings):
    """A request's parameters over a pipeline's options.

    Attributes:
        rules: for the layout.
        tables: recognise them.
        seals: how their text is read; None: not at all.

    Raises:
        PipelineError: the request asks for a sub-model that is not loaded.
        BadRequest: a rule for the layout that is none.
    """

    def __init__(self, request: VisualRequest, config: PipelineConfig) -> None:
        own = VisualOptions.of(config)
        super().__init__(request, own, config)
        self.tables = _switch(request.use_table_recognition, "table_structure" in config.models)
        reads_seals = _switch(request.use_seal_recognition, "seal_detection" in config.models)
        self.seals = _seal_settings(request, own, config) if reads_seals else None
        self.rules = _rules(request).over(own.rules)

    @property
    def model_settings(self) -> dict[str, bool]:
        """As 3.x answers them."""
        return {
            "use_doc_preprocessor": self.page.preprocessor,
            "use_seal_recognition": self.seals is not None,
            "use_table_recognition": self.tables,
            "use_formula_recognition": False,
        }


def _switch(asked: bool | None, loaded: bool) -> bool:
    """Whether a model is used; null is wherever it is loaded. Raises PipelineError."""
    if asked and not loaded:
        raise PipelineError(INVALID_SETTINGS)
    return loaded if asked is None else asked


def _seal_settings(request: VisualRequest, own: VisualOptions, config: PipelineConfig) -> Settings:
    """The fields ``sealDet...`` and ``sealRec...`` over the options, by the rules of an OCR pipeline."""
    names = [name for name in VisualRequest.__struct_fields__ if name.startswith("seal_")]
    asked = {name.replace("seal_", "text_", 1): getattr(request, name) for name in names}
    inner = msgspec.structs.replace(config, options=msgspec.to_builtins(own.seal))
    return Settings(OcrRequest("", **asked), inner)


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


class VisualForm(DocumentForm[VisualSettings]):
    """3.x: documents in, ``layoutParsingResults`` and ``visualInfo`` out."""

    request = VisualRequest
    params_type = VisualParams
    marks: ClassVar[frozenset[str]] = wire_names(VisualRequest)
    results = "layoutParsingResults"

    def params(self, request: VisualRequest, config: PipelineConfig) -> VisualParams:
        """Raises PipelineError and BadRequest."""
        settings = VisualSettings(request, config)
        seals = settings.seals.params() if settings.seals else None
        reading = msgspec.structs.replace(settings.reading(), drawn=self.visualize(request, config))
        return VisualParams(reading, settings.rules, settings.tables, seals=seals)

    def settings(self, request: VisualRequest, config: PipelineConfig) -> VisualSettings:
        """As in :class:`VisualSettings`."""
        return VisualSettings(request, config)

    def angle(self, found: VisualPage) -> int:
        """As the device says."""
        return found.ocr.angle

    def flat(self, found: VisualPage) -> NDArray[np.uint8] | None:
        """As the device unwarped it."""
        return found.ocr.flat

    def pruned(self, found: VisualPage, settings: VisualSettings) -> dict[str, Any]:
        """Settings, blocks, preparation, layout, and the page's lines."""
        result: dict[str, Any] = {
            "model_settings": settings.model_settings,
            "parsing_res_list": [
                {"block_bbox": block.box, "block_label": block.label, "block_content": block.content}
                for block in found.blocks
            ],
        }
        if settings.page.preprocessor:
            result["doc_preprocessor_res"] = settings.page.result(found.ocr.angle)
        result["layout_det_res"] = layout_result(found.layout)
        read = pruned_result(found.ocr, settings.ocr)
        result["overall_ocr_res"] = read
        if found.tables:
            result["table_res_list"] = table_results(found.tables, found.ocr, read)
        if found.seals and settings.seals:
            result["seal_res_list"] = [seal_result(seal, settings.seals) for seal in found.seals]
        return result

    def pictures(self, found: VisualPage, sheet: Sheet, settings: VisualSettings) -> dict[str, Any]:
        """Preparation where there was one, layout, lines, cells of tables, seals; and the page."""
        pictures: dict[str, bytes] = {}
        if settings.page.preprocessor:
            pictures["preprocessed_img"] = sheet.preprocessing(settings.page)
        layout = layout_picture(sheet.upright, found.layout, sheet.pen, RECIPE_V3)
        pictures["layout_det_res"] = sheet.jpeg(layout)
        quads = found.ocr.quads[found.ocr.kept]
        lines = ocr_picture(sheet.upright, quads, found.ocr.texts, sheet.pen)
        pictures["overall_ocr_res"] = sheet.jpeg(lines)
        if found.tables:
            cells = cell_picture(sheet.upright, [table.cells for table in found.tables])
            pictures["table_cell_img"] = sheet.jpeg(cells)
        for number, seal in enumerate(found.seals, 1):
            pictures[f"seal_res_region{number}"] = sheet.jpeg(seal_picture(sheet.upright, seal, sheet.pen))
        return {"outputImages": pictures, "inputImage": sheet.jpeg(sheet.pixels)}

    def respond(self, reply: Reply) -> dict[str, Any]:
        """``{layoutParsingResults, visualInfo, dataInfo}``."""
        answer = super().respond(reply)
        infos = [cast("VisualPage", page.result).info for page in reply.pages]
        return {self.results: answer.pop(self.results), "visualInfo": infos, **answer}
