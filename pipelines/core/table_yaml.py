"""Settings of a table pipeline from a PaddleX YAML of either generation."""

from __future__ import annotations

import msgspec

from .errors import ConfigError
from .ocr_api import OcrOptions
from .ocr_yaml import page_options, reading_options
from .page_settings import PageOptions
from .table_api import TableOptions
from .yaml_config import ENGINE_KEYS, MODULE_KEYS, Section


def v3_table_options(top: Section) -> TableOptions:
    """Defaults of absent keys are those in PaddleX's code, not those of its YAML."""
    modules, pipelines = top.section("SubModules"), top.section("SubPipelines")
    if not top.take("use_ocr_model", bool, True):
        raise ConfigError("use_ocr_model must be True: without texts PaddleX answers no request either")
    options = TableOptions(
        **msgspec.structs.asdict(page_options(top, pipelines, unwarping=True)),
        use_layout_detection=top.take("use_layout_detection", bool, True),
        ocr=_reader(pipelines.section("GeneralOCR")),
    )
    # Of a layout model's thresholds PaddleX reads only those in its inference.yml, here.
    for name in ("LayoutDetection", "TableStructureRecognition"):
        modules.section(name).skip(*MODULE_KEYS, "batch_size").finish()
    for section in (modules, pipelines, top.skip("batch_size")):
        section.finish()
    if options.ocr.use_doc_preprocessor:
        raise ConfigError(
            "SubPipelines.GeneralOCR.use_doc_preprocessor must be False: its pages come prepared"
        )
    return options


def _reader(section: Section) -> OcrOptions:
    """The OCR pipeline inside. PaddleX would let it prepare the pages once more."""
    pages = PageOptions(use_doc_preprocessor=section.take("use_doc_preprocessor", bool, True))
    section.skip("pipeline_name", "SubPipelines", *ENGINE_KEYS)
    return reading_options(section, pages)


def beta_table_options(own: Section) -> TableOptions:
    """A 2024 YAML names four models; batch sizes there change no result."""
    roles = ("layout", "table", "text_det", "text_rec")
    own.skip(*(f"{role}_model" for role in roles), *(f"{role}_batch_size" for role in roles)).finish()
    return TableOptions(use_doc_preprocessor=False)
