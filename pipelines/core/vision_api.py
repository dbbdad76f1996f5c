"""``POST /chatocr-vision`` of 2024: request, answer (API reference, 10.13)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, cast

import msgspec

from .config import Generation, PipelineConfig
from .detection_size import SEAL_2024, DetectionParams
from .document_api import InferenceParams, wire_names
from .draw import Pen, jpeg, ocr_picture
from .draw_boxes import RECIPE_2024
from .forms import Form, Page, Reply, Source
from .lines import rotated
from .ocr_api import OcrParams, reading_2024
from .page_blocks import texts_by_label
from .page_layout import layout_picture
from .visual_api import VisualOptions, VisualPage, VisualParams

#: The model's own thresholds and size; line by line.
_SEALS = OcrParams(detection=DetectionParams(limit_type=SEAL_2024), alone=True)
#: That generation's label for what a seal says.
_SEAL = "印章"


class VisionRequest(msgspec.Struct, rename="camel"):
    """Body of the 2024 generation."""

    file: str
    file_type: Literal[0, 1] | None = None
    use_img_orientation_cls: bool = True
    use_img_unwrapping: bool = True
    use_seal_text_det: bool = True
    inference_params: InferenceParams | None = None


class VisionForm(Form):
    """2024: a document in, ``visionResults`` with pictures and ``visionInfo`` out."""

    generation: ClassVar[Generation] = "2024"
    request = VisionRequest
    params_type = VisualParams
    marks: ClassVar[frozenset[str]] = wire_names(VisionRequest)

    def source(self, request: VisionRequest) -> Source:
        """``file`` with the client's ``fileType``."""
        return Source("file", request.file, request.file_type)

    def params(self, request: VisionRequest, config: PipelineConfig) -> VisualParams:
        """Models that are not loaded are left out without a word, as in PaddleX. Raises BadRequest."""
        reading = reading_2024(request.inference_params)
        turns = request.use_img_orientation_cls and "doc_orientation" in config.models
        unwarps = request.use_img_unwrapping and "doc_unwarping" in config.models
        ocr = msgspec.structs.replace(reading, doc_orientation=turns, doc_unwarping=unwarps, drawn=True)
        rules = msgspec.structs.replace(VisualOptions.of(config).rules, v3=False)
        seals = _SEALS if request.use_seal_text_det and "seal_detection" in config.models else None
        return VisualParams(ocr, rules, "table_structure" in config.models, crops=True, seals=seals)

    def visualize(self, request: VisionRequest, config: PipelineConfig) -> bool:
        """That generation has no switch."""
        return True

    def respond(self, reply: Reply) -> dict[str, Any]:
        """``{visionResults, visionInfo}``, of all pages."""
        pen, pages = Pen(reply.font), [cast("VisualPage", page.result) for page in reply.pages]
        results = [_vision_result(found, page, pen) for found, page in zip(pages, reply.pages, strict=True)]
        info = {
            "ocr_text": [_texts(found) for found in pages],
            "table_html": [table.html for found in pages for table in found.tables],
            "table_text": [" ".join(found.table_texts) for found in pages],
        }
        return {"visionResults": results, "visionInfo": info}


def _texts(found: VisualPage) -> dict[str, str]:
    """Texts by label; what a seal says has a label of its own."""
    blocks = [
        msgspec.structs.replace(block, label=_SEAL) if block.own and block.label == "seal" else block
        for block in found.blocks
    ]
    return texts_by_label(blocks)


def _vision_result(found: VisualPage, page: Page, pen: Pen) -> dict[str, Any]:
    quads = found.ocr.quads[found.ocr.kept]
    lines = zip(quads, found.ocr.texts, found.ocr.scores, strict=True)
    result: dict[str, Any] = {
        "texts": [{"poly": quad.tolist(), "text": text, "score": score} for quad, text, score in lines],
        "tables": [
            {"bbox": [float(side) for side in table.box], "html": table.html} for table in found.tables
        ],
    }
    if page.pixels is not None:
        turned = rotated(page.pixels, found.ocr.angle) if found.ocr.flat is None else found.ocr.flat
        layout = layout_picture(turned, found.layout, pen, RECIPE_2024)
        result["inputImage"] = jpeg(page.pixels, quality=75)
        result["ocrImage"] = jpeg(ocr_picture(turned, quads, found.ocr.texts, pen), quality=75)
        result["layoutImage"] = jpeg(layout, quality=75)
    return result
