"""``POST /ocr`` in both generations: requests, settings, answers (API reference, 10.8)."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import msgspec
import numpy as np

from .config import PipelineConfig
from .detection_size import DetectionParams
from .document_api import (
    DocumentForm,
    DocumentRequest,
    InferenceParams,
    PageForm2024,
    PageRequest2024,
    Sheet,
    check_long_side,
    wire_names,
)
from .draw import Pen, jpeg, ocr_picture
from .errors import BadRequest, PipelineError
from .forms import Reply
from .page_settings import INVALID_SETTINGS, PageOptions, PageSettings

LIMIT_TYPES = ("min", "max", "resize_long")


class OcrOptions(PageOptions, frozen=True):
    """Settings of an OCR pipeline.

    The defaults are those of PaddleX 3.7.2's ``OCR.yaml`` but for two: UVDoc is not loaded, and line
    orientation runs only when asked for (docs/compatibility.md has the measurement).
    """

    use_textline_orientation: bool = False
    limit_side_len: int = 64
    limit_type: str = "min"
    max_side_limit: int = 4000
    thresh: float = 0.3
    box_thresh: float = 0.6
    unclip_ratio: float = 1.5
    rec_batch_size: int = 6
    rec_score_thresh: float = 0.0
    return_word_box: bool = False


class OcrParams(msgspec.Struct, frozen=True):
    """What one page needs to know on a device.

    Attributes:
        detection: 0 in it means the model's own value.
        doc_orientation, textline_orientation: run these models.
        score_thresh: lines below it are left out.
        alone: read line by line as the 2024 generation does.
        words: say where the words are, too.
        expect: text that must be found, for the canary; "" for none.
        doc_unwarping, drawn: unwarp the page; and send it back, because pictures are wanted.
    """

    detection: DetectionParams = DetectionParams()
    doc_orientation: bool = False
    textline_orientation: bool = False
    score_thresh: float = 0.0
    alone: bool = False
    words: bool = False
    expect: str = ""
    doc_unwarping: bool = False
    drawn: bool = False


class OcrPage(msgspec.Struct, frozen=True):
    """What a device found on one page.

    Attributes:
        angle: degrees counter-clockwise that the page was turned by, -1 if nobody looked.
        quads: int16 ``[N, 4, 2]``, all boxes in reading order, on the turned page.
        line_angles: per box 0 or 1 (180 degrees), -1 if nobody looked.
        kept: indices of the boxes whose text passed the score threshold.
        texts, scores: of the kept ones.
        words: of each kept one, where they were asked for.
        word_boxes: int32 ``[words, 4]``, of the words of all lines one behind the other.
        flat: uint8 ``[H, W, 3]`` BGR, the page that was read, where it was unwarped and is to be drawn on.
    """

    angle: int
    quads: np.ndarray
    line_angles: list[int]
    kept: list[int]
    texts: list[str]
    scores: list[float]
    words: list[list[str]] = []
    word_boxes: np.ndarray | None = None
    flat: np.ndarray | None = None


class OcrRequest(DocumentRequest, rename="camel"):
    """Body of 3.x."""

    use_textline_orientation: bool | None = None
    return_word_box: bool | None = None
    log_id: str | None = None


class Settings:
    """A request's parameters over a pipeline's options; PaddleX's rules for what is null.

    Raises:
        PipelineError: the request asks for a sub-model that is not loaded.
    """

    def __init__(self, request: OcrRequest, config: PipelineConfig) -> None:
        self._own = own = msgspec.convert(config.options, OcrOptions)
        orientation, unwarping = request.use_doc_orientation_classify, request.use_doc_unwarping
        self.page = PageSettings.of(orientation, unwarping, own, config)
        asked = request.use_textline_orientation
        self.textline_orientation = own.use_textline_orientation if asked is None else asked
        self.score_thresh = _first(request.text_rec_score_thresh, own.rec_score_thresh)
        self.words = _first(request.return_word_box, own.return_word_box)
        #: parameters as the answer repeats them, in PaddleX's order
        self.detection: dict[str, Any] = {
            "limit_side_len": _first(request.text_det_limit_side_len, own.limit_side_len),
            "limit_type": _first(request.text_det_limit_type, own.limit_type),
            "thresh": _first(request.text_det_thresh, own.thresh),
            "max_side_limit": own.max_side_limit,
            "box_thresh": _first(request.text_det_box_thresh, own.box_thresh),
            "unclip_ratio": _first(request.text_det_unclip_ratio, own.unclip_ratio),
        }
        self._check(config)

    def _check(self, config: PipelineConfig) -> None:
        self.page.check(config)
        if self.textline_orientation and "textline_orientation" not in config.models:
            raise PipelineError(INVALID_SETTINGS)

    def params(self) -> OcrParams:
        """What the device gets. Raises BadRequest on a wrong limit type."""
        return OcrParams(
            detection=self._detection_params(),
            doc_orientation=self.page.turns,
            doc_unwarping=self.page.unwarps,
            textline_orientation=self.textline_orientation,
            score_thresh=self.score_thresh,
            words=self.words,
        )

    def _detection_params(self) -> DetectionParams:
        """0 and "" count as not given."""
        own, asked = self._own, self.detection
        limit_type = asked["limit_type"] or own.limit_type
        if limit_type and limit_type not in LIMIT_TYPES:
            raise BadRequest(f"`textDetLimitType` must be one of {', '.join(LIMIT_TYPES)}")
        return DetectionParams(
            limit_side_len=asked["limit_side_len"] or own.limit_side_len,
            limit_type=limit_type,
            max_side_limit=own.max_side_limit,
            thresh=asked["thresh"] or own.thresh,
            box_thresh=asked["box_thresh"] or own.box_thresh,
            unclip_ratio=asked["unclip_ratio"] or own.unclip_ratio,
        )


def _first(asked: Any, default: Any) -> Any:
    return default if asked is None else asked


class ReadingOptions(PageOptions, frozen=True):
    """Settings of a pipeline with an OCR pipeline inside, which prepares no page of its own."""

    ocr: OcrOptions = OcrOptions(use_doc_preprocessor=False, limit_side_len=960, limit_type="max")


class ReadingSettings:
    """A request's parameters where OCR is a part of the pipeline.

    Attributes:
        page: how pages are prepared.
        ocr: of the OCR pipeline inside.

    Raises:
        PipelineError: the request asks for a sub-model that is not loaded.
    """

    def __init__(self, request: DocumentRequest, own: ReadingOptions, config: PipelineConfig) -> None:
        orientation, unwarping = request.use_doc_orientation_classify, request.use_doc_unwarping
        self.page = PageSettings.of(orientation, unwarping, own, config)
        self.page.check(config)
        reading = OcrRequest("", **{name: getattr(request, name) for name in _READING})
        self.ocr = Settings(reading, msgspec.structs.replace(config, options=msgspec.to_builtins(own.ocr)))

    def reading(self) -> OcrParams:
        """How a page is turned, unwarped and read. Raises BadRequest on a wrong limit type."""
        page = self.page
        return msgspec.structs.replace(
            self.ocr.params(), doc_orientation=page.turns, doc_unwarping=page.unwarps
        )


_READING = tuple(name for name in DocumentRequest.__struct_fields__ if name.startswith("text_"))


class OcrForm(DocumentForm[Settings]):
    """3.x: documents in, ``ocrResults`` out."""

    request = OcrRequest
    params_type = OcrParams
    marks: ClassVar[frozenset[str]] = wire_names(OcrRequest)
    results = "ocrResults"

    def params(self, request: OcrRequest, config: PipelineConfig) -> OcrParams:
        """Raises PipelineError for a sub-model that is not loaded."""
        params = Settings(request, config).params()
        return msgspec.structs.replace(params, drawn=self.visualize(request, config))

    def settings(self, request: OcrRequest, config: PipelineConfig) -> Settings:
        """As in :class:`Settings`."""
        return Settings(request, config)

    def angle(self, found: OcrPage) -> int:
        """As the device says."""
        return found.angle

    def flat(self, found: OcrPage) -> np.ndarray | None:
        """As the device made it."""
        return found.flat

    def pruned(self, found: OcrPage, settings: Settings) -> dict[str, Any]:
        """As in :func:`pruned_result`."""
        return pruned_result(found, settings)

    def pictures(self, found: OcrPage, sheet: Sheet, settings: Settings) -> dict[str, Any]:
        """The lines, the preparation, the page."""
        lines = ocr_picture(sheet.upright, found.quads[found.kept], found.texts, sheet.pen)
        pictures = {"ocrImage": sheet.jpeg(lines)}
        if settings.page.preprocessor:
            pictures["docPreprocessingImage"] = sheet.preprocessing(settings.page)
        pictures["inputImage"] = sheet.jpeg(sheet.pixels)
        return pictures


def pruned_result(found: OcrPage, settings: Settings) -> dict[str, Any]:
    """``prunedResult`` of one page, keys in PaddleX's order."""
    result: dict[str, Any] = {
        "model_settings": {
            "use_doc_preprocessor": settings.page.preprocessor,
            "use_textline_orientation": settings.textline_orientation,
        }
    }
    if settings.page.preprocessor:
        result["doc_preprocessor_res"] = settings.page.result(found.angle)
    kept = found.quads[found.kept]
    result["dt_polys"] = found.quads
    result["text_det_params"] = settings.detection
    result["text_type"] = "general"
    if len(found.quads):
        result["textline_orientation_angles"] = found.line_angles
    result["text_rec_score_thresh"] = settings.score_thresh
    result["return_word_box"] = settings.words
    result["rec_texts"] = found.texts
    result["rec_scores"] = found.scores
    result["rec_polys"] = kept
    result["rec_boxes"] = np.concatenate([kept.min(axis=1), kept.max(axis=1)], axis=1)
    if settings.words:
        ends = np.cumsum([len(words) for words in found.words])[:-1]
        boxes = np.empty((0, 4), np.int32) if found.word_boxes is None else found.word_boxes
        result["text_word_boxes"] = np.split(boxes, ends) if found.words else []
        result["text_word"] = found.words
    return result


