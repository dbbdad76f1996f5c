"""Requests and answers of ``/table-recognition`` in both generations, and the YAMLs behind it."""

import textwrap

import cv2
import msgspec
import numpy as np
import orjson
import pytest

from pipelines.core.box_rules import Boxes
from pipelines.core.config import ModelFiles, PipelineConfig, ServingOptions
from pipelines.core.detection_size import DetectionParams
from pipelines.core.document_api import InferenceParams, PageRequest2024
from pipelines.core.errors import BadRequest, ConfigError, PipelineError
from pipelines.core.forms import Page, Reply
from pipelines.core.ocr_api import OcrOptions, OcrPage, OcrParams
from pipelines.core.page_settings import INVALID_SETTINGS
from pipelines.core.table_api import (
    Table,
    TableForm,
    TableForm2024,
    TableOptions,
    TablePage,
    TableParams,
    TableRequest,
)
from pipelines.core.yaml_config import ModelChoice, load
from pipelines.table_recognition import TableRecognition
from tests.model_dirs import box

ALL = ("doc_orientation", "layout", "text_detection", "text_recognition", "table_structure")
V3, BETA = TableForm(), TableForm2024()
OCR = OcrPage(
    angle=0,
    quads=np.stack([box(10, 10, 60, 30), box(10, 40, 60, 60), box(10, 70, 60, 90)]),
    line_angles=[-1, -1, -1],
    kept=[0, 2],
    texts=["一", "<b>"],
    scores=[0.75, 0.25],
)
LAYOUT = Boxes(np.array([[8, 0.5, 5, 65, 70, 95], [0, 0.75, 5, 5, 70, 35]], np.float32), ["table", "text"])
TABLE = Table([5, 65, 70, 95], np.array([[5.5, 66.0, 30.0, 90.0], [31.0, 66.0, 70.0, 90.0]]), "<html/>", [1])
FOUND = TablePage(OCR, LAYOUT, [TABLE])
PLAIN = TablePage(msgspec.structs.replace(OCR, angle=-1), None, [])


def config(loaded=ALL, serving=None, **options):
    models = {role: ModelFiles(role, "", {}) for role in loaded}
    return PipelineConfig(
        name="table_recognition",
        title="table_recognition",
        generation="v3",
        options=msgspec.to_builtins(TableOptions(**options)),
        models=models,
        engines=dict.fromkeys(models, "fake"),
        serving=serving or ServingOptions(),
    )


def no_font():
    raise ConfigError("no font in this test")


def respond(form, request, found=FOUND, settings=None, visualize=False):
    settings = settings or config()
    page = np.full((100, 80, 3), 200, np.uint8)
    reply = Reply(
        request=request,
        params=form.params(request, settings),
        config=settings,
        pages=[Page(found, 80, 100, page if visualize or form is BETA else None)],
        visualize=visualize,
        data_info={"width": 80, "height": 100, "type": "image"},
        font=no_font,
    )
    return form.respond(reply)


def pruned(request=None, found=FOUND, **settings):
    result = respond(V3, request or TableRequest("x"), found, **settings)
    return orjson.loads(orjson.dumps(result["tableRecResults"][0], option=orjson.OPT_SERIALIZE_NUMPY))[
        "prunedResult"
    ]


def decoded(picture):
    return cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)


def size_of(picture):
    return decoded(picture).shape[1::-1]


def test_the_defaults_are_those_of_paddlex():
    assert V3.params(TableRequest("x"), config()) == TableParams(
        OcrParams(DetectionParams(960, "max", 4000, 0.3, 0.6, 1.5), doc_orientation=True, drawn=True)
    )


@pytest.mark.parametrize(
    ("request_", "loaded"),
    [
        pytest.param(TableRequest("x", use_doc_unwarping=True), ALL, id="unwarping"),
        pytest.param(TableRequest("x", use_doc_orientation_classify=True), ALL[1:], id="page orientation"),
        pytest.param(TableRequest("x", use_layout_detection=True), ALL[:1] + ALL[2:], id="layout"),
        pytest.param(TableRequest("x", use_ocr_model=False), ALL, id="no texts"),
    ],
)
def test_asking_for_what_is_not_there_is_the_error_of_paddlex(request_, loaded):
    settings = config(loaded, use_doc_preprocessor=False, use_layout_detection="layout" in loaded)
    with pytest.raises(PipelineError, match=f"^{INVALID_SETTINGS}$") as caught:
        V3.params(request_, settings)
    assert caught.value.status == 500


