import cv2
import numpy as np
import pytest

from pipelines.core.deploy_transforms import SizeRule
from pipelines.core.errors import BadRequest, EngineError
from pipelines.engines.base import TensorSpec
from pipelines.stages.anomaly import Anomaly, opened
from pipelines.stages.segmentation import Segmentation
from tests.model_dirs import Scripted, model

SEGMENTATION = {
    "Deploy": {
        "transforms": [
            {"type": "Resize", "target_size": [64, 32], "keep_ratio": False, "size_divisor": None},
            {"type": "Normalize", "mean": 0.0, "std": 1.0},
        ]
    }
}
ANOMALY = {"Deploy": {"transforms": [*SEGMENTATION["Deploy"]["transforms"], {"type": "Map_to_mask"}]}}


def segmentation(folder, engine="x"):
    return Segmentation(model(folder, SEGMENTATION, "PP-LiteSeg-T"), engine)


def anomaly(folder):
    return Anomaly(model(folder, ANOMALY, "STFPM"), "x")


def by_red(tensor):
    """A label for each pixel from the red plane, as int64."""
    return np.rint(tensor[:, 0] * 255).astype(np.int64)


def pictures(count, height=50, width=90):
    return list(np.random.default_rng(1).integers(0, 256, (count, height, width, 3), np.uint8))


def test_labels_of_a_batch_are_those_of_each_picture(tmp_path):
    stage, engine = segmentation(tmp_path), Scripted(by_red)
    calls = [stage.call(image, SizeRule((64, 32), False, 0)) for image in pictures(3)]
    assert {call.key for call in calls} == {(32, 64)}
    together = stage.run(engine, [call.input for call in calls])
    for image, call, labels in zip(pictures(3), calls, together, strict=True):
        assert labels.dtype == np.uint8
        np.testing.assert_array_equal(labels, cv2.resize(image, (64, 32))[:, :, 2])
        np.testing.assert_array_equal(labels, stage.run(engine, [call.input])[0])


def test_a_request_chooses_the_size(tmp_path):
    stage, engine = segmentation(tmp_path), Scripted(by_red)
    (image,) = pictures(1)
    for rule, size in ((SizeRule(), (50, 90)), (SizeRule((32, 32), True, 8), (24, 32))):
        call = stage.call(image, rule)
        (labels,) = stage.run(engine, [call.input])
        assert labels.shape == size == call.key


def test_a_network_of_fixed_size_refuses_another(tmp_path):
    stage, engine = segmentation(tmp_path), Scripted(by_red)
    engine.inputs = (TensorSpec("x", (-1, 3, 32, 64), "float32"),)
    (image,) = pictures(1)
    assert stage.run(engine, [stage.call(image, SizeRule((64, 32), False, 0)).input])[0].shape == (32, 64)
    with pytest.raises(BadRequest, match="64 x 32 pixels, not of 90 x 50"):
        stage.run(engine, [stage.call(image, SizeRule()).input])


def test_too_large_an_input_is_refused_before_it_is_made(tmp_path):
    image = np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (5000, 5000, 3))
    with pytest.raises(BadRequest, match="5000 x 5000 pixels"):
        segmentation(tmp_path).call(image, SizeRule())


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda x: x[:, 0], id="scores instead of labels"),
        pytest.param(lambda x: x.astype(np.int32), id="a plane per class"),
        pytest.param(lambda x: by_red(x)[:1], id="one map for two pictures"),
    ],
)
def test_a_model_that_gives_something_else_is_an_engine_fault(tmp_path, answer):
    stage = segmentation(tmp_path)
    inputs = [stage.call(image, SizeRule((64, 32), False, 0)).input for image in pictures(2)]
    with pytest.raises(EngineError, match="the model gives"):
        stage.run(Scripted(answer), inputs)


def test_anomalies_are_above_the_threshold_and_opened(tmp_path):
    """0.01 in float32 is no anomaly, the next number is; a speck goes, a patch stays."""

    def scores(tensor):
        maps = np.full((len(tensor), 1, *tensor.shape[2:]), np.float32(0.01))
        maps[:, 0, 4:20, 30:50] = np.nextafter(np.float32(0.01), np.float32(1))
        maps[:, 0, 25:28, 3:6] = 1.0
        maps[:, 0, 0, 0] = np.nan
        return maps

    stage = anomaly(tmp_path)
    calls = [stage.call(image) for image in pictures(2)]
    for mask in stage.run(Scripted(scores), [call.input for call in calls]):
        assert mask.dtype == np.uint8 and mask.shape == (32, 64) == calls[0].key
        assert set(np.unique(mask)) == {0, 255}
        assert mask[10, 40] == 255 and not mask[22:].any() and not mask[:, :25].any()


@pytest.mark.parametrize(
    "answer",
    [lambda x: x[:, 0], lambda x: x[:1, :1], lambda x: x.astype(np.float64)],
    ids=["three dimensions", "one map for two pictures", "double"],
)
def test_an_anomaly_model_that_gives_something_else_is_an_engine_fault(tmp_path, answer):
    stage = anomaly(tmp_path)
    with pytest.raises(EngineError, match="not a score per pixel"):
        stage.run(Scripted(answer), [stage.call(image).input for image in pictures(2)])


def reflected_opening(mask):
    """Erosion, then dilation with a disk of radius 4 where the mask goes on as its own reflection."""
    y, x = np.ogrid[-4:5, -4:5]
    inside = [(dy, dx) for dy in range(9) for dx in range(9) if (y**2 + x**2 <= 16)[dy, dx]]
    for combine in (np.minimum, np.maximum):
        padded = np.pad(mask, 4, "symmetric")
        windows = [padded[dy : dy + mask.shape[0], dx : dx + mask.shape[1]] for dy, dx in inside]
        mask = combine.reduce(windows)
    return mask


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (5, 5), (9, 8), (30, 47), (64, 64)])
def test_opening_is_scikit_images(shape, seed):
    random = np.random.default_rng(seed)
    grown = cv2.resize(random.random((shape[0] // 4 + 1, shape[1] // 4 + 1)), shape[::-1])
    mask = np.where(grown > 0.2 + 0.1 * seed, 255, 0).astype(np.uint8)
    np.testing.assert_array_equal(opened(mask), reflected_opening(mask))


#: scikit-image 0.26.0, opening(mask, disk(4)), of a mask that meets every border: '#' stays, '-' goes.
RECORDED = """\
############........
############.......-
.###########.......-
.##########-.......-
.-#########-.......-
..-#######-.........
...--###--..........
............-----...
------------------..
............-----...
.......-###-........
......#######.......
.....#########....--
....-#########-...--
....###########...--
"""


def test_opening_recorded_from_scikit_image():
    rows = [list(row) for row in RECORDED.splitlines()]
    mask = np.array([[0 if cell == "." else 255 for cell in row] for row in rows], np.uint8)
    expected = np.array([[255 if cell == "#" else 0 for cell in row] for row in rows], np.uint8)
    np.testing.assert_array_equal(opened(mask), expected)
