import cv2
import numpy as np
import pytest

from pipelines.core.detection_input import DetectionInput, feeds_of
from pipelines.core.errors import BadRequest, ConfigError, EngineError
from pipelines.core.inference_yml import Description
from tests.model_dirs import model
from tests.reference.detection_input import prepare

RESIZE = {"type": "Resize", "target_size": [64, 96], "interp": 2, "keep_ratio": False}
KEEP = {"type": "Resize", "target_size": [64, 96], "interp": 1, "keep_ratio": True}
NORM = {
    "type": "NormalizeImage",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "is_scale": True,
}
NONE = {"type": "NormalizeImage", "mean": [0, 0, 0], "std": [1, 1, 1], "norm_type": "none", "is_scale": True}
CAFFE = {"type": "NormalizeImage", "mean": [123, 117, 104], "std": [1, 2, 4], "is_scale": False}
PERMUTE = {"type": "Permute"}
SQUARE = {"type": "Pad", "size": [96, 96], "fill_value": [114.0, 10.0, 0.5]}
STRIDE = {"type": "PadStride", "stride": 32}
PICTURES = [
    np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)
    for seed, shape in enumerate([(50, 70), (64, 96), (150, 80), (1, 200), (333, 1)])
]


def made(tmp_path, operations, **settings):
    return DetectionInput(Description(model(tmp_path, {"Preprocess": operations}).directory), **settings)


def filled(done, picture):
    """The picture's planes, on memory that held rubbish before."""
    fitted = done.fitted(*picture.shape[:2])
    planes = np.full((3, fitted.rows, fitted.columns), np.nan, np.float32)
    done.fill(picture, fitted, planes)
    return planes, fitted


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: "x".join(map(str, picture.shape[:2])))
@pytest.mark.parametrize(
    "operations",
    [
        pytest.param([RESIZE, NORM, PERMUTE], id="PicoDet"),
        pytest.param([RESIZE, PERMUTE], id="PP-YOLOE with the constants in the graph"),
        pytest.param([RESIZE, NONE, PERMUTE], id="DETR"),
        *(pytest.param([{**RESIZE, "interp": n}, CAFFE, PERMUTE], id=f"interp {n}") for n in range(5)),
        pytest.param([KEEP, NORM, PERMUTE, STRIDE], id="RCNN"),
        pytest.param([KEEP, SQUARE, PERMUTE], id="YOLOX"),
        pytest.param([KEEP, SQUARE, NORM, PERMUTE], id="pad before the constants"),
        pytest.param(
            [KEEP, NORM, SQUARE, PERMUTE, {**STRIDE, "stride": 50}], id="pad after them, then stride"
        ),
        pytest.param([CAFFE, PERMUTE], id="BlazeFace, no resize"),
        pytest.param([{"type": "WarpAffine", "keep_res": True}, NORM, PERMUTE], id="CenterNet"),
        pytest.param(
            [{"type": "WarpAffine", "input_h": 64, "input_w": 96, "keep_res": False}, NORM, PERMUTE],
            id="CenterNet at one size",
        ),
    ],
)
def test_equals_opencv_and_numpy_bit_for_bit(tmp_path, operations, picture):
    if KEEP in operations and min(picture.shape[:2]) == 1:
        pytest.skip("rounds to no pixels, which OpenCV refuses")
    planes, fitted = filled(made(tmp_path, operations), picture)
    expected, scale, shape = prepare(picture, operations)
    np.testing.assert_array_equal(planes, expected)
    assert (fitted.scale_factor, fitted.im_shape) == (scale, shape)


def test_a_strip_keeps_a_pixel(tmp_path):
    planes, fitted = filled(made(tmp_path, [KEEP, PERMUTE]), PICTURES[3])
    assert planes.shape == (3, 1, 96) and fitted.scale_factor == (1.0, 0.48)


@pytest.mark.parametrize("interp", [1, 2])
def test_sides_beyond_the_kernels_16_bits_are_resized_too(tmp_path, interp):
    strip = np.random.default_rng(1).integers(0, 256, (2, 40_000, 3), np.uint8)
    operations = [{**RESIZE, "interp": interp}, PERMUTE]
    np.testing.assert_array_equal(filled(made(tmp_path, operations), strip)[0], prepare(strip, operations)[0])


@pytest.mark.parametrize(
    "operations",
    [[CAFFE, PERMUTE], [{"type": "WarpAffine", "keep_res": False}, PERMUTE]],
    ids=["none", "warp"],
)
def test_such_sides_are_refused_where_nothing_shrinks_them(tmp_path, operations):
    with pytest.raises(BadRequest, match="a side of more than 32000 pixels"):
        made(tmp_path, operations).fitted(2, 40_000)


