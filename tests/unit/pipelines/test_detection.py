import numpy as np
import pytest

from pipelines.core.box_rules import BoxRules
from pipelines.core.errors import ConfigError, EngineError
from pipelines.engines.base import TensorSpec
from pipelines.stages.detection import Detection
from tests.model_dirs import model

DESCRIPTION = {
    "draw_threshold": 0.4,
    "Preprocess": [
        {"type": "Resize", "target_size": [32, 64], "interp": 2, "keep_ratio": False},
        {"type": "Permute"},
    ],
    "label_list": ["cup", "cat", "dog"],
}


class Counting:
    """An engine that finds in picture k (by its blue mean) k boxes; ``seen`` holds the names it was fed."""

    def __init__(self, *names):
        self.inputs = tuple(TensorSpec(name, (-1,), "float32") for name in names)
        self.seen = []

    def run(self, feeds):
        self.seen.append({name: array.copy() for name, array in feeds.items()})
        counts = feeds["image"][:, 2].mean(axis=(1, 2)).round().astype(np.int32)
        rows = [[k % 3, 0.3 + k / 10, k, 0, k + 5, 9] for count in counts for k in range(count)]
        return [np.array(rows, np.float32).reshape(-1, 6), counts]


def picture(count, height=40, width=50):
    return np.full((height, width, 3), count, np.uint8)


def stage(folder, **changed):
    return Detection(model(folder, {**DESCRIPTION, **changed}, "PicoDet-S"), "x")


def answers(detection, engine, pictures, rules=BoxRules()):  # noqa: B008 - frozen
    calls = [detection.call(each, rules) for each in pictures]
    assert len({call.key for call in calls}) == 1
    return detection.run(engine, [call.input for call in calls])


def test_each_picture_of_a_batch_gets_its_own_rows(tmp_path):
    detection, engine = stage(tmp_path), Counting("image", "scale_factor")
    pictures = [picture(3), picture(0), picture(5, 400, 30), picture(1)]
    together = answers(detection, engine, pictures)
    assert [len(boxes.rows) for boxes in together] == [1, 0, 3, 0]
    for alone, boxes in zip(pictures, together, strict=True):
        (expected,) = answers(detection, engine, [alone])
        np.testing.assert_array_equal(boxes.rows, expected.rows)
        assert boxes.labels == expected.labels


def test_a_network_of_another_size_is_told_by_the_key_that_made_it(tmp_path):
    engine = Counting("image", "scale_factor")
    engine.inputs = (TensorSpec("image", (-1, 3, 48, 64), "float32"), engine.inputs[1])
    detection = Detection(model(tmp_path, DESCRIPTION, "PicoDet-S"), "x", img_size=(48, 32))
    with pytest.raises(
        EngineError, match=r"takes pictures of 64 x 48 pixels only, not of 32 x 48: .*img_size"
    ):
        answers(detection, engine, [picture(1)])
    detection = Detection(model(tmp_path, DESCRIPTION, "PicoDet-S"), "x", img_size=(48, 64))
    assert answers(detection, engine, [picture(5)])


def test_names_and_thresholds_are_the_models(tmp_path):
    (boxes,) = answers(stage(tmp_path), Counting("image", "scale_factor"), [picture(5)])
    assert boxes.labels == ["dog", "cup", "cat"]
    assert boxes.rows[:, 1].min() > 0.4
    (boxes,) = answers(stage(tmp_path / "b", draw_threshold=0.55), Counting("image", "x"), [picture(5)])
    assert boxes.labels == ["cup", "cat"]


def test_a_threshold_of_the_request_wins_even_when_it_is_0(tmp_path):
    (boxes,) = answers(stage(tmp_path), Counting("image", "x"), [picture(5)], BoxRules(threshold=0.0))
    assert len(boxes.rows) == 5


def test_models_that_ask_for_it_get_the_size(tmp_path):
    engine = Counting("scale_factor", "image", "im_shape")
    answers(stage(tmp_path), engine, [picture(1), picture(1, 64, 128)])
    assert engine.seen[0]["im_shape"].tolist() == [[32, 64], [32, 64]]
    np.testing.assert_allclose(engine.seen[0]["scale_factor"], [[32 / 40, 64 / 50], [0.5, 0.5]])


def test_the_models_own_layout_rules_are_kept(tmp_path):
    rules = {"layout_unclip_ratio": [2.0, 1.0], "layout_nms": True, "layout_merge_bboxes_mode": "large"}
    (boxes,) = answers(stage(tmp_path, **rules), Counting("image", "x"), [picture(5)], BoxRules(0.0))
    assert len(boxes.rows) and (boxes.rows[:, 4] - boxes.rows[:, 2] > 5).all()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        pytest.param({"label_list": []}, "label_list is missing", id="no labels"),
        pytest.param({"draw_threshold": "much"}, "'much' is not a number", id="threshold"),
        pytest.param({"layout_nms": 3}, "layout_nms must be true or false", id="nms"),
        pytest.param({"layout_unclip_ratio": [1]}, "layout_unclip_ratio must hold two", id="unclip"),
        pytest.param({"layout_unclip_ratio": {"a": [1, 1]}}, "must have class ids as keys", id="unclip map"),
        pytest.param({"layout_merge_bboxes_mode": {0: "big"}}, "must be one of union, large", id="merge"),
    ],
)
def test_a_description_of_something_else_is_refused(tmp_path, changed, message):
    with pytest.raises(ConfigError, match=rf"inference\.yml: .*{message}"):
        stage(tmp_path, **changed)


@pytest.mark.parametrize(
    "outputs",
    [
        pytest.param([np.zeros((0, 6), np.float32)], id="no counts"),
        pytest.param([np.zeros((0, 6), np.float32), np.zeros(2, np.int32)], id="counts of another batch"),
        pytest.param([np.zeros((3, 6), np.float32), np.array([4], np.int32)], id="fewer rows than counted"),
    ],
)
def test_an_answer_of_another_form_is_an_error_of_the_engine(tmp_path, outputs):
    engine = Counting("image", "scale_factor")
    engine.run = lambda feeds: outputs
    with pytest.raises(EngineError, match="the model gives"):
        answers(stage(tmp_path), engine, [picture(1)])
