"""Unwarping: numbers, what is loaded and when, and where coordinates and pictures are then.

The model is an ONNX file with UVDoc's interface that mirrors a page: what it does can be undone.
"""

import struct

import cv2
import msgspec
import numpy as np
import pytest
import yaml

from pipelines.core.base import Item
from pipelines.core.config import ModelFiles, PipelineConfig
from pipelines.core.draw import Pen
from pipelines.core.errors import EngineError, PipelineError
from pipelines.core.models import ModelStore
from pipelines.core.ocr_api import INVALID_SETTINGS, OcrForm, OcrOptions, OcrRequest
from pipelines.core.registry import load_engine
from pipelines.core.yaml_config import load
from pipelines.engines.base import EngineOptions
from pipelines.ocr import OcrPipeline
from pipelines.stages.unwarping import Unwarping
from server.options import parse
from server.resolved import resolve
from tests import tiny
from tests.driver import Driver
from tests.model_dirs import DETECTION, RECOGNITION, finds_dark, model, reads_grey
from tests.model_dirs import Scripted as Answers


def mirror():
    """ONNX that turns the last axis round: Slice from its end to its beginning in steps of -1."""
    ends = {"starts": -1, "ends": -(1 << 62), "axes": 3, "steps": -1}
    graph = tiny._node("Slice", ("image", *ends), ("out",)) + tiny.field(2, "mirror")
    for name, value in ends.items():
        raw = struct.pack("<q", value)
        graph += tiny.field(5, tiny.field(1, 1) + tiny.field(2, 7) + tiny.field(8, name) + tiny.field(9, raw))
    graph += tiny._value(11, "image", ("n", 3, "h", "w")) + tiny._value(12, "out", ("n", 3, "h", "w"))
    return tiny.field(1, 8) + tiny.field(8, tiny.field(1, "") + tiny.field(2, 13)) + tiny.field(7, graph)


