import textwrap

import pytest

from pipelines.core.config import PipelineConfig
from pipelines.core.errors import ConfigError
from pipelines.core.page_settings import UNWARPING_LEFT_OUT
from pipelines.core.yaml_config import ModelChoice, Section, load
from pipelines.ocr import OcrPipeline

V3 = """
pipeline_name: OCR
text_type: general
use_doc_preprocessor: {pages}
use_textline_orientation: {lines}
SubPipelines:
  DocPreprocessor:
    pipeline_name: doc_preprocessor
    use_doc_orientation_classify: True
    use_doc_unwarping: False
    SubModules:
      DocOrientationClassify:
        module_name: doc_text_orientation
        model_name: PP-LCNet_x1_0_doc_ori
        model_dir: null
      DocUnwarping:
        module_name: image_unwarping
        model_name: UVDoc
        model_dir: null
SubModules:
  TextDetection:
    module_name: text_detection
    model_name: PP-OCRv4_mobile_det
    model_dir: /models/det
    limit_side_len: 736
    limit_type: max
    max_side_limit: 3000
    thresh: "0.25"
    box_thresh: 0.5
    unclip_ratio: 2
  TextLineOrientation:
    module_name: textline_orientation
    model_name: "PP-LCNet_x0_25_textline_ori "
    model_dir: null
    batch_size: 6
  TextRecognition:
    module_name: text_recognition
    model_name: PP-OCRv4_mobile_rec
    model_dir: "None"
    batch_size: 8
    score_thresh: 0.3
"""
BETA = """
Global:
  pipeline_name: OCR
  input: https://example.com/demo.png
Pipeline:
  text_det_model: PP-OCRv4_mobile_det
  text_rec_model: {rec}
  text_rec_batch_size: 1
Serving:
  visualize: false
  extra: {{max_num_imgs: 3}}
"""


@pytest.fixture
def write(tmp_path):
    def write(text, **values):
        path = tmp_path / "pipeline.yaml"
        path.write_text(textwrap.dedent(text).format(**values) if values else textwrap.dedent(text))
        return str(path)

    return write


def v3(pages=True, lines=True, **changes):
    text = V3.format(pages=pages, lines=lines)
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return text


def test_a_v3_document(write):
    spec = load(write(v3()))
    assert (spec.name, spec.title, spec.generation) == ("ocr", "OCR", "v3")
    assert spec.models == {
        "doc_orientation": ModelChoice("PP-LCNet_x1_0_doc_ori"),
        "text_detection": ModelChoice("PP-OCRv4_mobile_det", "/models/det"),
        "textline_orientation": ModelChoice("PP-LCNet_x0_25_textline_ori"),
        "text_recognition": ModelChoice("PP-OCRv4_mobile_rec"),
    }
    assert spec.options == {
        "use_doc_preprocessor": True,
        "use_doc_orientation_classify": True,
        "use_doc_unwarping": False,
        "unwarping_left_out": False,
        "use_textline_orientation": True,
        "limit_side_len": 736,
        "limit_type": "max",
        "max_side_limit": 3000,
        "thresh": 0.25,
        "box_thresh": 0.5,
        "unclip_ratio": 2.0,
        "rec_batch_size": 8,
        "return_word_box": False,
        "rec_score_thresh": 0.3,
    }


def test_a_sub_model_whose_flag_is_off_is_not_loaded(write):
    spec = load(write(v3(pages=False, lines=False)))
    assert set(spec.models) == {"text_detection", "text_recognition"}
    assert not spec.options["use_doc_unwarping"]


@pytest.mark.parametrize("asked", ["use_doc_unwarping: True", "batch_size: 1"], ids=["asked", "by default"])
@pytest.mark.parametrize("named", [True, False])
def test_unwarping_is_left_out_where_no_model_is_named_and_the_plan_says_so(write, asked, named):
    changes = {"use_doc_unwarping: False": asked} | ({} if named else {"model_name: UVDoc": "batch_size: 1"})
    spec = load(write(v3(**changes)))
    config = PipelineConfig("ocr", "OCR", "v3", spec.options, {}, {})
    assert spec.options["use_doc_unwarping"] is ("doc_unwarping" in spec.models) is named
    assert list(OcrPipeline.notes(config)) == ([] if named else [UNWARPING_LEFT_OUT])


