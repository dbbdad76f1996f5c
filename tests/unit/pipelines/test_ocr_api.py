import cv2
import msgspec
import numpy as np
import orjson
import pytest

from pipelines.core.config import ModelFiles, PipelineConfig, ServingOptions
from pipelines.core.detection_size import DetectionParams
from pipelines.core.document_api import InferenceParams, PageRequest2024
from pipelines.core.errors import BadRequest, ConfigError, PipelineError
from pipelines.core.forms import Page, Reply
from pipelines.core.ocr_api import (
    INVALID_SETTINGS,
    OcrForm,
    OcrForm2024,
    OcrOptions,
    OcrPage,
    OcrParams,
    OcrRequest,
)
from tests.model_dirs import box

ALL = ("doc_orientation", "text_detection", "textline_orientation", "text_recognition")
V3, BETA = OcrForm(), OcrForm2024()
FOUND = OcrPage(
    angle=0,
    quads=np.stack([box(10, 10, 60, 30), box(10, 40, 60, 60), box(10, 70, 60, 90)]),
    line_angles=[0, 1, 0],
    kept=[0, 2],
    texts=["一", ""],
    scores=[0.75, 0.25],
)
NOTHING = OcrPage(0, np.empty((0, 4, 2), np.int16), [], [], [], [])


def config(loaded=ALL, serving=None, **options):
    models = {role: ModelFiles(role, "", {}) for role in loaded}
    return PipelineConfig(
        name="ocr",
        title="OCR",
        generation="v3",
        options=msgspec.to_builtins(OcrOptions(**options)),
        models=models,
        engines=dict.fromkeys(models, "fake"),
        serving=serving or ServingOptions(),
    )


def no_font():
    raise ConfigError("no font in this test")


def respond(form, request, found=FOUND, settings=None, visualize=False, pixels=True):
    settings = settings or config()
    page = np.full((100, 80, 3), 200, np.uint8)
    reply = Reply(
        request=request,
        params=form.params(request, settings),
        config=settings,
        pages=[Page(found, 80, 100, page if pixels else None)],
        visualize=visualize,
        data_info={"width": 80, "height": 100, "type": "image"},
        font=no_font,
    )
    return form.respond(reply)


def size_of(picture):
    height, width = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR).shape[:2]
    return width, height


@pytest.mark.parametrize(
    ("orientation", "unwarping", "preprocessor", "runs"),
    [
        pytest.param(None, None, True, True, id="both null: as configured"),
        pytest.param(True, None, True, True, id="one true"),
        pytest.param(None, False, False, False, id="one false, other null: skipped"),
        pytest.param(False, None, False, False, id="the other false"),
        pytest.param(False, False, False, False, id="both false"),
        pytest.param(True, False, True, True, id="orientation alone"),
    ],
)
def test_when_page_preprocessing_runs(orientation, unwarping, preprocessor, runs):
    request = OcrRequest("x", use_doc_orientation_classify=orientation, use_doc_unwarping=unwarping)
    assert V3.params(request, config()).doc_orientation is runs
    pruned = respond(V3, request)["ocrResults"][0]["prunedResult"]
    assert pruned["model_settings"]["use_doc_preprocessor"] is preprocessor
    assert ("doc_preprocessor_res" in pruned) is preprocessor


def test_an_answer_repeats_which_parts_of_preprocessing_ran():
    found = msgspec.structs.replace(FOUND, angle=90)
    pruned = respond(V3, OcrRequest("x"), found)["ocrResults"][0]["prunedResult"]
    assert pruned["doc_preprocessor_res"] == {
        "model_settings": {"use_doc_orientation_classify": True, "use_doc_unwarping": False},
        "angle": 90,
    }


@pytest.mark.parametrize(
    ("request_", "loaded"),
    [
        pytest.param(OcrRequest("x", use_doc_unwarping=True), ALL, id="unwarping"),
        pytest.param(
            OcrRequest("x", use_textline_orientation=True), ALL[:2] + ALL[3:], id="line orientation"
        ),
        pytest.param(OcrRequest("x", use_doc_orientation_classify=True), ALL[1:], id="page orientation"),
    ],
)
def test_asking_for_what_is_not_loaded_is_the_error_of_paddlex(request_, loaded):
    with pytest.raises(PipelineError, match=f"^{INVALID_SETTINGS}$") as caught:
        V3.params(request_, config(loaded, use_doc_preprocessor=False))
    assert caught.value.status == 500


def test_line_orientation_runs_as_configured_or_asked():
    assert V3.params(OcrRequest("x"), config()).textline_orientation is False
    assert V3.params(OcrRequest("x", use_textline_orientation=True), config()).textline_orientation is True
    on = config(use_textline_orientation=True)
    assert V3.params(OcrRequest("x"), on).textline_orientation is True
    assert V3.params(OcrRequest("x", use_textline_orientation=False), on).textline_orientation is False


