import cv2
import numpy as np
import pytest

from pipelines.core.detection_size import DetectionParams
from pipelines.core.errors import ConfigError
from pipelines.stages.text_detection import TextDetection
from tests.model_dirs import DETECTION, Scripted, model
from tests.reference.boxes import db_boxes


def stage(tmp_path, **post):
    return TextDetection(
        model(tmp_path, {**DETECTION, "PostProcess": {**DETECTION["PostProcess"], **post}}), "x"
    )


def probabilities(tensor):
    """One text line in the middle of every map, 0.8 sure."""
    count, _, height, width = tensor.shape
    maps = np.zeros((count, 1, height, width), np.float32)
    maps[:, :, height // 3 : height // 2, width // 4 : 3 * width // 4] = 0.8
    return maps


def test_the_tensor_is_the_resized_normalised_page(tmp_path):
    page = np.random.default_rng(0).integers(0, 256, (90, 200, 3), np.uint8)
    detection, engine = stage(tmp_path), Scripted(probabilities)
    call = detection.call(page, DetectionParams(64, "min"))
    assert call.key == (96, 192)
    detection.run(engine, [call.input])
    resized = cv2.resize(page, (192, 96)).astype(np.float32).transpose(2, 0, 1)
    scale = np.array([2 / 255, 1 / 255, 4 / 255], np.float32)[:, None, None]
    shift = np.array([-1, -0.25, 0], np.float32)[:, None, None]
    np.testing.assert_allclose(engine.seen[0][0], resized * scale + shift, atol=1e-6)


def test_boxes_are_scaled_to_the_page(tmp_path):
    page = np.zeros((200, 400, 3), np.uint8)
    detection, engine = stage(tmp_path), Scripted(probabilities)
    call = detection.call(page, DetectionParams(100, "max", thresh=0.5, box_thresh=0.6, unclip_ratio=1.5))
    (boxes,) = detection.run(engine, [call.input])
    expected, _ = db_boxes(probabilities(engine.seen[0])[0, 0], 400, 200, 0.5, 0.6, 1.5)
    assert len(boxes) == 1 and np.array_equal(boxes, expected)


def test_zero_stands_for_the_models_own_values(tmp_path):
    detection = stage(tmp_path)
    params = detection.call(np.zeros((100, 2000, 3), np.uint8), DetectionParams()).input.params
    assert params == DetectionParams(640, "max", 4000, 0.4, 0.7, 1.6)


def test_a_threshold_of_the_request_reaches_the_boxes(tmp_path):
    detection, engine = stage(tmp_path), Scripted(probabilities)
    page = np.zeros((96, 192, 3), np.uint8)
    for box_thresh, found in ((0.79, 1), (0.81, 0)):
        call = detection.call(page, DetectionParams(64, "min", box_thresh=box_thresh))
        assert len(detection.run(engine, [call.input])[0]) == found


def test_a_tiny_page_is_filled_with_black_but_keeps_its_own_size(tmp_path):
    detection, engine = stage(tmp_path), Scripted(lambda x: np.ones((1, 1, *x.shape[2:]), np.float32))
    call = detection.call(np.full((20, 30, 3), 255, np.uint8), DetectionParams(32, "min"))
    (boxes,) = detection.run(engine, [call.input])
    assert call.key == (32, 32)
    assert engine.seen[0][0, 0, 25, 5] == pytest.approx(-1.0) and engine.seen[0][0, 0, 5, 5] == 1.0
    assert boxes[..., 0].max() == 30 and boxes[..., 1].max() == 20


def test_pages_of_one_size_share_a_run(tmp_path):
    detection, engine = stage(tmp_path), Scripted(probabilities)
    calls = [detection.call(np.full((64, 96, 3), v, np.uint8), DetectionParams(32, "min")) for v in (9, 200)]
    assert [len(boxes) for boxes in detection.run(engine, [call.input for call in calls])] == [1, 1]
    assert engine.seen[0].shape == (2, 3, 64, 96)


@pytest.mark.parametrize(
    "post", [{"name": "PSEPostProcess"}, {"box_type": "poly"}, {"score_mode": "slow"}, {"unclip_ratio": -1}]
)
def test_another_kind_of_detector_is_refused(tmp_path, post):
    with pytest.raises(ConfigError, match="PostProcess"):
        stage(tmp_path, **post)