def test_what_is_off_is_not_left_out(write):
    for document in (v3(), v3(pages=False, **{"use_doc_unwarping: False": "use_doc_unwarping: True"})):
        config = PipelineConfig("ocr", "OCR", "v3", load(write(document)).options, {}, {})
        assert not OcrPipeline.notes(config)


def test_models_of_paddlex_are_for_what_is_left_open(write):
    names = {role: choice.name for role, choice in load("OCR", "paddlex").models.items()}
    assert names == {
        "doc_orientation": "PP-LCNet_x1_0_doc_ori",
        "text_detection": "PP-OCRv6_medium_det",
        "textline_orientation": "PP-LCNet_x1_0_textline_ori",
        "text_recognition": "PP-OCRv6_medium_rec",
    }
    document = write("""
        pipeline_name: OCR
        use_doc_preprocessor: False
        SubModules:
          TextRecognition: {module_name: text_recognition, model_name: PP-OCRv4_mobile_rec}
        """)
    opened = {role: choice.name for role, choice in load(document, "paddlex").models.items()}
    del names["doc_orientation"]
    assert opened == names | {"text_recognition": "PP-OCRv4_mobile_rec"}
    assert load(document).models["text_detection"].name == "PP-OCRv6_small_det"


def test_absent_keys_have_the_defaults_of_paddlex_code(write):
    spec = load(
        write("""
        pipeline_name: OCR
        use_doc_preprocessor: False
        use_textline_orientation: False
        SubModules:
          TextDetection: {module_name: text_detection, model_name: PP-OCRv6_small_det}
          TextRecognition: {module_name: text_recognition, model_name: PP-OCRv6_small_rec}
        """)
    )
    chosen = {
        key: spec.options[key] for key in ("limit_side_len", "limit_type", "unclip_ratio", "rec_batch_size")
    }
    assert chosen == {"limit_side_len": 960, "limit_type": "max", "unclip_ratio": 2.0, "rec_batch_size": 1}


def test_a_2024_document(write):
    spec = load(write(BETA, rec="PP-OCRv4_mobile_rec"))
    assert spec.generation == "2024"
    assert spec.models == {
        "text_detection": ModelChoice("PP-OCRv4_mobile_det"),
        "text_recognition": ModelChoice("PP-OCRv4_mobile_rec"),
    }
    assert (spec.options["limit_side_len"], spec.options["limit_type"]) == (960, "max")
    assert spec.serving.visualize and spec.ignored == ("Serving",)


def test_in_a_2024_document_a_path_that_exists_is_a_folder(write, tmp_path):
    spec = load(write(BETA, rec=tmp_path))
    assert spec.models["text_recognition"] == ModelChoice(None, str(tmp_path))