def reading_2024(params: InferenceParams | None) -> OcrParams:
    """Detection at 960 px at most, the model's own thresholds, line by line. Raises BadRequest."""
    check_long_side(params)
    return OcrParams(detection=DetectionParams(limit_type="max"), alone=True)


class OcrForm2024(PageForm2024):
    """2024: one image in, ``texts`` and always a picture out."""

    params_type = OcrParams

    def params(self, request: PageRequest2024, config: PipelineConfig) -> OcrParams:
        """As in :func:`reading_2024`."""
        return reading_2024(request.inference_params)

    def respond(self, reply: Reply) -> dict[str, Any]:
        """``{texts, image}``; of a TIFF with several frames the first."""
        page = reply.pages[0]
        found = cast("OcrPage", page.result)
        lines = zip(found.quads[found.kept], found.texts, found.scores, strict=True)
        texts = [{"poly": quad.tolist(), "text": text, "score": score} for quad, text, score in lines]
        result: dict[str, Any] = {"texts": texts}
        if page.pixels is not None:
            drawn = ocr_picture(page.pixels, *sure_lines(found), Pen(reply.font))
            result["image"] = jpeg(drawn, quality=75)
        return result


def sure_lines(found: OcrPage) -> tuple[np.ndarray, list[str]]:
    """Boxes and texts that the 2024 generation draws: those with a score of 0.5 and more."""
    sure = [index for index, score in enumerate(found.scores) if score >= 0.5]
    return found.quads[[found.kept[index] for index in sure]], [found.texts[index] for index in sure]
