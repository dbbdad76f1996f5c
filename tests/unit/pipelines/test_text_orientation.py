import cv2
import numpy as np
import pytest

from pipelines.core.errors import ConfigError
from pipelines.core.lines import Line
from pipelines.stages.text_orientation import CALL_LINES, TextOrientation
from tests.model_dirs import PADDLEOCR_LINE, PADDLEX_LINE, PAGE, Scripted, box, model

PICTURE = np.random.default_rng(2).integers(0, 256, (24, 60, 3), np.uint8)


def line(picture=PICTURE):
    height, width = picture.shape[:2]
    return Line(picture, box(0, 0, width, height), width, height)


def sure_of_180(*scores):
    return Scripted(
        lambda tensor: np.array([[1 - score, score] for score in scores[: len(tensor)]], np.float32)
    )


def test_paddleocr_keeps_the_ratio_and_the_channel_order(tmp_path):
    stage, engine = TextOrientation(model(tmp_path, PADDLEOCR_LINE), "x"), sure_of_180(0.1)
    stage.run(engine, [call.input for call in stage.calls([line()])])
    resized = (cv2.resize(PICTURE, (120, 48)).astype(np.float32) / 255 - 0.5) / 0.5
    assert engine.seen[0].shape == (1, 3, 48, 192)
    np.testing.assert_array_equal(engine.seen[0][0, :, :, :120], resized.transpose(2, 0, 1))
    assert not engine.seen[0][0, :, :, 120:].any()


def test_paddlex_stretches_and_takes_rgb(tmp_path):
    stage, engine = TextOrientation(model(tmp_path, PADDLEX_LINE), "x"), sure_of_180(0.1)
    stage.run(engine, [call.input for call in stage.calls([line()])])
    resized = cv2.resize(PICTURE, (160, 80))[:, :, ::-1].astype(np.float64) / 255
    expected = (resized - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(engine.seen[0][0], expected.transpose(2, 0, 1), atol=1e-5)


@pytest.mark.parametrize(
    ("description", "score", "angle"),
    [(PADDLEOCR_LINE, 0.9, 0), (PADDLEOCR_LINE, 0.91, 1), (PADDLEX_LINE, 0.5, 0), (PADDLEX_LINE, 0.51, 1)],
)
def test_how_sure_the_model_must_be(tmp_path, description, score, angle):
    stage = TextOrientation(model(tmp_path, description), "x")
    assert stage.run(sure_of_180(score), [stage.calls([line()])[0].input]) == [[angle]]


def test_lines_are_cut_into_calls_and_keep_their_order(tmp_path):
    stage = TextOrientation(model(tmp_path, PADDLEOCR_LINE), "x")
    shades = [line(np.full((48, 48, 3), value, np.uint8)) for value in range(0, 250, 10)]
    calls = stage.calls(shades)
    assert [len(call.input) for call in calls] == [CALL_LINES, CALL_LINES, CALL_LINES, 1]
    dark = Scripted(lambda tensor: np.stack([tensor[:, 0, 0, 0] > 0, tensor[:, 0, 0, 0] < 0], axis=1))
    found = [angle for answer in stage.run(dark, [call.input for call in calls]) for angle in answer]
    assert found == [int(value / 255 < 0.5) for value in range(0, 250, 10)]


def test_another_kind_of_model_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"ResizeImage\.size"):
        TextOrientation(model(tmp_path, PAGE), "x")
