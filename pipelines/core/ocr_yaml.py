"""Settings of an OCR pipeline from a PaddleX YAML of either generation."""

from __future__ import annotations

import msgspec

from .document_api import MAX_UNCLIP_RATIO
from .errors import ConfigError
from .ocr_api import LIMIT_TYPES, OcrOptions
from .page_settings import PageOptions
from .yaml_config import ENGINE_KEYS, MODULE_KEYS, Section


def v3_options(top: Section, *, words: bool = False, unwarping: bool = False) -> OcrOptions:
    """Defaults of absent keys are those in PaddleX's code, not those of its YAML.

    ``words``: as in :func:`reading_options`; ``unwarping``: as in :func:`page_options`.
    """
    pipelines = top.section("SubPipelines")
    pages = page_options(top, pipelines, unwarping=unwarping)
    pipelines.finish()
    return reading_options(top, pages, words=words)


def page_options(top: Section, pipelines: Section, *, unwarping: bool = False) -> PageOptions:
    """``use_doc_preprocessor`` and the sub-pipeline that it switches. Raises ConfigError.

    ``unwarping``: the pipeline has a place for a model that unwarps; it is used if the YAML names one.
    """
    pages = pipelines.section("DocPreprocessor").skip("pipeline_name", "batch_size", *ENGINE_KEYS)
    used = top.take("use_doc_preprocessor", bool, True)
    turned = pages.take("use_doc_orientation_classify", bool, True)
    asked = pages.take("use_doc_unwarping", bool, True) and used
    models = pages.section("SubModules")
    flattener = models.section("DocUnwarping")
    named = unwarping and bool(flattener.take("model_name", str, "").strip())
    for module in (models.section("DocOrientationClassify"), flattener):
        module.skip(*MODULE_KEYS, "batch_size").finish()
    options = PageOptions(
        use_doc_preprocessor=used,
        use_doc_orientation_classify=turned,
        use_doc_unwarping=asked and named,
        unwarping_left_out=asked and not named,
    )
    models.finish()
    pages.finish()
    return options


def reading_options(top: Section, pages: PageOptions, *, words: bool = False) -> OcrOptions:
    """Everything else of an OCR pipeline, also where it is part of another one. Raises ConfigError.

    ``words``: boxes of words may be asked for; a part of another pipeline has no place for them.
    """
    modules = top.section("SubModules")
    detection, recognition = modules.section("TextDetection"), modules.section("TextRecognition")
    if top.take("text_type", str, "general") != "general":
        raise ConfigError(f"{top.name('text_type')} must be general")
    with_words = recognition.take("return_word_box", bool, False)
    if with_words and not words:
        raise ConfigError(f"{recognition.name('return_word_box')} is not supported")
    options = OcrOptions(
        **msgspec.structs.asdict(pages),
        use_textline_orientation=top.take("use_textline_orientation", bool, True),
        limit_side_len=detection.take("limit_side_len", int, 960),
        limit_type=detection.take("limit_type", str, "max"),
        max_side_limit=detection.take("max_side_limit", int, 4000),
        thresh=detection.take("thresh", float, 0.3),
        box_thresh=detection.take("box_thresh", float, 0.6),
        unclip_ratio=detection.take("unclip_ratio", float, 2.0),
        rec_batch_size=recognition.take("batch_size", int, 1),
        rec_score_thresh=recognition.take("score_thresh", float, 0.0),
        return_word_box=with_words,
    )
    # What is left must be known and is of no consequence: batch sizes that change no result.
    for section in (detection, recognition, modules.section("TextLineOrientation")):
        section.skip(*MODULE_KEYS, "batch_size").finish()
    modules.finish()
    top.skip("batch_size").finish()
    return _checked(options, modules)


def beta_options(own: Section) -> OcrOptions:
    """A 2024 YAML names two models; recognition there reads line by line whatever its batch size says."""
    own.skip("text_det_model", "text_rec_model", "text_det_batch_size", "text_rec_batch_size").finish()
    return OcrOptions(
        use_doc_preprocessor=False,
        use_textline_orientation=False,
        limit_side_len=960,
        limit_type="max",
        rec_batch_size=1,
    )


def _checked(options: OcrOptions, modules: Section) -> OcrOptions:
    detection = modules.name("TextDetection")
    if options.limit_type not in LIMIT_TYPES:
        raise ConfigError(f"{detection}.limit_type must be one of {', '.join(LIMIT_TYPES)}")
    if not 0.0 <= options.unclip_ratio <= MAX_UNCLIP_RATIO:
        raise ConfigError(f"{detection}.unclip_ratio must be 0 to {MAX_UNCLIP_RATIO}")
    if options.rec_batch_size < 1 or options.max_side_limit < 32:
        raise ConfigError(f"{modules.name('')}: batch_size must be positive and max_side_limit at least 32")
    return options