@pytest.mark.parametrize(
    ("field", "value", "where"),
    [
        ("use_layout_detection", False, lambda params: params.layout),
        ("use_ocr_results_with_table_cells", True, lambda params: params.by_cell),
        ("use_doc_orientation_classify", False, lambda params: params.ocr.doc_orientation),
        ("text_det_limit_side_len", 320, lambda params: params.ocr.detection.limit_side_len),
        ("text_det_limit_type", "min", lambda params: params.ocr.detection.limit_type),
        ("text_det_thresh", 0.2, lambda params: params.ocr.detection.thresh),
        ("text_det_box_thresh", 0.5, lambda params: params.ocr.detection.box_thresh),
        ("text_det_unclip_ratio", 2.0, lambda params: params.ocr.detection.unclip_ratio),
        ("text_rec_score_thresh", 0.4, lambda params: params.ocr.score_thresh),
    ],
)
def test_every_parameter_reaches_the_device(field, value, where):
    assert where(V3.params(TableRequest("x"), config())) != value
    assert where(V3.params(TableRequest("x", **{field: value}), config())) == value


def test_an_unknown_limit_type_is_refused_by_name():
    with pytest.raises(BadRequest, match=r"^`textDetLimitType` must be one of min, max, resize_long$"):
        V3.params(TableRequest("x", text_det_limit_type="longest"), config())


def test_the_keys_of_a_page_are_in_the_order_of_paddlex():
    found = pruned()
    assert list(found) == [
        "model_settings",
        "doc_preprocessor_res",
        "layout_det_res",
        "overall_ocr_res",
        "table_res_list",
    ]
    assert list(found["model_settings"]) == ["use_doc_preprocessor", "use_layout_detection", "use_ocr_model"]
    assert list(found["overall_ocr_res"])[:2] == ["model_settings", "dt_polys"]
    assert list(found["table_res_list"][0]) == ["cell_box_list", "pred_html", "table_ocr_pred"]
    assert list(found["table_res_list"][0]["table_ocr_pred"]) == [
        "rec_polys",
        "rec_texts",
        "rec_scores",
        "rec_boxes",
    ]


def test_a_table_comes_with_its_cells_and_its_lines():
    (table,) = pruned()["table_res_list"]
    assert table["cell_box_list"] == TABLE.cells.tolist() and table["pred_html"] == "<html/>"
    assert table["table_ocr_pred"] == {
        "rec_polys": [box(10, 70, 60, 90).tolist()],
        "rec_texts": ["<b>"],
        "rec_scores": [0.25],
        "rec_boxes": [[10, 70, 60, 90]],
    }


def test_every_page_of_a_document_has_its_own_result_with_all_of_its_tables():
    other = msgspec.structs.replace(TABLE, html="<html>2</html>", lines=[0])
    founds = [FOUND, PLAIN, msgspec.structs.replace(FOUND, tables=[TABLE, other])]
    pages = [Page(found, 80, 100, None) for found in founds]
    request = TableRequest("x")
    info = {"numPages": 3, "pages": [{"width": 80, "height": 100}] * 3, "type": "pdf"}
    reply = Reply(request, V3.params(request, config()), config(), pages, False, info, no_font)
    answer = V3.respond(reply)
    results = [result["prunedResult"]["table_res_list"] for result in answer["tableRecResults"]]
    assert answer["dataInfo"] == info
    assert [[table["pred_html"] for table in tables] for tables in results] == [
        ["<html/>"], [], ["<html/>", "<html>2</html>"],
    ]  # fmt: skip
    assert [table["table_ocr_pred"]["rec_texts"] for table in results[2]] == [["<b>"], ["一"]]


