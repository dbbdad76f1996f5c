"""Settings of an OCR pipeline from a PaddleX YAML of either generation."""

from __future__ import annotations

from .errors import ConfigError
from .ocr_api import LIMIT_TYPES, MAX_UNCLIP_RATIO, OcrOptions
from .yaml_config import ENGINE_KEYS, MODULE_KEYS, Section


def v3_options(top: Section) -> OcrOptions:
    """Defaults of absent keys are those in PaddleX's code, not those of its YAML."""
    modules, pipelines = top.section("SubModules"), top.section("SubPipelines")
    detection, recognition = modules.section("TextDetection"), modules.section("TextRecognition")
    pages = pipelines.section("DocPreprocessor")
    use_pages = top.take("use_doc_preprocessor", bool, True)
    if top.take("text_type", str, "general") != "general":
        raise ConfigError("text_type must be general")
    if recognition.take("return_word_box", bool, False):
        raise ConfigError("SubModules.TextRecognition.return_word_box is not supported")
    options = OcrOptions(
        use_doc_preprocessor=use_pages,
        use_doc_orientation_classify=pages.take("use_doc_orientation_classify", bool, True),
        use_doc_unwarping=pages.take("use_doc_unwarping", bool, True) and use_pages,
        use_textline_orientation=top.take("use_textline_orientation", bool, True),
        limit_side_len=detection.take("limit_side_len", int, 960),
        limit_type=detection.take("limit_type", str, "max"),
        max_side_limit=detection.take("max_side_limit", int, 4000),
        thresh=detection.take("thresh", float, 0.3),
        box_thresh=detection.take("box_thresh", float, 0.6),
        unclip_ratio=detection.take("unclip_ratio", float, 2.0),
        rec_batch_size=recognition.take("batch_size", int, 1),
        rec_score_thresh=recognition.take("score_thresh", float, 0.0),
    )
    _finish_v3(top, modules, pipelines, pages)
    for section in (detection, recognition):
        section.skip(*MODULE_KEYS, "batch_size").finish()
    return _checked(options)


def _finish_v3(top: Section, modules: Section, pipelines: Section, pages: Section) -> None:
    """What is left must be known and is of no consequence: batch sizes that change no result."""
    orientation = modules.section("TextLineOrientation").skip(*MODULE_KEYS, "batch_size")
    models = pages.section("SubModules")
    for name in ("DocOrientationClassify", "DocUnwarping"):
        models.section(name).skip(*MODULE_KEYS, "batch_size").finish()
    pages.skip("pipeline_name", "batch_size", *ENGINE_KEYS)
    top.skip("batch_size")
    for section in (orientation, models, pages, modules, pipelines, top):
        section.finish()


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


def _checked(options: OcrOptions) -> OcrOptions:
    if options.use_doc_unwarping:
        raise ConfigError(
            "SubPipelines.DocPreprocessor.use_doc_unwarping: unwarping is not available, set it to False"
        )
    if options.limit_type not in LIMIT_TYPES:
        raise ConfigError(f"SubModules.TextDetection.limit_type must be one of {', '.join(LIMIT_TYPES)}")
    if not 0.0 <= options.unclip_ratio <= MAX_UNCLIP_RATIO:
        raise ConfigError(f"SubModules.TextDetection.unclip_ratio must be 0 to {MAX_UNCLIP_RATIO}")
    if options.rec_batch_size < 1 or options.max_side_limit < 32:
        raise ConfigError("SubModules: batch_size must be positive and max_side_limit at least 32")
    return options
