import numpy as np
import pytest

from pipelines.core.errors import ConfigError, EngineError
from pipelines.engines.base import TensorSpec
from pipelines.stages.classification import Classification, MultiLabelClassification, above, best
from tests.model_dirs import PAGE, Scripted, model

OPERATIONS = [{"ResizeImage": {"size": 8}}, {"CropImage": {"size": 4}}, {"NormalizeImage": None}]
SEVERAL = {
    "PreProcess": {"transform_ops": OPERATIONS},
    "PostProcess": {"MultiLabelThreshOutput": {"threshold": 0.3, "label_list": ["a", "b", 3]}},
}


def post(description, **changes):
    (family,) = description["PostProcess"]
    changed = {**description["PostProcess"][family], **changes}
    return description | {"PostProcess": {family: changed}}


def run(stage, engine, *images, **options):
    return stage.run(engine, [stage.call(image, 1.0, **options).input for image in images])


def test_scores_of_every_picture_in_order(tmp_path):
    stage = Classification(model(tmp_path, PAGE), "x")
    engine = Scripted(lambda tensor: tensor.mean(axis=(2, 3)))
    dark, light = np.full((300, 400, 3), 10, np.uint8), np.full((80, 60, 3), 200, np.uint8)
    first, second = run(stage, engine, dark, light)
    assert engine.seen[0].shape == (2, 3, 224, 224)
    np.testing.assert_allclose(
        first, (10 / 255 - np.array([0.485, 0.456, 0.406])) / [0.229, 0.224, 0.225], 1e-4
    )
    assert (second > first).all() and not np.shares_memory(first, second)


def test_pictures_of_one_input_size_share_a_key(tmp_path):
    stage = Classification(model(tmp_path, PAGE), "x")
    keys = {stage.call(np.zeros(shape, np.uint8), 1.0).key for shape in ((9, 30, 3), (500, 40, 3))}
    assert keys == {(224, 224)}


def test_labels_and_what_has_none(tmp_path):
    assert Classification(model(tmp_path / "a", PAGE), "x").names([3, 0, 9]) == ["270", "0", "9"]
    bare = Classification(model(tmp_path / "b", post(PAGE, label_list=None)), "x")
    assert bare.names([1, 0]) == ["1", "0"] and bare.topk == 1


def test_several_labels_ignore_the_crop(tmp_path):
    stage = MultiLabelClassification(model(tmp_path, SEVERAL), "x")
    assert stage.call(np.zeros((5, 5, 3), np.uint8), 1.0).key == (8, 8)
    assert stage.thresholds.default == 0.3 and stage.names([2]) == ["3"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda tensor: np.full((len(tensor), 4), np.nan, np.float32), "not finite"),
        (lambda tensor: np.full((len(tensor), 4), np.inf, np.float32), "not finite"),
    ],
)
def test_answers_that_are_no_numbers_are_the_models_fault(tmp_path, answer, words):
    stage = Classification(model(tmp_path, PAGE), "x")
    with pytest.raises(EngineError, match=words):
        run(stage, Scripted(answer), np.zeros((9, 9, 3), np.uint8))


def test_a_network_of_another_size_says_so(tmp_path):
    engine = Scripted(lambda tensor: np.zeros((1, 4), np.float32))
    engine.inputs = (TensorSpec("x", (-1, 3, 192, 192), "float32"),)
    with pytest.raises(
        EngineError, match=r"takes \(-1, 3, 192, 192\), inference.yml makes \(1, 3, 224, 224\)"
    ):
        run(Classification(model(tmp_path, PAGE), "x"), engine, np.zeros((9, 9, 3), np.uint8))


@pytest.mark.parametrize(
    ("cls", "description", "words"),
    [
        (Classification, SEVERAL, "PostProcess must be Topk for this pipeline, it is MultiLabelThreshOutput"),
        (MultiLabelClassification, PAGE, "PostProcess must be MultiLabelThreshOutput"),
        (Classification, PAGE | {"PostProcess": {}}, "it is nothing"),
        (Classification, post(PAGE, topk=0), "topk must be positive"),
        (Classification, post(PAGE, topk="many"), "'many' is not a number"),
        (MultiLabelClassification, post(SEVERAL, threshold=[0.1]), "has 3 classes, the list 1 numbers"),
        (MultiLabelClassification, post(SEVERAL, threshold={"a": 1}), "must have the key `default`"),
    ],
)
def test_another_kind_of_model_is_refused(tmp_path, cls, description, words):
    with pytest.raises(ConfigError, match=words):
        cls(model(tmp_path, description), "x")


def test_the_best_are_ordered_and_as_many_as_there_are():
    scores = np.array([0.1, 0.5, 0.2, 0.5], np.float32)
    assert best(scores, 2) == [3, 1]
    assert best(scores, 99) == [3, 1, 2, 0]


def test_what_is_above_its_limit():
    scores = np.array([0.5, 0.2, 0.9, 0.3], np.float32)
    limits = np.array([0.5, 0.1, 0.95, 0.2], np.float32)
    assert above(scores, limits, inclusive=False) == [3, 1]
    assert above(scores, limits, inclusive=True) == [0, 3, 1]
    assert above(scores, np.full(4, 2, np.float32), inclusive=True) == []
