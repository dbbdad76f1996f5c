"""``PP-ChatOCRv3-doc`` as PaddleX's own YAML files write it, and what is left out of them."""

import pytest

from pipelines.core.chat_settings import ServiceOptions
from pipelines.core.config import PipelineConfig
from pipelines.core.errors import ConfigError, PipelineError
from pipelines.core.visual_api import VisualForm, VisualOptions, VisualRequest
from pipelines.core.yaml_config import load
from pipelines.pp_chatocrv3_doc import PIPELINE

#: The keys and values of PaddleX 3.7.2's file; the prompts are others.
V3 = """
pipeline_name: PP-ChatOCRv3-doc
use_layout_parser: True
SubModules:
  LLM_Chat:
    module_name: chat_bot
    model_name: ernie-3.5-8k
    base_url: "https://qianfan.baidubce.com/v2"
    api_type: openai
    api_key: "api_key"
  LLM_Retriever:
    module_name: retriever
    model_name: embedding-v1
    base_url: "https://qianfan.baidubce.com/v2"
    api_type: qianfan
    api_key: "api_key"
  PromptEngneering:
    KIE_CommonText:
      module_name: prompt_engneering
      task_type: text_kie_prompt_v1
      task_description: 'Find the values.'
      rules_str:
      output_format: 'JSON'
      few_shot_demo_text_content:
      few_shot_demo_key_value_list:
    KIE_Table:
      module_name: prompt_engneering
      task_type: table_kie_prompt_v1
      task_description: 'Find the values in the table.'
      rules_str:
      output_format: 'JSON'
      few_shot_demo_text_content:
      few_shot_demo_key_value_list:
SubPipelines:
  LayoutParser:
    pipeline_name: layout_parsing
    use_doc_preprocessor: True
    use_general_ocr: True
    use_seal_recognition: True
    use_table_recognition: True
    use_formula_recognition: False
    SubModules:
      LayoutDetection: {module_name: layout_detection, model_name: RT-DETR-H_layout_3cls, model_dir: null}
    SubPipelines:
      DocPreprocessor:
        pipeline_name: doc_preprocessor
        use_doc_orientation_classify: True
        use_doc_unwarping: True
        SubModules:
          DocOrientationClassify:
            {module_name: doc_text_orientation, model_name: PP-LCNet_x1_0_doc_ori, model_dir: null}
          DocUnwarping: {module_name: image_unwarping, model_name: UVDoc, model_dir: null}
      GeneralOCR:
        pipeline_name: OCR
        text_type: general
        use_doc_preprocessor: False
        use_textline_orientation: False
        SubModules:
          TextDetection:
            {module_name: text_detection, model_name: PP-OCRv4_server_det, model_dir: null,
             limit_side_len: 960,
             limit_type: max, max_side_limit: 4000, thresh: 0.3, box_thresh: 0.6, unclip_ratio: 1.5}
          TextRecognition:
            {module_name: text_recognition, model_name: PP-OCRv4_server_rec, model_dir: null, batch_size: 6,
             score_thresh: 0}
      TableRecognition:
        pipeline_name: table_recognition
        use_layout_detection: False
        use_doc_preprocessor: False
        use_ocr_model: False
        SubModules:
          TableStructureRecognition:
            {module_name: table_structure_recognition, model_name: SLANet_plus, model_dir: null}
      SealRecognition:
        pipeline_name: seal_recognition
        use_layout_detection: False
        use_doc_preprocessor: False
        SubPipelines:
          SealOCR:
            pipeline_name: OCR
            text_type: seal
            use_doc_preprocessor: False
            use_textline_orientation: False
            SubModules:
              TextDetection:
                {module_name: seal_text_detection, model_name: PP-OCRv4_server_seal_det, model_dir: null,
                 limit_side_len: 736, limit_type: min, max_side_limit: 4000, thresh: 0.2, box_thresh: 0.6,
                 unclip_ratio: 0.5}
              TextRecognition:
                {module_name: text_recognition, model_name: PP-OCRv4_server_rec, model_dir: null,
                 batch_size: 1,
                 score_thresh: 0}
"""
BETA = """
Global:
  pipeline_name: PP-ChatOCRv3-doc
  input: https://example.com/contract.pdf
Pipeline:
  layout_model: RT-DETR-H_layout_3cls
  table_model: SLANet_plus
  text_det_model: PP-OCRv4_server_det
  text_rec_model: PP-OCRv4_server_rec
  seal_text_det_model: PP-OCRv4_server_seal_det
  doc_image_ori_cls_model: null
  doc_image_unwarp_model: null
  llm_name: "ernie-3.5"
  llm_params:
    api_type: qianfan
    ak:
    sk:
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    for name in ("CHATOCR_LLM_BASE_URL", "CHATOCR_LLM_API_KEY", "CHATOCR_LLM_MODEL"):
        monkeypatch.delenv(name, raising=False)

    def write(text, old="", new=""):
        assert old in text
        path = tmp_path / "chat.yaml"
        path.write_text(text.replace(old, new))
        return str(path)

    return write


def config_of(spec, absent=()):
    models = {role: None for role in spec.models if role not in absent}
    return PipelineConfig(spec.name, spec.title, spec.generation, spec.options, models, {})


def test_the_yaml_of_paddlex_starts_and_the_plan_says_what_is_off(write):
    spec = load(write(V3))
    named = {role: choice.name for role, choice in spec.models.items()}
    assert named["layout"] == "RT-DETR-H_layout_3cls" and named["table_structure"] == "SLANet_plus"
    assert named["doc_orientation"] == "PP-LCNet_x1_0_doc_ori"
    notes = "\n".join(PIPELINE.notes(config_of(spec)))
    assert "off         unwarping" in notes and "CHATOCR_LLM_BASE_URL" in notes
    own = VisualOptions.of(config_of(spec))
    assert own.ocr.limit_side_len == 960 and own.ocr.rec_batch_size == 6
    assert own.chat.text.task_description == "Find the values."


def test_the_yaml_of_2024_starts_too(write):
    spec = load(write(BETA))
    assert {"layout", "text_detection", "text_recognition", "table_structure"} <= spec.models.keys()
    assert "doc_orientation" not in spec.models
    assert "CHATOCR_LLM_BASE_URL" in PIPELINE.notes(config_of(spec))[0]


def test_a_2024_yaml_without_a_table_model_has_no_tables(write):
    spec = load(write(BETA, "  table_model: SLANet_plus\n"))
    assert "table_structure" not in spec.models


def test_what_qianfan_needs_is_read_from_both(write):
    v3 = VisualOptions.of(config_of(load(write(V3, 'api_type: openai\n    api_key: "api_key"',
                                               'api_type: openai\n    api_key: "sk-1"'))))  # fmt: skip
    assert v3.chat.llm == ServiceOptions("https://qianfan.baidubce.com/v2", "ernie-3.5-8k", "sk-1")
    beta = VisualOptions.of(config_of(load(write(BETA, "    ak:\n", "    ak: sk-2\n"))))
    assert beta.chat.llm == ServiceOptions("https://qianfan.baidubce.com/v2", "ernie-3.5-8k", "sk-2")
    assert PIPELINE.notes(config_of(load(write(BETA, "    ak:\n", "    ak: sk-2\n"))))[0].count("sk-2") == 0


def test_the_built_in_language_model_is_one_line_of_yaml(write):
    spec = load(write(V3, 'base_url: "https://qianfan.baidubce.com/v2"\n    api_type: openai',
                      "base_url: builtin:smollm2\n    api_type: openai"))  # fmt: skip
    assert "built in" in PIPELINE.notes(config_of(spec))[0]


def ask(spec, absent=(), **fields):
    return VisualForm().params(VisualRequest("", **fields), config_of(spec, absent))


def test_a_request_that_asks_for_what_is_off_gets_the_words_of_paddlex(write):
    spec = load(write(V3))
    assert ask(spec).tables and not ask(spec, use_table_recognition=False).tables
    with pytest.raises(PipelineError, match="the input params for model settings are invalid!"):
        ask(spec, use_doc_unwarping=True)
    off = load(write(V3, "use_table_recognition: True", "use_table_recognition: False"))
    assert "table_structure" not in off.models and not ask(off).tables
    with pytest.raises(PipelineError, match="the input params for model settings are invalid!"):
        ask(off, use_table_recognition=True)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("use_general_ocr: True", "use_general_orc: True", "use_general_orc"),
        ("chat_bot", "chat_robot", "chat_bot"),
        ("api_type: openai", "api_type: carrier_pigeon", "api_type"),
    ],
)
def test_a_wrong_key_or_value_is_named(write, old, new, words):
    with pytest.raises(ConfigError, match=words):
        load(write(V3, old, new))
