"""``POST /ocr`` in both generations: requests, settings, answers (API reference, 10.8)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, cast

import msgspec
import numpy as np

from .base import Form, Generation, Page, PipelineConfig, Reply, Source
from .detection_size import DetectionParams
from .draw import Pen, jpeg, ocr_picture
from .errors import BadRequest, PipelineError
from .lines import rotated
from .page_settings import INVALID_SETTINGS, PageOptions, PageSettings

#: What JSON numbers may be: they travel as 64-bit integers and as floats that arithmetic survives.
Integer = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
Number = Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)]
#: Boxes only grow, and the cost of rounding their corners grows with them.
MAX_UNCLIP_RATIO = 100.0
UnclipRatio = Annotated[float, msgspec.Meta(ge=0.0, le=MAX_UNCLIP_RATIO)]

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


class OcrParams(msgspec.Struct, frozen=True):
    """What one page needs to know on a device.

    Attributes:
        detection: 0 in it means the model's own value.
        doc_orientation, textline_orientation: run these models.
        score_thresh: lines below it are left out.
        alone: read line by line as the 2024 generation does.
        expect: text that must be found, for the canary; "" for none.
    """

    detection: DetectionParams = DetectionParams()
    doc_orientation: bool = False
    textline_orientation: bool = False
    score_thresh: float = 0.0
    alone: bool = False
    expect: str = ""


class OcrPage(msgspec.Struct, frozen=True):
    """What a device found on one page.

    Attributes:
        angle: degrees counter-clockwise that the page was turned by, -1 if nobody looked.
        quads: int16 ``[N, 4, 2]``, all boxes in reading order, on the turned page.
        line_angles: per box 0 or 1 (180 degrees), -1 if nobody looked.
        kept: indices of the boxes whose text passed the score threshold.
        texts, scores: of the kept ones.
    """

    angle: int
    quads: np.ndarray
    line_angles: list[int]
    kept: list[int]
    texts: list[str]
    scores: list[float]


class OcrRequest(msgspec.Struct, rename="camel"):
    """Body of 3.x."""

    file: str
    file_type: Literal[0, 1] | None = None
    use_doc_orientation_classify: bool | None = None
    use_doc_unwarping: bool | None = None
    use_textline_orientation: bool | None = None
    text_det_limit_side_len: Integer | None = None
    text_det_limit_type: str | None = None
    text_det_thresh: Number | None = None
    text_det_box_thresh: Number | None = None
    text_det_unclip_ratio: UnclipRatio | None = None
    text_rec_score_thresh: Number | None = None
    return_word_box: bool | None = None
    visualize: bool | None = None
    log_id: str | None = None


class InferenceParams(msgspec.Struct, rename="camel"):
    """``inferenceParams`` of the 2024 generation."""

    max_long_side: Annotated[int, msgspec.Meta(gt=0)] | None = None


class OcrRequest2024(msgspec.Struct, rename="camel"):
    """Body of the 2024 generation."""

    image: str
    inference_params: InferenceParams | None = None


class Settings:
    """A request's parameters over a pipeline's options; PaddleX's rules for what is null.

    Raises:
        PipelineError: the request asks for a sub-model that is not loaded.
    """

    def __init__(self, request: OcrRequest, config: PipelineConfig) -> None:
        own = msgspec.convert(config.options, OcrOptions)
        self._own = own
        orientation, unwarping = request.use_doc_orientation_classify, request.use_doc_unwarping
        self.page = PageSettings.of(orientation, unwarping, own)
        asked = request.use_textline_orientation
        self.textline_orientation = own.use_textline_orientation if asked is None else asked
        self.score_thresh = _first(request.text_rec_score_thresh, own.rec_score_thresh)
        #: parameters as the answer repeats them, in PaddleX's order
        self.detection: dict[str, Any] = {
            "limit_side_len": _first(request.text_det_limit_side_len, own.limit_side_len),
            "limit_type": _first(request.text_det_limit_type, own.limit_type),
            "thresh": _first(request.text_det_thresh, own.thresh),
            "max_side_limit": own.max_side_limit,
            "box_thresh": _first(request.text_det_box_thresh, own.box_thresh),
            "unclip_ratio": _first(request.text_det_unclip_ratio, own.unclip_ratio),
        }
        self._check(request, config)

    def _check(self, request: OcrRequest, config: PipelineConfig) -> None:
        self.page.check(config)
        no_lines = self.textline_orientation and "textline_orientation" not in config.models
        if no_lines or request.return_word_box:
            raise PipelineError(INVALID_SETTINGS)

    def params(self) -> OcrParams:
        """What the device gets. Raises PipelineError on a wrong limit type."""
        return OcrParams(
            detection=self._detection_params(),
            doc_orientation=self.page.turns,
            textline_orientation=self.textline_orientation,
            score_thresh=self.score_thresh,
        )

    def _detection_params(self) -> DetectionParams:
        """0 and "" count as not given."""
        own, asked = self._own, self.detection
        limit_type = asked["limit_type"] or own.limit_type
        if limit_type and limit_type not in LIMIT_TYPES:
            raise PipelineError  # in PaddleX an unnamed 500 too
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


class OcrForm(Form):
    """3.x: documents in, ``ocrResults`` out."""

    generation: ClassVar[Generation] = "v3"
    request = OcrRequest
    params_type = OcrParams
    marks: ClassVar[frozenset[str]] = frozenset(
        field.encode_name for field in msgspec.structs.fields(OcrRequest)
    )

    def source(self, request: OcrRequest) -> Source:
        """``file`` with the client's ``fileType``."""
        return Source("file", request.file, request.file_type)

    def params(self, request: OcrRequest, config: PipelineConfig) -> OcrParams:
        """Raises PipelineError for a sub-model that is not loaded."""
        return Settings(request, config).params()

    def respond(self, reply: Reply) -> dict[str, Any]:
        """``{ocrResults, dataInfo}``."""
        settings = Settings(cast("OcrRequest", reply.request), reply.config)
        pen = Pen(reply.font) if reply.visualize else None
        results = []
        for page in reply.pages:
            result: dict[str, Any] = {"prunedResult": pruned_result(_found(page), settings)}
            if pen is not None and page.pixels is not None:
                result |= _pictures(page, page.pixels, settings, reply.config, pen)
            results.append(result)
        return {"ocrResults": results, "dataInfo": reply.data_info}


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
    result["return_word_box"] = False
    result["rec_texts"] = found.texts
    result["rec_scores"] = found.scores
    result["rec_polys"] = kept
    result["rec_boxes"] = np.concatenate([kept.min(axis=1), kept.max(axis=1)], axis=1)
    return result