def test_every_field_of_a_body_is_that_of_paddlex():
    """What a client writes, and nothing else, makes a body one of 3.x."""
    assert V3.marks == {
        "file", "fileType", "useDocOrientationClassify", "useDocUnwarping", "useLayoutDetection",
        "useOcrModel", "textDetLimitSideLen", "textDetLimitType", "textDetThresh", "textDetBoxThresh",
        "textDetUnclipRatio", "textRecScoreThresh", "useOcrResultsWithTableCells", "visualize",
    }  # fmt: skip
    assert BETA.marks == {"image", "inferenceParams"}


def test_the_layout_is_told_box_by_box():
    assert pruned()["layout_det_res"]["boxes"] == [
        {"cls_id": 8, "label": "table", "score": 0.5, "coordinate": [5.0, 65.0, 70.0, 95.0]},
        {"cls_id": 0, "label": "text", "score": 0.75, "coordinate": [5.0, 5.0, 70.0, 35.0]},
    ]


def test_what_did_not_run_is_not_in_the_answer():
    request = TableRequest("x", use_doc_orientation_classify=False, use_layout_detection=False)
    found = pruned(request, PLAIN)
    assert list(found) == ["model_settings", "overall_ocr_res", "table_res_list"]
    assert found["model_settings"] == {
        "use_doc_preprocessor": False,
        "use_layout_detection": False,
        "use_ocr_model": True,
    }
    assert found["table_res_list"] == []


def test_the_page_is_not_said_to_be_prepared_twice():
    found = pruned()
    assert found["model_settings"]["use_doc_preprocessor"] is True
    assert found["overall_ocr_res"]["model_settings"]["use_doc_preprocessor"] is False
    assert (
        found["doc_preprocessor_res"]["angle"] == 0 and "doc_preprocessor_res" not in found["overall_ocr_res"]
    )


def test_pictures_only_when_wanted():
    assert list(respond(V3, TableRequest("x"))["tableRecResults"][0]) == ["prunedResult"]
    drawn = respond(V3, TableRequest("x"), visualize=True)["tableRecResults"][0]
    assert list(drawn) == ["prunedResult", "outputImages", "inputImage"]
    sizes = {name: size_of(picture) for name, picture in drawn["outputImages"].items()}
    assert sizes == {
        "layout_det_res": (80, 100),
        "preprocessed_img": (240, 125),
        "ocr_res_img": (160, 100),
        "table_cell_img": (80, 100),
    }
    request = TableRequest("x", use_doc_orientation_classify=False, use_layout_detection=False)
    plain = respond(V3, request, PLAIN, visualize=True)["tableRecResults"][0]
    assert list(plain["outputImages"]) == ["ocr_res_img"]


def test_cells_have_red_frames_of_two_pixels_inside_their_edges():
    drawn = respond(V3, TableRequest("x"), visualize=True)["tableRecResults"][0]["outputImages"]
    picture = decoded(drawn["table_cell_img"]).astype(int)
    red = (picture[..., 2] - picture[..., 1] > 100) & (picture[..., 2] - picture[..., 0] > 100)
    assert red[66, 5] and red[67, 15] and red[90, 15] and red[80, 6] and red[80, 30] and red[80, 31]
    assert not red[80, 15] and not red[60, 15] and not red[80, 50] and not red[94, 15]


def test_pictures_of_a_turned_page_stand_upright():
    found = msgspec.structs.replace(FOUND, ocr=msgspec.structs.replace(OCR, angle=90))
    drawn = respond(V3, TableRequest("x"), found, visualize=True)["tableRecResults"][0]
    sizes = {name: size_of(picture) for name, picture in drawn["outputImages"].items()}
    assert sizes["layout_det_res"] == sizes["table_cell_img"] == (100, 80)
    assert sizes["ocr_res_img"] == (200, 80) and size_of(drawn["inputImage"]) == (80, 100)


def test_pictures_are_shrunk_to_the_configured_size():
    settings = config(serving=ServingOptions(max_output_img_size=(50, 50)))
    drawn = respond(V3, TableRequest("x"), settings=settings, visualize=True)["tableRecResults"][0]
    pictures = [*drawn["outputImages"].values(), drawn["inputImage"]]
    assert max(max(size_of(picture)) for picture in pictures) == 50


# --- 2024


