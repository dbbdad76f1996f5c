"""Unwarping in document chat, on scripted engines: the page is mirrored, and so what is found is mirrored."""

import msgspec
import numpy as np
import pytest

from pipelines.core.base import Item
from pipelines.core.config import PipelineConfig
from pipelines.core.detection_size import DetectionParams
from pipelines.core.ocr_api import OcrOptions, OcrParams
from pipelines.core.vision_api import VisionForm, VisionRequest
from pipelines.core.visual_api import VisualForm, VisualOptions, VisualParams, VisualRequest
from pipelines.core.visual_reading import page_bytes
from pipelines.engines.base import TensorSpec
from tests.driver import Driver
from tests.model_dirs import DETECTION, LAYOUT, RECOGNITION, Scripted, finds_dark, model, reads_grey

FULL_SIZE = DetectionParams(64, "min", thresh=0.5, box_thresh=0.5, unclip_ratio=0.2)
#: left, top, right, grey of bars 30 px high
BARS = ((40, 20, 300, 0x50), (320, 330, 600, 0x60))


class OneText(Scripted):
    """A layout with one block of text where the left bar of an upright page is."""

    def __init__(self):
        super().__init__(None)
        self.inputs = (
            TensorSpec("image", (-1, 3, 96, 64), "float32"),
            TensorSpec("scale_factor", (-1, 2), "float32"),
        )

    def run(self, feeds):
        return [np.array([[0, 0.9, 30, 10, 310, 60]], np.float32), np.array([1], np.int32)]


def page():
    image = np.full((384, 640, 3), 255, np.uint8)
    for left, top, right, grey in BARS:
        image[top : top + 30, left:right] = grey
    return image


@pytest.fixture
def config(tmp_path):
    models = {
        "doc_unwarping": model(tmp_path / "flat", {"Global": {"model_name": "UVDoc"}}, "UVDoc"),
        "layout": model(tmp_path / "layout", LAYOUT),
        "text_detection": model(tmp_path / "det", DETECTION),
        "text_recognition": model(tmp_path / "rec", RECOGNITION),
    }
    own = VisualOptions(
        use_doc_orientation_classify=False,
        use_doc_unwarping=True,
        ocr=OcrOptions(use_doc_preprocessor=False, limit_side_len=64, limit_type="min", unclip_ratio=0.2),
    )
    return PipelineConfig(
        "pp_chatocrv3_doc", "PP-ChatOCRv3-doc", "v3", msgspec.to_builtins(own), models,
        dict.fromkeys(models, "fake"),
    )  # fmt: skip


@pytest.fixture
def driver(config):
    engines = {
        "det": Scripted(finds_dark),
        "rec": Scripted(reads_grey),
        "unwarp": Scripted(lambda tensor: tensor[..., ::-1].copy()),
        "objects": OneText(),
    }
    return Driver(config, load=lambda stage: engines[stage.name])


def found(driver, image, **ocr):
    (result,) = driver(Item(VisualParams(OcrParams(detection=FULL_SIZE, **ocr)), image))
    if isinstance(result, Exception):
        raise result
    return result


def test_everything_is_found_on_the_unwarped_page(driver):
    warped = np.ascontiguousarray(page()[:, ::-1])
    flat, plain = found(driver, warped, doc_unwarping=True, drawn=True), found(driver, page())
    assert [block.content for block in flat.blocks] == [block.content for block in plain.blocks]
    assert "50" in flat.blocks[0].content and flat.ocr.texts == ["50", "60"]
    np.testing.assert_array_equal(flat.ocr.quads, plain.ocr.quads)
    assert np.abs(flat.ocr.flat.astype(int) - page()).max() <= 1
    assert plain.ocr.flat is None and found(driver, warped, doc_unwarping=True).ocr.flat is None


def test_both_generations_unwarp_where_the_model_is_loaded(config):
    v3, old = VisualForm(), VisionForm()
    assert v3.params(VisualRequest("x"), config).ocr.doc_unwarping
    assert not v3.params(VisualRequest("x", use_doc_unwarping=False), config).ocr.doc_unwarping
    assert old.params(VisionRequest("x"), config).ocr.doc_unwarping
    assert not old.params(VisionRequest("x", use_img_unwrapping=False), config).ocr.doc_unwarping
    without = {role: found for role, found in config.models.items() if role != "doc_unwarping"}
    bare = msgspec.structs.replace(config, models=without)
    assert not v3.params(VisualRequest("x"), bare).ocr.doc_unwarping
    assert not old.params(VisionRequest("x"), bare).ocr.doc_unwarping


def test_room_for_the_unwarped_page_is_kept_once_where_pictures_are_wanted(config):
    def room(**asked):
        return page_bytes(VisualForm().params(VisualRequest("x", **asked), config), 300, 200)

    assert room(visualize=True) - room(visualize=False) == 3 * 300 * 200
    assert room(use_doc_unwarping=False, visualize=True) == room(visualize=False)