def _found(page: Page) -> OcrPage:
    return cast("OcrPage", page.result)


def _pictures(
    page: Page, pixels: np.ndarray, settings: Settings, config: PipelineConfig, pen: Pen
) -> dict[str, bytes]:
    found, largest = _found(page), config.serving.max_output_img_size
    turned = rotated(pixels, found.angle)
    pictures = {"ocrImage": jpeg(ocr_picture(turned, found.quads[found.kept], found.texts, pen), largest)}
    if settings.page.preprocessor:
        shown = settings.page.picture(pixels, turned, found.angle, pen)
        pictures["docPreprocessingImage"] = jpeg(shown, largest)
    pictures["inputImage"] = jpeg(pixels, largest)
    return pictures


class OcrForm2024(Form):
    """2024: one image in, ``texts`` and always a picture out."""

    generation: ClassVar[Generation] = "2024"
    request = OcrRequest2024
    params_type = OcrParams
    marks: ClassVar[frozenset[str]] = frozenset(
        field.encode_name for field in msgspec.structs.fields(OcrRequest2024)
    )

    def source(self, request: OcrRequest2024) -> Source:
        """``image``, which is never a PDF."""
        return Source("image", request.image, 1)

    def params(self, request: OcrRequest2024, config: PipelineConfig) -> OcrParams:
        """Detection at 960 px at most, the model's own thresholds, line by line. Raises BadRequest."""
        if request.inference_params is not None and request.inference_params.max_long_side is not None:
            raise BadRequest("`max_long_side` is currently not supported.")
        return OcrParams(detection=DetectionParams(limit_type="max"), alone=True)

    def visualize(self, request: OcrRequest2024, config: PipelineConfig) -> bool:
        """That generation has no switch."""
        return True

    def respond(self, reply: Reply) -> dict[str, Any]:
        """``{texts, image}``; of a TIFF with several frames the first."""
        page = reply.pages[0]
        found = _found(page)
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