def test_the_2024_generation_has_its_own_numbers():
    expected = TableParams(OcrParams(DetectionParams(0, "max"), alone=True), crops=True)
    assert BETA.params(PageRequest2024("x"), config()) == expected
    assert BETA.source(PageRequest2024("data")).file_type == 1


def test_2024_answers_tables_and_always_two_pictures():
    result = respond(BETA, PageRequest2024("x"))
    assert list(result) == ["tables", "layoutImage", "ocrImage"]
    assert result["tables"] == [{"bbox": [5.0, 65.0, 70.0, 95.0], "html": "<html/>"}]
    assert [size_of(result[name]) for name in ("layoutImage", "ocrImage")] == [(80, 100), (160, 100)]
    assert BETA.visualize(PageRequest2024("x"), config(serving=ServingOptions(visualize=False))) is True


def test_2024_refuses_a_longest_side_and_a_server_without_layout():
    with pytest.raises(BadRequest, match=r"`max_long_side` is currently not supported"):
        BETA.params(PageRequest2024("x", InferenceParams(max_long_side=5)), config())
    with pytest.raises(PipelineError, match=INVALID_SETTINGS):
        BETA.params(PageRequest2024("x"), config(ALL[:1] + ALL[2:], use_layout_detection=False))


# --- YAML

YAML = """
pipeline_name: table_recognition
use_doc_preprocessor: True
use_layout_detection: True
use_ocr_model: True
SubModules:
  LayoutDetection:
    module_name: layout_detection
    model_name: PP-DocLayout-L
    model_dir: null
  TableStructureRecognition:
    module_name: table_structure_recognition
    model_name: SLANet_plus
    model_dir: /models/table
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
  GeneralOCR:
    pipeline_name: OCR
    text_type: general
    use_doc_preprocessor: False
    use_textline_orientation: False
    SubModules:
      TextDetection:
        module_name: text_detection
        model_name: PP-OCRv4_server_det
        model_dir: null
        limit_side_len: 736
        limit_type: max
        max_side_limit: 3000
        thresh: 0.25
        box_thresh: 0.5
        unclip_ratio: 2
      TextRecognition:
        module_name: text_recognition
        model_name: PP-OCRv4_server_rec_doc
        model_dir: null
        batch_size: 8
        score_thresh: 0.3
"""
BETA_YAML = """
Global:
  pipeline_name: table_recognition
  input: https://example.com/demo.png
Pipeline:
  layout_model: PicoDet_layout_1x
  table_model: SLANet_plus
  text_det_model: PP-OCRv4_mobile_det
  text_rec_model: PP-OCRv4_mobile_rec
  layout_batch_size: 1
  text_rec_batch_size: 1
  table_batch_size: 1
"""


@pytest.fixture
def loaded(tmp_path):
    def loaded(text):
        path = tmp_path / "table.yaml"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return load(str(path))

    return loaded


def test_a_yaml_of_3x_names_the_models_and_the_numbers(loaded):
    spec = loaded(YAML)
    assert spec.name == spec.title == "table_recognition"
    assert {role: choice.name for role, choice in spec.models.items()} == {
        "doc_orientation": "PP-LCNet_x1_0_doc_ori",
        "layout": "PP-DocLayout-L",
        "text_detection": "PP-OCRv4_server_det",
        "text_recognition": "PP-OCRv4_server_rec_doc",
        "table_structure": "SLANet_plus",
    }
    assert spec.models["table_structure"].directory == "/models/table"
    expected = OcrOptions(False, use_textline_orientation=False, limit_side_len=736, limit_type="max",
                          max_side_limit=3000, thresh=0.25, box_thresh=0.5, unclip_ratio=2.0,
                          rec_batch_size=8, rec_score_thresh=0.3)  # fmt: skip
    assert msgspec.convert(spec.options, TableOptions) == TableOptions(ocr=expected)


def test_flags_leave_models_out_and_bring_them_in(loaded):
    text = YAML.replace("use_layout_detection: True", "use_layout_detection: False")
    assert "layout" not in loaded(text).models
    text = YAML.replace("use_doc_preprocessor: True", "use_doc_preprocessor: False")
    assert "doc_orientation" not in loaded(text).models
    with pytest.raises(ConfigError, match=r"no SubModules entry GeneralOCR.TextLineOrientation"):
        loaded(YAML.replace("use_textline_orientation: False", "use_textline_orientation: True"))