@pytest.fixture(scope="module")
def uvdoc(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uvdoc")
    (folder / "inference.onnx").write_bytes(mirror())
    (folder / "inference.yml").write_text("Global: {model_name: UVDoc}\n")
    return ModelFiles("UVDoc", str(folder), {"onnx": str(folder / "inference.onnx")})


@pytest.fixture(scope="module")
def stage(uvdoc):
    return Unwarping(uvdoc, "onnxruntime")


@pytest.fixture(scope="module")
def engine(uvdoc):
    loaded = load_engine("onnxruntime")(uvdoc, EngineOptions())
    yield loaded
    loaded.close()


def photo(height=40, width=70):
    return np.random.default_rng(5).integers(0, 256, (height, width, 3), np.uint8)


def test_every_level_and_channel_comes_back_in_its_place(stage, engine):
    page = photo()
    page[0, :, 0] = np.arange(70)
    (found,) = stage.run(engine, [page])
    assert found.dtype == np.uint8 and found.flags.c_contiguous
    # x / 255 * 255 is x or a little less, and what is less is cut: PaddleX's own rounding.
    assert np.abs(found.astype(int) - page[:, ::-1]).max() <= 1
    expected = (page[:, ::-1].astype(np.float32) * np.float32(1 / 255) * np.float32(255)).astype(np.uint8)
    np.testing.assert_array_equal(found, expected)


def test_the_canary_runs_and_a_good_engine_is_as_good(stage, engine):
    (call,) = stage.canary()
    (found,) = stage.run(engine, [call.input])
    assert stage.judge([found], [found]) is None
    assert "pixels are others" in stage.judge([found], [255 - found])
    assert "a page (2, 2, 3)" in stage.judge([found], [np.zeros((2, 2, 3), np.uint8)])


@pytest.mark.parametrize("value", [7.0, -3.0])
def test_numbers_beyond_a_page_are_its_extremes(stage, value):
    (found,) = stage.run(Answers(lambda tensor: np.full_like(tensor, value)), [photo()])
    assert set(found.ravel()) == {255 if value > 0 else 0}


def test_another_size_is_an_error(stage):
    with pytest.raises(EngineError):
        stage.run(Answers(lambda tensor: tensor[:, :, 1:]), [photo()])


# --- when it runs


def config(*loaded, **options):
    models = {role: ModelFiles(role, "", {}) for role in ("text_detection", "text_recognition", *loaded)}
    own = msgspec.to_builtins(OcrOptions(**options))
    return PipelineConfig("ocr", "OCR", "v3", own, models, dict.fromkeys(models, "fake"))


@pytest.mark.parametrize(
    ("loaded", "asked", "runs"),
    [
        pytest.param(("doc_unwarping", "doc_orientation"), {}, True, id="by default"),
        pytest.param(("doc_orientation",), {}, False, id="the model could not be had"),
        pytest.param(("doc_unwarping",), {"use_doc_unwarping": True}, True, id="asked for"),
        pytest.param(
            ("doc_unwarping",),
            {"use_doc_unwarping": False, "use_doc_orientation_classify": False},
            False,
            id="refused",
        ),
    ],
)
def test_when_pages_are_unwarped(loaded, asked, runs):
    turned = "doc_orientation" in loaded
    own = config(*loaded, use_doc_unwarping=True, use_doc_orientation_classify=turned)
    params = OcrForm().params(OcrRequest("x", **asked), own)
    assert params.doc_unwarping is runs and params.drawn
    assert not OcrForm().params(OcrRequest("x", visualize=False, **asked), own).drawn
    grown = OcrPipeline.result_bytes(params, 1000, 2000) - OcrPipeline.result_bytes(
        msgspec.structs.replace(params, drawn=False), 1000, 2000
    )
    assert grown == (6_000_000 if runs else 0)


def test_asking_for_it_without_the_model_is_the_error_of_paddlex():
    with pytest.raises(PipelineError, match=f"^{INVALID_SETTINGS}$"):
        OcrForm().params(OcrRequest("x", use_doc_unwarping=True), config("doc_orientation"))


# --- a page from end to end


def bars():
    """A bar at the left, and a shorter one below it at the right; greys are what is read."""
    page = np.full((160, 320, 3), 255, np.uint8)
    page[40:70, 20:200] = 0x20
    page[100:130, 220:300] = 0x50
    return page


@pytest.fixture
def read(uvdoc, stage, engine, tmp_path):
    """Reads a page with parameters: scripted detection and recognition, and the mirror."""
    models = {
        "doc_unwarping": uvdoc,
        "text_detection": model(tmp_path / "det", DETECTION),
        "text_recognition": model(tmp_path / "rec", RECOGNITION),
    }
    own = msgspec.to_builtins(OcrOptions(use_doc_unwarping=True, use_doc_orientation_classify=False))
    settings = PipelineConfig("ocr", "OCR", "v3", own, models, dict.fromkeys(models, "fake"))
    engines = {"det": Answers(finds_dark), "rec": Answers(reads_grey), "unwarp": engine}
    driver = Driver(settings, lambda one: engines[one.name])

    def run(page, **asked):
        exact = {"text_det_thresh": 0.5, "text_det_box_thresh": 0.5, "text_det_unclip_ratio": 0.2}
        params = OcrForm().params(OcrRequest("x", **exact, **asked), settings)
        (found,) = driver(Item(params=params, image=page))
        if isinstance(found, Exception):
            raise found
        return found

    return run


def test_boxes_are_on_the_page_that_was_read(read):
    flat = read(bars())
    plain = read(np.ascontiguousarray(bars()[:, ::-1]), use_doc_unwarping=False)
    assert flat.texts == plain.texts == ["20", "50"]
    np.testing.assert_array_equal(flat.quads, plain.quads)
    assert plain.flat is None
    assert np.abs(flat.flat.astype(int) - bars()[:, ::-1]).max() <= 1
    assert read(bars(), visualize=False).flat is None


def test_the_picture_shows_the_page_as_it_came_and_flat(read, monkeypatch):
    from pipelines.core import document_api

    drawn = []
    monkeypatch.setattr(
        document_api.PageSettings, "picture", lambda self, *shown: drawn.append(shown) or shown[0]
    )
    found = read(bars())
    sheet = document_api.Sheet(bars(), -1, Pen(lambda: ""), None, OcrForm().flat(found))
    own = config("doc_unwarping", use_doc_unwarping=True, use_doc_orientation_classify=False)
    settings = OcrForm().settings(OcrRequest("x"), own)
    assert cv2.imdecode(np.frombuffer(sheet.preprocessing(settings.page), np.uint8), 1) is not None
    ((page, turned, flat, _, _),) = drawn
    np.testing.assert_array_equal(page, bars())
    np.testing.assert_array_equal(turned, bars())
    np.testing.assert_array_equal(flat, found.flat)
    np.testing.assert_array_equal(sheet.upright, found.flat)


# --- where it comes from


def document(tmp_path, folder):
    pages = {
        "use_doc_orientation_classify": False,
        "use_doc_unwarping": True,
        "SubModules": {
            "DocUnwarping": {"module_name": "image_unwarping", "model_name": "UVDoc", "model_dir": folder}
        },
    }
    names = {"TextDetection": "PP-OCRv6_small_det", "TextRecognition": "PP-OCRv6_small_rec"}
    tasks = {"TextDetection": "text_detection", "TextRecognition": "text_recognition"}
    modules = {
        key: {"module_name": tasks[key], "model_name": name, "model_dir": None} for key, name in names.items()
    }
    whole = {"pipeline_name": "OCR", "use_textline_orientation": False, "SubModules": modules}
    path = tmp_path / "ocr.yml"
    path.write_text(yaml.safe_dump(whole | {"SubPipelines": {"DocPreprocessor": pages}}))
    return path


def test_a_yaml_that_names_the_model_loads_it(uvdoc, tmp_path):
    spec = load(str(document(tmp_path, uvdoc.directory)))
    assert spec.options["use_doc_unwarping"] and not spec.options["unwarping_left_out"]
    choice = spec.models["doc_unwarping"]
    assert (choice.name, choice.directory) == ("UVDoc", uvdoc.directory)
    assert load(str(document(tmp_path, None))).models["doc_unwarping"].directory is None


def test_a_model_that_cannot_be_had_is_off_and_the_plan_says_so(uvdoc, tmp_path):
    class Offline(ModelStore):
        def resolve(self, name, directory=None, *, onnx=False):
            if name == "UVDoc":
                assert directory is None
                return super().resolve(None, str(tmp_path / "nowhere"))
            return uvdoc

    args = parse(["--pipeline", str(document(tmp_path, None)), "--device", "cpu:1"])
    from server.cores import Machine

    (found,) = resolve(args, Offline(tmp_path / "cache"), Machine())
    assert "doc_unwarping" not in found.models
    assert "UVDoc" in found.absent["doc_unwarping"]