def test_the_nearest_engine_key_holds(write):
    document = v3(**{
        "text_type: general": "engine: onnxruntime\nuse_hpip: 'True'",
        "    use_doc_unwarping: False": "    use_doc_unwarping: False\n    engine: paddle",
        "    limit_side_len: 736": "    use_hpip: False\n    hpi_config: {backend: openvino}",
    })  # fmt: skip
    models = load(write(document)).models
    assert models["text_recognition"].engine == "onnxruntime" and models["text_recognition"].use_hpip is True
    assert models["doc_orientation"].engine == "paddle"
    assert models["text_detection"].use_hpip is False
    assert models["text_detection"].hpi_config == {"backend": "openvino"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("text_type: general", "text_typo: general", "unknown key text_typo"),
        ("    thresh:", "    tresh:", "unknown key SubModules.TextDetection.tresh"),
        (
            "    score_thresh:",
            "    score: 1\n    score_thresh:",
            "unknown key SubModules.TextRecognition.score",
        ),
        ("  TextLineOrientation:", "  TextOrientation:", "unknown key SubModules.TextOrientation"),
        ("  DocPreprocessor:", "  Preprocessor:", "unknown key SubPipelines.Preprocessor"),
        ("    use_doc_unwarping: False", "    use_doc_unwarp: 1", "use_doc_unwarp"),
        (
            "    box_thresh: 0.5",
            "    box_thresh: high",
            "SubModules.TextDetection.box_thresh: Expected `float`",
        ),
        ("limit_type: max", "limit_type: longest", "limit_type must be one of min, max, resize_long"),
        ("text_type: general", "text_type: seal", "text_type must be general"),
        (
            "module_name: text_detection",
            "module_name: ocr",
            "TextDetection.module_name must be text_detection",
        ),
        ("    model_name: PP-OCRv4_mobile_det\n", "", "TextDetection has no model_name"),
        ("pipeline_name: OCR", "pipeline_name: OCD", "unknown pipeline 'OCD'; known: .*OCR"),
        ("unclip_ratio: 2", "unclip_ratio: -2", "unclip_ratio must be 0 to 100"),
        ("batch_size: 8", "batch_size: 0", "batch_size must be positive"),
    ],
)
def test_what_cannot_be_is_named(write, old, new, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load(write(v3(**{old: new})))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Pipeline: {}", "has no Global.pipeline_name"),
        ("text_type: general", "has no pipeline_name"),
        ("- OCR", "does not hold a mapping"),
        ("pipeline_name: [", "is not YAML"),
        ("pipeline_name: 2024-99-99", "is not YAML"),
        ("pipeline_name: OCR\nSubModules: &a {b: *a}", "is nested too deeply"),
        ("Global: {pipeline_name: OCR, outputs: 1}\nPipeline: {}", "unknown key Global.outputs"),
        ("Global: {pipeline_name: OCR}\nPipeline: {text_det_model: a}", "no Pipeline.text_rec_model"),
        ("Global: {pipeline_name: OCR}\nPipeline: {det_model: a}", "unknown key Pipeline.det_model"),
        ("Global: {pipeline_name: OCR}\nSubModules: {}", "unknown key SubModules"),
    ],
)
def test_wrong_documents(write, text, message):
    with pytest.raises(ConfigError, match=message):
        load(write(text))


def test_names_and_paths():
    assert load("OCR").models["text_recognition"] == ModelChoice("PP-OCRv6_small_rec")
    with pytest.raises(ConfigError, match=r"unknown pipeline 'ocr'; known: .*OCR"):
        load("ocr")
    with pytest.raises(ConfigError, match=r"cannot read /nowhere/ocr\.yaml: No such file"):
        load("/nowhere/ocr.yaml")


def serving(write, text):
    return load(write(v3() + textwrap.dedent(text)))


def test_the_serving_section(write):
    spec = serving(
        write,
        """
        Serving:
          visualize: "False"
          extra:
            max_num_input_imgs: null
            max_output_img_size: [800, 600]
            url_expires_in: 60
            file_storage: {type: memory}
        """,
    )
    assert spec.serving.visualize is False and spec.serving.max_num_input_imgs is None
    assert spec.serving.max_output_img_size == (800, 600)
    assert spec.ignored == ("Serving.extra.url_expires_in",)
    defaults = load(write(v3())).serving
    assert (defaults.visualize, defaults.max_num_input_imgs, defaults.max_output_img_size) == (
        True,
        10,
        (2000, 2000),
    )


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{return_urls: True}", "return_urls"),
        ("{extra: {return_img_urls: True}}", "return_urls"),
        ("{extra: {file_storage: {type: bos, bucket_name: b}}}", "file_storage.type: bos is not supported"),
        ("{extra: {max_pages: 3}}", "unknown key Serving.extra.max_pages"),
        ("{visualise: True}", "unknown key Serving.visualise"),
        ("{extra: {max_num_input_imgs: many}}", "Serving.extra.max_num_input_imgs"),
        ("{extra: 5}", "Serving.extra must be a mapping"),
    ],
)
def test_wrong_serving_sections(write, section, message):
    with pytest.raises(ConfigError, match=message):
        serving(write, f"\nServing: {section}\n")


def test_text_in_lists_is_not_evaluated(write):
    spec = serving(write, '\nServing: {extra: {max_output_img_size: ["800", "600"]}}\n')
    assert spec.serving.max_output_img_size == (800, 600)


def test_a_section_knows_what_nobody_took():
    section = Section({"a": 1, "b": {"c": 2}, "d": None}, "Top")
    assert section.take("a", int, 0) == 1 and section.take("d", float, 0.5) == 0.5
    with pytest.raises(ConfigError, match=r"unknown key Top\.b"):
        section.finish()
    inner = section.section("b")
    section.finish()
    with pytest.raises(ConfigError, match=r"unknown key Top\.b\.c"):
        inner.finish()
