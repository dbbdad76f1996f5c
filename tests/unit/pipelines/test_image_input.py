import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.core.errors import BadRequest, ConfigError
from pipelines.core.image_input import ImageInput
from pipelines.core.inference_yml import Description
from tests.model_dirs import model

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TAIL = ({"NormalizeImage": {"mean": list(MEAN), "std": list(STD), "scale": 1 / 255}}, {"ToCHWImage": None})
OPENCV = {"LINEAR": cv2.INTER_LINEAR, "BICUBIC": cv2.INTER_CUBIC, "AREA": cv2.INTER_AREA,
          "NEAREST": cv2.INTER_NEAREST, "LANCZOS4": cv2.INTER_LANCZOS4}  # fmt: skip
PILLOW = {"BILINEAR": Image.BILINEAR, "BICUBIC": Image.BICUBIC, "BOX": Image.BOX,
          "NEAREST": Image.NEAREST, "LANCZOS4": Image.LANCZOS}  # fmt: skip


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def described(folder, *operations):
    document = {"PreProcess": {"transform_ops": [*operations]}}
    return Description(model(folder, document).directory)


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    def make(resize, crop=None, **options):
        crops = [] if crop is None else [{"CropImage": {"size": crop}}]
        about = described(tmp_path_factory.mktemp("model"), {"ResizeImage": resize}, *crops, *TAIL)
        return ImageInput(about, **options)

    return make


def filled(made, image, **options):
    window = made.window(*image.shape[:2])
    plane = np.full((3, window.rows, window.columns), np.nan, np.float32)
    made.fill(image, plane, **options)
    return plane