def test_words_for_interpolation_are_understood(tmp_path):
    words = made(tmp_path, [{**RESIZE, "interp": "lanczos4"}, PERMUTE])
    expected, *_ = prepare(PICTURES[0], [{**RESIZE, "interp": 4}, PERMUTE])
    np.testing.assert_array_equal(filled(words, PICTURES[0])[0], expected)


def test_img_size_replaces_the_models_resize(tmp_path):
    done = made(tmp_path, [{**KEEP, "target_size": [10, 10]}, NORM, PERMUTE], img_size=(40, 30))
    expected, *_ = prepare(PICTURES[0], [{**RESIZE, "target_size": [40, 30]}, NORM, PERMUTE])
    np.testing.assert_array_equal(filled(done, PICTURES[0])[0], expected)


def test_pictures_are_read_in_place_and_cubic_is_opencvs(tmp_path):
    picture = PICTURES[2].copy()
    picture.flags.writeable = False
    planes, _ = filled(made(tmp_path, [RESIZE, PERMUTE]), picture)
    expected = cv2.resize(picture, (96, 64), interpolation=cv2.INTER_CUBIC)[:, :, ::-1].transpose(2, 0, 1)
    np.testing.assert_array_equal(planes, expected.astype(np.float32))


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        pytest.param(
            [{"type": "LetterBoxResize"}, PERMUTE], "Preprocess.LetterBoxResize is not", id="unknown"
        ),
        pytest.param([{**RESIZE, "size": 3}, PERMUTE], "Preprocess.Resize.size is not", id="argument"),
        pytest.param([{**RESIZE, "interp": 7}, PERMUTE], "Preprocess.Resize.interp 7", id="interp"),
        pytest.param(
            [{**RESIZE, "target_size": 640}, PERMUTE], "Resize.target_size must be 2", id="one side"
        ),
        pytest.param([{**RESIZE, "target_size": [9, 20_000]}, PERMUTE], "at most 16384", id="huge target"),
        pytest.param([{**NORM, "norm_type": "max"}, PERMUTE], "norm_type 'max'", id="norm_type"),
        pytest.param([{**NORM, "std": [1, 0, 1]}, PERMUTE], "std must not be 0", id="std of 0"),
        pytest.param([{**NORM, "mean": [1]}, PERMUTE], "mean must be three numbers", id="one mean"),
        pytest.param([RESIZE, NORM], "has no Permute", id="rows of pixels"),
        pytest.param(
            [NORM, RESIZE, PERMUTE], "order NormalizeImage, Resize", id="resize after the constants"
        ),
        pytest.param([RESIZE, PERMUTE, SQUARE], "order Resize, Permute, Pad", id="pad of planes"),
        pytest.param([SQUARE, PERMUTE], "order Pad, Permute", id="pad of any size"),
        pytest.param([RESIZE, RESIZE, PERMUTE], "order Resize, Resize", id="twice"),
        pytest.param(
            [RESIZE, {**SQUARE, "size": [96, 64]}, PERMUTE], "smaller than what Resize", id="small pad"
        ),
        pytest.param([KEEP, {**SQUARE, "size": [64, 96]}, PERMUTE], "smaller than what Resize", id="upright"),
        pytest.param([RESIZE, PERMUTE, {**STRIDE, "stride": -1}], "PadStride.stride must be", id="stride"),
        pytest.param(None, "must be a list", id="no list"),
        pytest.param(["Resize"], "must be a list", id="a list of words"),
    ],
)
def test_what_cannot_run_is_named(tmp_path, operations, message):
    with pytest.raises(ConfigError, match=rf"inference\.yml: .*{message}"):
        made(tmp_path, operations)


def test_inputs_are_given_in_the_alphabetical_order_of_their_names(tmp_path):
    fitted = made(tmp_path, [KEEP, PERMUTE, STRIDE]).fitted(50, 70)
    tensor = np.zeros((1, 3, fitted.rows, fitted.columns), np.float32)
    three = feeds_of(["image", "scale_factor", "im_shape"], tensor, [fitted])
    assert list(three) == ["im_shape", "image", "scale_factor"] and three["image"] is tensor
    assert three["im_shape"].tolist() == [[64, 90]]
    np.testing.assert_array_equal(three["scale_factor"], np.float32([[64 / 50, 90 / 70]]))
    assert list(feeds_of(["image"], tensor, [fitted])) == ["image"]
    assert feeds_of(["p1", "p0"], tensor, [fitted])["p0"] is tensor
    with pytest.raises(EngineError, match="has 4 inputs"):
        feeds_of(["a", "b", "c", "d"], tensor, [fitted])
