"""Seals against PaddleX 3.7.2 (``tests/cases/record_seals.py``), with a stand-in for their detector."""

import json
from pathlib import Path

import cv2
import msgspec
import numpy as np
import orjson
import pytest

from benchmarks import peers
from pipelines.core.base import Item
from pipelines.core.box_rules import Boxes
from pipelines.core.curved import polygon_picture
from pipelines.core.errors import BadRequest
from pipelines.core.forms import Page, Reply
from pipelines.core.models import ModelStore
from pipelines.core.vision_api import VisionForm, VisionRequest
from pipelines.core.visual_api import VisualForm, VisualRequest
from server import wire
from tests.driver import Driver, config_of
from tests.model_dirs import seal_detector

CASES = Path(__file__).resolve().parents[1] / "cases" / "seals"
RECORDED = json.loads((CASES / "seal.json").read_text())
IMAGE = cv2.imread(str(CASES / "seal.png"))
CROPS = np.load(CASES / "crops.npz", allow_pickle=False)
#: Where the seal lies on the page, and the layout model is told to see it.
LEFT, TOP = 60, 40
BOX = [LEFT, TOP, LEFT + IMAGE.shape[1], TOP + IMAGE.shape[0]]


@pytest.mark.parametrize("name", RECORDED["polygons"])
def test_what_is_cut_out_along_a_polygon_is_what_paddlex_cuts(name):
    found = polygon_picture(IMAGE, np.array(RECORDED["polygons"][name], np.int16))
    expected = CROPS[name]
    assert found.shape == expected.shape
    # equal with the OpenCV of the recording; another build may round single samples to the other side
    assert np.abs(found.astype(int) - expected).mean() < 0.01


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """The whole pipeline with a detector for seals, its layout model told to see one seal on every page."""
    store = ModelStore()
    folder = seal_detector(
        tmp_path_factory.mktemp("seal") / "model", store.resolve(peers.DETECTION).directory
    )
    config = config_of(
        "PP-ChatOCRv3-doc", "paddle", padding="exact",
        models={"text_detection": peers.DETECTION, "text_recognition": peers.RECOGNITION},
        options={"use_doc_preprocessor": False, "use_seal_recognition": True},
        leave_out=("doc_orientation", "embedding", "table_structure"),
    )  # fmt: skip
    models = config.models | {"seal_detection": store.resolve(None, str(folder))}
    config = msgspec.structs.replace(
        config, models=models, engines=dict.fromkeys(models, "paddle") | {"layout": "onnxruntime"}
    )
    with Driver(config) as running:
        yield running


def page():
    image = np.full((640, 600, 3), 255, np.uint8)
    image[BOX[1] : BOX[3], BOX[0] : BOX[2]] = IMAGE
    return image


def answer(driver, monkeypatch, form, request, label="seal"):
    """``result`` of a request for the page, by way of a slot."""
    (layout,) = (s for s in driver.stages.all.values() if s.model == driver.config.models["layout"])
    row = np.array([[0, 0.9, *BOX]], np.float32)
    monkeypatch.setattr(layout, "run", lambda engine, inputs: [Boxes(row, [label])] * len(inputs))
    params, image = form.params(request, driver.config), page()
    (found,) = driver(Item(params=params, image=image))
    if isinstance(found, Exception):
        raise found
    shape = wire.Shape(height=640, width=600)
    slot = memoryview(bytearray(wire.slot_bytes(shape, driver.pipeline.result_bytes(params, 640, 600))))
    length = wire.write_result(slot, shape, found, wire.Timings())
    assert length > 0, "the result is larger than result_bytes"
    received, _ = wire.read_result(slot, shape, length, type(found))
    pages = [Page(received, 600, 640, image)]
    reply = Reply(request, params, driver.config, pages, True, None, ModelStore().font)
    return form.respond(reply)


@pytest.mark.engine
def test_a_seal_says_what_paddlex_reads(driver, monkeypatch):
    result = answer(driver, monkeypatch, VisualForm(), VisualRequest(""))
    (found,), expected = result["layoutParsingResults"], RECORDED["answer"]
    pruned = json.loads(orjson.dumps(found["prunedResult"], option=orjson.OPT_SERIALIZE_NUMPY))
    (seal,) = pruned["seal_res_list"]
    assert list(seal) == list(expected)
    for name, value in expected.items():
        if name in {"dt_polys", "rec_polys"}:
            assert len(seal[name]) == len(value)
            for ours, theirs in zip(seal[name], value, strict=True):
                assert len(ours) == len(theirs) and np.abs(np.subtract(ours, theirs)).max() <= 1
        elif name == "rec_scores":
            assert seal[name] == pytest.approx(value, abs=0.02)
        else:
            assert seal[name] == value
    assert pruned["model_settings"]["use_seal_recognition"] is True
    (block,) = [block for block in pruned["parsing_res_list"] if block["block_label"] == "seal"]
    assert block["block_content"] == ", ".join(expected["rec_texts"])
    assert result["visualInfo"][0]["normal_text_dict"]["words in seal"] == block["block_content"]
    assert found["outputImages"]["seal_res_region1"][:2] == b"\xff\xd8"


def test_the_case_has_a_curved_text_and_a_straight_one():
    corners = [len(polygon) for polygon in RECORDED["answer"]["rec_polys"]]
    assert len(corners) > 1 and max(corners) > 12


@pytest.mark.engine
def test_the_generation_of_2024_puts_the_texts_together_under_its_own_name(driver, monkeypatch):
    asked = answer(driver, monkeypatch, VisionForm(), VisionRequest(""))["visionInfo"]["ocr_text"][0]
    assert len(asked["印章"]) > 10 and ", " not in asked["印章"]
    request = VisionRequest("", use_seal_text_det=False)
    assert "印章" not in answer(driver, monkeypatch, VisionForm(), request)["visionInfo"]["ocr_text"][0]


@pytest.mark.engine
def test_without_seals_on_the_page_or_in_the_request_nobody_looks(driver, monkeypatch):
    for label, asked in (("text", None), ("seal", False)):
        request = VisualRequest("", use_seal_recognition=asked)
        before = len(driver.log)
        (found,) = answer(driver, monkeypatch, VisualForm(), request, label)["layoutParsingResults"]
        assert "seal_res_list" not in found["prunedResult"]
        assert "seal" not in {name for name, _ in driver.log[before:]}
        assert found["prunedResult"]["model_settings"]["use_seal_recognition"] is (asked is None)


@pytest.mark.engine
def test_what_a_request_says_about_seals_reaches_them(driver, monkeypatch):
    request = VisualRequest("", seal_det_box_thresh=0.999, seal_det_limit_side_len=320)
    (found,) = answer(driver, monkeypatch, VisualForm(), request)["layoutParsingResults"]
    (seal,) = found["prunedResult"]["seal_res_list"]
    assert seal["dt_polys"] == [] and seal["rec_texts"] == []
    assert seal["text_det_params"]["box_thresh"] == 0.999
    with pytest.raises(BadRequest, match="textDetLimitType"):
        answer(driver, monkeypatch, VisualForm(), VisualRequest("", seal_det_limit_type="sideways"))