def paddlex(image, resize, crop, by=None, pillow=None):
    """PaddleX's steps: RGB, resize, centre crop, one multiplication and one addition per channel, planes."""
    height, width = image.shape[:2]
    rgb = np.ascontiguousarray(image[:, :, ::-1])
    if isinstance(resize, tuple):
        size = resize
    else:
        scale = resize / min(height, width)
        size = round(width * scale), round(height * scale)
    if pillow is not None:
        rgb = np.asarray(Image.fromarray(rgb).resize(size, pillow))
    else:
        rgb = cv2.resize(rgb, size, interpolation=by)
    if crop is not None:
        left, top = max(0, (size[0] - crop[0]) // 2), max(0, (size[1] - crop[1]) // 2)
        rgb = rgb[top : top + crop[1], left : left + crop[0]]
    planes = np.ascontiguousarray(rgb.transpose(2, 0, 1), dtype=np.float32)
    for channel in range(3):
        planes[channel] *= 1 / 255 / STD[channel]
        planes[channel] += -MEAN[channel] / STD[channel]
    return planes


@settings(max_examples=100, deadline=None)
@given(
    height=st.integers(1, 200),
    width=st.integers(1, 200),
    short=st.integers(8, 90),
    data=st.data(),
    seed=st.integers(0, 9),
)
def test_short_side_and_crop_equal_paddlex_bit_for_bit(make, height, width, short, data, seed):
    crop = data.draw(st.integers(1, short)), data.draw(st.integers(1, short))
    image = picture(height, width, seed)
    expected = paddlex(image, short, crop, cv2.INTER_LINEAR)
    np.testing.assert_array_equal(filled(make({"resize_short": short}, list(crop)), image), expected)


@pytest.mark.parametrize("crop", [None, 24])
@pytest.mark.parametrize("name", OPENCV)
def test_every_interpolation_of_opencv(make, name, crop):
    image = picture(90, 61)
    made = make({"size": [48, 32], "interpolation": name.lower()}, crop)
    expected = paddlex(image, (48, 32), crop and (crop, crop), OPENCV[name])
    np.testing.assert_array_equal(filled(made, image), expected)


@pytest.mark.parametrize("name", PILLOW)
def test_every_interpolation_of_pillow(make, name):
    image = picture(90, 61)
    made = make({"resize_short": 40, "backend": "pil", "interpolation": name.lower()}, 32)
    np.testing.assert_array_equal(filled(made, image), paddlex(image, 40, (32, 32), pillow=PILLOW[name]))


def test_the_2024_generation_knows_one_interpolation(make):
    image = picture(90, 61)
    made = make({"size": 40, "backend": "pil", "interpolation": "bilinear"})
    expected = paddlex(image, (40, 40), None, cv2.INTER_LINEAR)
    np.testing.assert_array_equal(filled(made, image, linear=True), expected)
    assert not np.array_equal(filled(made, image), expected)


def test_a_picture_of_the_right_size_is_not_resized(make):
    image = picture(40, 40)
    made = make({"size": 40, "backend": "pil", "interpolation": "lanczos4"})
    np.testing.assert_array_equal(filled(made, image), paddlex(image, (40, 40), None, cv2.INTER_NEAREST))


def test_without_a_crop_the_picture_keeps_its_ratio(make):
    made = make({"resize_short": 64})
    assert filled(made, picture(32, 48)).shape == (3, 64, 96)
    assert filled(made, picture(48, 32)).shape == (3, 96, 64)


def test_a_crop_can_be_left_out(make):
    assert filled(make({"size": 64}, 32, crops=False), picture(10, 10)).shape == (3, 64, 64)


@pytest.mark.parametrize("shape", [(2, 40000), (40000, 1)])
def test_a_strip_is_looked_at_in_its_middle(make, shape):
    image = np.zeros((*shape, 3), np.uint8)
    long = shape.index(40000)
    middle = [slice(None), slice(None)]
    middle[long] = slice(20000 - 3 * min(shape), 20000 + 3 * min(shape))
    image[tuple(middle)] = 255
    plane = filled(make({"resize_short": 256}, 224), image)
    assert (
        plane.argmax(axis=0) == paddlex(np.full((1, 1, 3), 255, np.uint8), (1, 1), None, 0).argmax()
    ).all()


def test_a_strip_that_is_not_cropped_is_refused(make):
    with pytest.raises(BadRequest, match="30000 x 2 pixels is too long"):
        make({"resize_short": 256}).window(2, 30000)


@pytest.mark.parametrize(
    ("operations", "words"),
    [
        pytest.param([*TAIL], "has no ResizeImage", id="no resize"),
        pytest.param([{"ResizeImage": {}}, *TAIL], "ResizeImage.size must be 2 positive", id="no size"),
        pytest.param([{"ResizeImage": {"size": [3]}}, *TAIL], "ResizeImage.size must be 2", id="one side"),
        pytest.param([{"ResizeImage": {"resize_short": 40000}}, *TAIL], "too large", id="large"),
        pytest.param([{"ResizeImage": {"resize_short": -1}}, *TAIL], "no size", id="negative"),
        pytest.param(
            [{"ResizeImage": {"size": 8, "backend": "tf"}}, *TAIL], "backend must be cv2 or pil", id="backend"
        ),
        pytest.param(
            [{"ResizeImage": {"size": 8, "interpolation": "bilinear"}}, *TAIL],
            "interpolation of backend cv2 must be one of NEAREST, LINEAR",
            id="pillow's word with OpenCV",
        ),
        pytest.param(
            [{"ResizeImage": {"size": 8, "backend": "pil"}}, *TAIL],
            "interpolation of backend pil must be one of NEAREST, BILINEAR",
            id="OpenCV's word with Pillow",
        ),
        pytest.param(
            [{"ResizeImage": {"resize_short": 200}}, {"CropImage": {"size": [100, 224]}}, *TAIL],
            "CropImage.size is larger",
            id="crop",
        ),
        pytest.param([{"ResizeImage": {"size": 8}}], "has no NormalizeImage", id="no normalisation"),
        pytest.param(
            [{"ResizeImage": {"size": 8}}, {"RandAugment": None}, *TAIL],
            "RandAugment is not supported",
            id="op",
        ),
    ],
)
def test_what_cannot_run_is_named(tmp_path, operations, words):
    with pytest.raises(ConfigError, match=words) as caught:
        ImageInput(described(tmp_path, *operations))
    assert "inference.yml" in str(caught.value)
