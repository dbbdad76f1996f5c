"""``PP-ChatOCRv3-doc`` as PaddleX's own YAML files write it, and what is left out of them."""

import pytest

from pipelines.core.chat_settings import Desk, ServiceOptions
from pipelines.core.config import PipelineConfig
from pipelines.core.errors import BadRequest, ConfigError, PipelineError
from pipelines.core.visual_api import VisualForm, VisualOptions, VisualRequest
from pipelines.core.yaml_config import load
from pipelines.pp_chatocrv3_doc import PIPELINE
from tests.chat_documents import BETA, V3


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
    assert named["doc_orientation"] == "PP-LCNet_x1_0_doc_ori" and named["doc_unwarping"] == "UVDoc"
    notes = "\n".join(PIPELINE.notes(config_of(spec)))
    assert "CHATOCR_LLM_BASE_URL" in notes and "off  " not in notes
    formulas = load(write(V3, "use_formula_recognition: False", "use_formula_recognition: True"))
    assert any("off         formulas" in note for note in PIPELINE.notes(config_of(formulas)))
    own = VisualOptions.of(config_of(spec))
    assert own.ocr.limit_side_len == 960 and own.ocr.rec_batch_size == 6
    assert own.chat.text.task_description == "Find the values."


def test_the_yaml_of_2024_starts_too(write):
    spec = load(write(BETA))
    assert {"layout", "text_detection", "text_recognition", "table_structure"} <= spec.models.keys()
    assert "doc_orientation" not in spec.models
    assert "CHATOCR_LLM_BASE_URL" in PIPELINE.notes(config_of(spec))[0]


def test_unwarping_is_off_where_the_yaml_names_no_model_for_it_and_the_plan_says_so(write):
    spec = load(
        write(
            V3, "          DocUnwarping: {module_name: image_unwarping, model_name: UVDoc, model_dir: null}\n"
        )
    )
    assert "doc_unwarping" not in spec.models
    assert any("off         pages are not unwarped" in note for note in PIPELINE.notes(config_of(spec)))


def test_a_2024_yaml_turns_and_unwarps_pages_by_the_models_that_it_names(write):
    turned = load(write(BETA, "ori_cls_model: null", "ori_cls_model: PP-LCNet_x1_0_doc_ori"))
    assert "doc_orientation" in turned.models and "doc_unwarping" not in turned.models
    flat = load(write(BETA, "unwarp_model: null", "unwarp_model: UVDoc"))
    assert "doc_orientation" not in flat.models and flat.models["doc_unwarping"].name == "UVDoc"


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


def test_prompts_that_look_like_python_are_text_all_the_same(write):
    shown = "few_shot_demo_key_value_list:\n    KIE_Table"
    spec = load(write(V3, shown, "few_shot_demo_key_value_list: \"{'Total': '5'}\"\n    KIE_Table"))
    words = VisualOptions.of(config_of(spec)).chat.text
    assert words.few_shot_demo_key_value_list == "{'Total': '5'}" and words.rules_str is None


QIANFAN, AISTUDIO = "https://qianfan.baidubce.com/v2", "https://aistudio.baidu.com/llm/lmapi/v3"
NAMES = [
    ("ernie-3.5", "ernie-3.5-8k"),
    ("ernie-3.5-8k", "ernie-3.5-8k"),
    ("ernie-lite", "ernie-lite-8k"),
    ("ernie-4.0", "ernie-4.0-8k"),
    ("ernie-4.0-turbo-8k", "ernie-4.0-turbo-8k"),
    ("ernie-speed", "ernie-speed-8k"),
    ("ernie-speed-128k", "ernie-speed-128k"),
    ("ernie-tiny-8k", "ernie-tiny-8k"),
    ("ernie-char-8k", "ernie-char-8k"),
]


def desk(spec):
    return Desk(VisualOptions.of(config_of(spec)).chat, {})


@pytest.mark.parametrize(("name", "model"), NAMES)
def test_every_model_of_2024_is_asked_for_by_its_present_name(write, name, model):
    spec = load(write(BETA.replace("    ak:\n", "    ak: sk-2\n"), '"ernie-3.5"', name))
    own = desk(spec)
    assert (own.llm.base_url, own.llm.model, own.llm.api_key) == (QIANFAN, model, "sk-2")
    assert own.asked_2024(name, None).model == model and own.asked_2024(name, None).ours
    asked = own.asked_2024(name, {"apiType": "qianfan", "apiKey": "sk-3", "secretKey": "s"})
    assert (asked.base_url, asked.model, asked.api_key, asked.ours) == (QIANFAN, model, "sk-3", False)


