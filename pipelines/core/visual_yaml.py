"""``PP-ChatOCRv3-doc`` as YAML files of both generations write it."""

from __future__ import annotations

from typing import Any

import msgspec

from .box_yaml import module_rules
from .chat_yaml import beta_chat_options, v3_chat_options
from .errors import ConfigError
from .ocr_api import OcrOptions
from .ocr_yaml import page_options, v3_options
from .page_settings import UNWARPING_LEFT_OUT
from .visual_api import SEAL_READING, VisualOptions
from .yaml_config import ENGINE_KEYS, MODULE_KEYS, Section

_NO_FORMULAS = "formulas: this server has no such model"
_NO_SEALS = "text of seals: the YAML has no SealRecognition"
#: The OCR pipeline inside gets pages that are prepared already.
_NO_PAGES: dict[str, Any] = {"use_doc_preprocessor": False, "use_textline_orientation": False}
#: Of the 2024 generation.
_BETA_MODELS = (
    "layout_model", "text_det_model", "text_rec_model", "doc_image_ori_cls_model",
    "doc_image_unwarp_model", "table_model", "seal_text_det_model",
)  # fmt: skip


def v3_visual_options(own: Section) -> VisualOptions:
    """Settings of a 3.x YAML. Raises ConfigError."""
    own.skip("use_layout_parser", "use_mllm_predict")
    modules, pipelines = own.section("SubModules").skip("Embedding"), own.section("SubPipelines")
    chat = v3_chat_options(modules)
    parser = pipelines.section("LayoutParser").skip("pipeline_name", "use_general_ocr", *ENGINE_KEYS)
    tables = parser.take("use_table_recognition", bool, True)
    seals = parser.take("use_seal_recognition", bool, True)
    formulas = parser.take("use_formula_recognition", bool, True)
    parts, inner = parser.section("SubModules"), parser.section("SubPipelines")
    layout = parts.section("LayoutDetection")
    rules = module_rules(layout, "SubPipelines.LayoutParser.SubModules.LayoutDetection")
    layout.skip(*MODULE_KEYS, "batch_size").finish()
    pages = page_options(parser, inner, unwarping=True)
    general = _NO_PAGES | inner.take("GeneralOCR", dict[str, Any], {})
    reading = Section(general, "SubPipelines.LayoutParser.SubPipelines.GeneralOCR")
    ocr = v3_options(reading.skip("pipeline_name", *ENGINE_KEYS))
    seal = _seal_options(inner) if seals else None
    inner.skip("TableRecognition", "SealRecognition", "FormulaRecognition")
    for section in (parts, inner, parser, modules, pipelines, own):
        section.finish()
    missing = {
        UNWARPING_LEFT_OUT: pages.unwarping_left_out,
        _NO_SEALS: seals and seal is None,
        _NO_FORMULAS: formulas,
    }
    return VisualOptions(
        **msgspec.structs.asdict(pages),
        use_table_recognition=tables,
        use_seal_recognition=seal is not None,
        seal=seal or SEAL_READING,
        left_out=tuple(words for words, wanted in missing.items() if wanted),
        rules=rules,
        ocr=ocr,
        chat=chat,
    )


def _seal_options(pipelines: Section) -> OcrOptions | None:
    """How the text of seals is read, or None when the YAML has nothing about it. Raises ConfigError.

    That is an OCR pipeline inside of one for seals, whose own steps the page has been through already.
    """
    raw = pipelines.take("SealRecognition", dict[str, Any], {})
    if not raw:
        return None
    section = Section(raw, pipelines.name("SealRecognition"))
    inner = section.section("SubPipelines").skip("DocPreprocessor")
    reading = _NO_PAGES | inner.take("SealOCR", dict[str, Any], {})
    name = inner.name("SealOCR")
    if reading.pop("text_type", "general") != "seal":
        raise ConfigError(f"{name}.text_type must be seal")
    options = v3_options(Section(reading, name).skip("pipeline_name", *ENGINE_KEYS))
    if options.use_doc_preprocessor or options.use_textline_orientation:
        raise ConfigError(f"{name}: use_doc_preprocessor and use_textline_orientation must be False")
    inner.finish()
    section.skip("pipeline_name", "use_layout_detection", "use_doc_preprocessor", "SubModules", "batch_size")
    section.skip(*ENGINE_KEYS).finish()
    return options


def beta_visual_options(own: Section) -> VisualOptions:
    """Settings of a 2024 YAML: models by name, and one language model. Raises ConfigError."""
    chat = beta_chat_options(own)
    wanted = {name: bool(own.take(name, str, "")) for name in _BETA_MODELS}
    own.skip(*(f"{name.removesuffix('model')}batch_size" for name in _BETA_MODELS)).finish()
    turned, unwarped = wanted["doc_image_ori_cls_model"], wanted["doc_image_unwarp_model"]
    return VisualOptions(
        use_doc_preprocessor=turned or unwarped,
        use_doc_orientation_classify=turned,
        use_doc_unwarping=unwarped,
        use_table_recognition=wanted["table_model"],
        use_seal_recognition=wanted["seal_text_det_model"],
        chat=chat,
    )