def test_a_yaml_that_names_uvdoc_loads_it_and_pages_are_unwarped(loaded):
    text = YAML.replace("use_doc_unwarping: False", "use_doc_unwarping: True")
    assert loaded(text).options["unwarping_left_out"]
    place = "    SubModules:\n      DocOrientationClassify:"
    module = (
        "      DocUnwarping: {module_name: image_unwarping, model_name: UVDoc, model_dir: /models/uvdoc}\n"
    )
    spec = loaded(text.replace(place, place.replace("      Doc", module + "      Doc", 1)))
    assert spec.models["doc_unwarping"] == ModelChoice("UVDoc", "/models/uvdoc")
    own = config((*ALL, "doc_unwarping"), use_doc_unwarping=spec.options["use_doc_unwarping"])
    assert V3.params(TableRequest("x"), own).ocr.doc_unwarping
    assert not V3.params(TableRequest("x", use_doc_unwarping=False), own).ocr.doc_unwarping


def test_room_for_the_unwarped_page_is_kept_once_where_pictures_are_wanted():
    own = config((*ALL, "doc_unwarping"), use_doc_unwarping=True)

    def room(**asked):
        return TableRecognition.result_bytes(V3.params(TableRequest("x", **asked), own), 1000, 2000)

    assert room() - room(visualize=False) == 3 * 1000 * 2000
    assert room(use_doc_unwarping=False) == room(visualize=False)


def test_pictures_are_of_the_unwarped_page():
    own = config((*ALL, "doc_unwarping"), use_doc_unwarping=True)
    flat = np.zeros((100, 80, 3), np.uint8)
    found = msgspec.structs.replace(PLAIN, ocr=msgspec.structs.replace(PLAIN.ocr, flat=flat))
    result = respond(V3, TableRequest("x"), found, own, visualize=True)["tableRecResults"][0]
    assert result["prunedResult"]["doc_preprocessor_res"]["model_settings"]["use_doc_unwarping"] is True
    assert decoded(result["inputImage"]).mean() == pytest.approx(200, abs=2)
    read = decoded(result["outputImages"]["ocr_res_img"])
    assert read[95:, :30].mean() < 20


def test_a_yaml_of_2024(loaded):
    spec = loaded(BETA_YAML)
    assert spec.models == {
        "layout": ModelChoice("PicoDet_layout_1x"),
        "table_structure": ModelChoice("SLANet_plus"),
        "text_detection": ModelChoice("PP-OCRv4_mobile_det"),
        "text_recognition": ModelChoice("PP-OCRv4_mobile_rec"),
    }
    assert msgspec.convert(spec.options, TableOptions) == TableOptions(use_doc_preprocessor=False)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("use_layout_detection", "use_layout", "^unknown key use_layout$"),
        ("  LayoutDetection", "  Layout", "^unknown key SubModules.Layout$"),
        ("model_dir: /models/table", "size: 3", "^unknown key SubModules.TableStructureRecognition.size$"),
        ("  GeneralOCR", "  OCR", "^unknown key SubPipelines.OCR$"),
        (
            "        thresh",
            "        tresh",
            "^unknown key SubPipelines.GeneralOCR.SubModules.TextDetection.tresh$",
        ),
        (
            "limit_type: max",
            "limit_type: a",
            "^SubPipelines.GeneralOCR.SubModules.TextDetection.limit_type must be",
        ),
        ("batch_size: 8", "return_word_box: True", "TextRecognition.return_word_box is not supported$"),
        ("use_ocr_model: True", "use_ocr_model: False", "^use_ocr_model must be True"),
        (
            "    use_doc_preprocessor: False",
            "    use_doc_preprocessor: True",
            "GeneralOCR.use_doc_preprocessor must",
        ),
        ("layout_detection\n", "detection\n", "LayoutDetection.module_name must be layout_detection"),
    ],
)
def test_what_cannot_be_is_named(loaded, old, new, message):
    assert old in YAML
    with pytest.raises(ConfigError, match=message):
        loaded(YAML.replace(old, new))