def test_ai_studio_takes_its_token_from_a_yaml_and_from_a_request(write):
    text = BETA.replace("qianfan", "aistudio").replace("    sk:\n", "    access_token: token-1\n")
    own = desk(load(write(text)))
    assert (own.llm.base_url, own.llm.api_key) == (AISTUDIO, "token-1")
    asked = own.asked_2024(None, {"apiType": "aistudio", "accessToken": "token-2"})
    assert (asked.base_url, asked.model, asked.api_key) == (AISTUDIO, "ernie-3.5-8k", "token-2")


def test_a_name_of_2024_does_not_change_what_another_service_is_asked_for(write):
    known = {"CHATOCR_LLM_BASE_URL": "http://127.0.0.1:1/v1", "CHATOCR_LLM_MODEL": "mine"}
    own = Desk(VisualOptions.of(config_of(load(write(BETA)))).chat, known)
    assert own.asked_2024("ernie-4.0", None).model == "mine"


@pytest.mark.parametrize(
    "params",
    [
        {"apiType": "qianfan"},
        {"apiType": "aistudio", "apiKey": "k"},
        {"apiType": "other", "apiKey": "k"},
        {"apiType": "qianfan", "apiKey": "k\r\nX-Other: 1"},
    ],
)
def test_parameters_that_cannot_be_are_refused(write, params):
    with pytest.raises(BadRequest, match="llmParams"):
        desk(load(write(BETA))).asked_2024(None, params)


def test_qianfan_embeddings_are_read(write):
    old = 'api_type: qianfan\n    api_key: "api_key"'
    own = desk(load(write(V3, old, 'api_type: qianfan\n    api_key: "sk-4"')))
    assert (own.embedding.base_url, own.embedding.model) == (QIANFAN, "embedding-v1")
    assert desk(load(write(V3))).embedding is None


def test_seals_are_read_as_the_yaml_says(write):
    spec = load(write(V3, "unclip_ratio: 0.5}", "unclip_ratio: 0.7}"))
    assert spec.models["seal_detection"].name == "PP-OCRv4_server_seal_det"
    assert spec.models["seal_text_recognition"].name == "PP-OCRv4_server_rec"
    own = VisualOptions.of(config_of(spec)).seal
    assert (own.limit_side_len, own.limit_type, own.thresh, own.unclip_ratio) == (736, "min", 0.2, 0.7)
    assert own.rec_batch_size == 1 and not own.use_doc_preprocessor
    assert ask(spec).seals.detection.unclip_ratio == 0.7
    assert ask(spec, seal_det_thresh=0.4, seal_rec_score_thresh=0.5).seals.score_thresh == 0.5
    assert ask(spec, use_seal_recognition=False).seals is None


def test_seals_are_off_where_their_model_is_not_there(write):
    words = "the input params for model settings are invalid!"
    for spec, absent in (
        (load(write(V3)), ("seal_detection",)),
        (load(write(V3, "use_seal_recognition: True", "use_seal_recognition: False")), ()),
        (load(write(V3[: V3.index("      SealRecognition:")])), ()),
    ):
        assert ask(spec, absent).seals is None
        with pytest.raises(PipelineError, match=words):
            ask(spec, absent, use_seal_recognition=True)
    assert any("seals" in note for note in PIPELINE.notes(config_of(spec)))
    beta = load(write(BETA))
    assert beta.models["seal_detection"].name == "PP-OCRv4_server_seal_det"
    assert "seal_detection" not in load(write(BETA, "  seal_text_det_model", "  # ")).models


def ask(spec, absent=(), **fields):
    return VisualForm().params(VisualRequest("", **fields), config_of(spec, absent))


def test_a_request_that_asks_for_what_is_off_gets_the_words_of_paddlex(write):
    spec = load(write(V3))
    assert ask(spec).tables and not ask(spec, use_table_recognition=False).tables
    assert ask(spec).ocr.doc_unwarping and not ask(spec, ("doc_unwarping",)).ocr.doc_unwarping
    with pytest.raises(PipelineError, match="the input params for model settings are invalid!"):
        ask(spec, ("doc_unwarping",), use_doc_unwarping=True)
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
        ("api_type: openai", "api_type: openai\n    end_point: completion", "LLM_Chat.end_point"),
        ("task_type: text_kie_prompt_v1", "task_type: text_kie_prompt_v2", "KIE_CommonText.task_type"),
        ("text_type: seal", "text_type: general", "SealOCR.text_type"),
        (
            "module_name: seal_text_detection",
            "module_name: text_detection",
            "SealOCR.TextDetection.module_name",
        ),
    ],
)
def test_a_wrong_key_or_value_is_named(write, old, new, words):
    with pytest.raises(ConfigError, match=words):
        load(write(V3, old, new))