def test_every_detection_parameter_reaches_the_device_and_the_answer():
    request = OcrRequest(
        "x",
        text_det_limit_side_len=320,
        text_det_limit_type="max",
        text_det_thresh=0.2,
        text_det_box_thresh=0.5,
        text_det_unclip_ratio=2.0,
        text_rec_score_thresh=0.4,
    )
    params = V3.params(request, config(max_side_limit=3000))
    assert params.detection == DetectionParams(320, "max", 3000, 0.2, 0.5, 2.0)
    assert params.score_thresh == 0.4
    pruned = respond(V3, request)["ocrResults"][0]["prunedResult"]
    assert pruned["text_rec_score_thresh"] == 0.4
    assert list(pruned["text_det_params"].items()) == [
        ("limit_side_len", 320),
        ("limit_type", "max"),
        ("thresh", 0.2),
        ("max_side_limit", 4000),
        ("box_thresh", 0.5),
        ("unclip_ratio", 2.0),
    ]


def test_zero_counts_as_not_given_but_is_repeated():
    request = OcrRequest("x", text_det_limit_side_len=0, text_det_limit_type="", text_det_thresh=0.0)
    assert V3.params(request, config()).detection == DetectionParams(64, "min", 4000, 0.3, 0.6, 1.5)
    repeated = respond(V3, request)["ocrResults"][0]["prunedResult"]["text_det_params"]
    assert (repeated["limit_side_len"], repeated["limit_type"], repeated["thresh"]) == (0, "", 0.0)


def test_an_unknown_limit_type_is_refused_by_name():
    with pytest.raises(BadRequest, match=r"^`textDetLimitType` must be one of min, max, resize_long$"):
        V3.params(OcrRequest("x", text_det_limit_type="longest"), config())


def test_the_keys_of_a_page_are_in_the_order_of_paddlex():
    pruned = respond(V3, OcrRequest("x"))["ocrResults"][0]["prunedResult"]
    assert list(pruned) == [
        "model_settings",
        "doc_preprocessor_res",
        "dt_polys",
        "text_det_params",
        "text_type",
        "textline_orientation_angles",
        "text_rec_score_thresh",
        "return_word_box",
        "rec_texts",
        "rec_scores",
        "rec_polys",
        "rec_boxes",
    ]


def test_word_boxes_are_asked_for_by_the_request_or_the_yaml():
    found = msgspec.structs.replace(
        FOUND, words=[["一"], []], word_boxes=np.array([[10, 10, 60, 30]], np.int32)
    )
    asked = respond(V3, OcrRequest("x", return_word_box=True), found)["ocrResults"][0]["prunedResult"]
    assert list(asked)[-2:] == ["text_word_boxes", "text_word"]
    written = orjson.loads(orjson.dumps(asked, option=orjson.OPT_SERIALIZE_NUMPY))
    assert written["return_word_box"] is True
    assert written["text_word"] == [["一"], []]
    assert written["text_word_boxes"] == [[[10, 10, 60, 30]], []]
    on = config(return_word_box=True)
    assert V3.params(OcrRequest("x"), on).words is True
    assert V3.params(OcrRequest("x", return_word_box=False), on).words is False


def test_word_boxes_of_a_page_without_text():
    pruned = respond(V3, OcrRequest("x", return_word_box=True), NOTHING)["ocrResults"][0]["prunedResult"]
    assert (pruned["text_word_boxes"], pruned["text_word"]) == ([], [])


def test_kept_lines_and_all_boxes():
    pruned = respond(V3, OcrRequest("x"))["ocrResults"][0]["prunedResult"]
    written = orjson.loads(orjson.dumps(pruned, option=orjson.OPT_SERIALIZE_NUMPY))
    assert len(written["dt_polys"]) == 3 and written["textline_orientation_angles"] == [0, 1, 0]
    assert written["rec_texts"] == ["一", ""] and written["rec_scores"] == [0.75, 0.25]
    assert written["rec_polys"] == [box(10, 10, 60, 30).tolist(), box(10, 70, 60, 90).tolist()]
    assert written["rec_boxes"] == [[10, 10, 60, 30], [10, 70, 60, 90]]


def test_a_page_without_text():
    result = respond(V3, OcrRequest("x"), NOTHING)
    written = orjson.loads(orjson.dumps(result, option=orjson.OPT_SERIALIZE_NUMPY))
    pruned = written["ocrResults"][0]["prunedResult"]
    assert "textline_orientation_angles" not in pruned
    assert [pruned[key] for key in ("dt_polys", "rec_texts", "rec_scores", "rec_polys", "rec_boxes")] == [
        []
    ] * 5
    assert written["dataInfo"] == {"width": 80, "height": 100, "type": "image"}


def test_pictures_only_when_wanted():
    assert list(respond(V3, OcrRequest("x"))["ocrResults"][0]) == ["prunedResult"]
    drawn = respond(V3, OcrRequest("x"), visualize=True)["ocrResults"][0]
    assert list(drawn) == ["prunedResult", "ocrImage", "docPreprocessingImage", "inputImage"]
    sizes = [size_of(drawn[key]) for key in ("ocrImage", "docPreprocessingImage", "inputImage")]
    assert sizes == [(160, 100), (240, 125), (80, 100)]
    plain = respond(V3, OcrRequest("x", use_doc_orientation_classify=False), visualize=True)["ocrResults"][0]
    assert "docPreprocessingImage" not in plain


def test_pictures_of_a_turned_page():
    found = msgspec.structs.replace(FOUND, angle=90)
    drawn = respond(V3, OcrRequest("x"), found, visualize=True)["ocrResults"][0]
    assert size_of(drawn["ocrImage"]) == (200, 80)
    assert size_of(drawn["docPreprocessingImage"]) == (80 + 100 + 100, 125)
    assert size_of(drawn["inputImage"]) == (80, 100)


def test_pictures_are_shrunk_to_the_configured_size():
    settings = config(serving=ServingOptions(max_output_img_size=(80, 80)))
    drawn = respond(V3, OcrRequest("x"), settings=settings, visualize=True)["ocrResults"][0]
    assert size_of(drawn["ocrImage"]) == (80, 50) and size_of(drawn["inputImage"]) == (64, 80)


@pytest.mark.parametrize(
    ("asked", "serving", "wanted"), [(None, True, True), (None, False, False), (False, True, False)]
)
def test_visualize_of_the_request_goes_before_the_configuration(asked, serving, wanted):
    settings = config(serving=ServingOptions(visualize=serving))
    assert V3.visualize(OcrRequest("x", visualize=asked), settings) is wanted
    assert BETA.visualize(PageRequest2024("x"), settings) is True


def test_the_2024_generation_has_its_own_numbers():
    assert BETA.params(PageRequest2024("x"), config()) == OcrParams(DetectionParams(0, "max"), alone=True)
    assert BETA.source(PageRequest2024("data")) == msgspec.structs.replace(
        BETA.source(PageRequest2024("")), data="data"
    )
    assert BETA.source(PageRequest2024("")).file_type == 1


def test_max_long_side_is_refused_in_the_words_of_2024():
    with pytest.raises(BadRequest, match=r"^`max_long_side` is currently not supported\.$"):
        BETA.params(PageRequest2024("x", InferenceParams(960)), config())
    assert BETA.params(PageRequest2024("x", InferenceParams()), config())


def test_texts_of_2024_hold_empty_ones_and_a_picture():
    result = respond(BETA, PageRequest2024("x"), visualize=True)
    assert result["texts"] == [
        {"poly": box(10, 10, 60, 30).tolist(), "text": "一", "score": 0.75},
        {"poly": box(10, 70, 60, 90).tolist(), "text": "", "score": 0.25},
    ]
    assert size_of(result["image"]) == (160, 100)
    assert respond(BETA, PageRequest2024("x"), NOTHING)["texts"] == []


def test_2024_draws_sure_lines_only():
    picture = cv2.imdecode(
        np.frombuffer(respond(BETA, PageRequest2024("x"))["image"], np.uint8), cv2.IMREAD_COLOR
    )
    assert np.abs(picture[20, 35].astype(int) - 200).max() > 20  # score 0.75
    assert np.abs(picture[80, 35].astype(int) - 200).max() < 10  # score 0.25


def test_no_field_marks_both_generations():
    assert not V3.marks & BETA.marks
    assert {"file", "visualize", "textDetThresh"} <= V3.marks and BETA.marks == {"image", "inferenceParams"}


@pytest.mark.parametrize(
    "params",
    [
        OcrParams(),
        OcrParams(DetectionParams(320, "max", 9, 0.1, 0.2, 0.3), True, True, 0.5, True, True, "text"),
    ],
)
def test_parameters_survive_the_trip_to_the_device(params):
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(params), type=OcrParams) == params


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("textDetLimitSideLen", 2**70),
        ("textDetUnclipRatio", 1e6),
        ("textDetUnclipRatio", -0.1),
        ("textDetThresh", 1e300),
        ("fileType", 2),
    ],
)
def test_numbers_beyond_reason_are_refused(field, value):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"file": "x", field: value}, OcrRequest)
