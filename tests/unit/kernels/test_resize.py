import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from kernels.resize import resize_normalize_chw
from tests.reference.resize import resize_normalize_chw as twin

SCALE, SHIFT = (1 / 255 / 0.229, 1 / 255 / 0.224, 1 / 255 / 0.225), (-2.1179, -2.0357, -1.8044)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def both(image, shape, *arguments, **options):
    """Outputs of kernel and twin on canvases that hold rubbish before."""
    outputs = []
    for function in (resize_normalize_chw, twin):
        out = np.full((3, *shape), np.nan, np.float32)
        function(image, out, *arguments, **options)
        outputs.append(out)
    return outputs


sides = st.integers(1, 90)


@settings(max_examples=250, deadline=None)
@given(
    data=st.data(),
    height=sides,
    width=sides,
    to_height=sides,
    to_width=sides,
    seed=st.integers(0, 99),
    options=st.fixed_dictionaries(
        {
            "divisor": st.sampled_from([1.0, 255.0]),
            "reverse": st.booleans(),
            "pad": st.sampled_from([0.0, -1.5]),
            "left": st.integers(0, 100),
            "top": st.integers(0, 100),
        }
    ),
)
def test_equals_opencv_and_numpy_bit_for_bit(data, height, width, to_height, to_width, seed, options):
    shape = data.draw(st.tuples(sides, sides))
    ours, theirs = both(noise(height, width, seed), shape, to_width, to_height, SCALE, SHIFT, **options)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("height", "width", "to_height", "to_width"),
    [
        pytest.param(64, 128, 64, 128, id="same size"),
        pytest.param(64, 128, 32, 64, id="half, OpenCV's area case"),
        pytest.param(64, 128, 32, 128, id="half of one side"),
        pytest.param(1, 1, 48, 320, id="one pixel grows"),
        pytest.param(99, 1, 48, 320, id="one column"),
        pytest.param(1, 99, 48, 320, id="one row"),
        pytest.param(700, 1100, 1, 1, id="down to one pixel"),
        pytest.param(1000, 1400, 960, 1344, id="a page"),
        pytest.param(31, 411, 48, 637, id="a text line"),
    ],
)
def test_sizes_that_take_other_paths_in_opencv(height, width, to_height, to_width):
    arguments = (noise(height, width), (to_height, to_width), to_width, to_height, SCALE, SHIFT)
    np.testing.assert_array_equal(*both(*arguments))


@pytest.mark.parametrize("seed", range(4))
def test_every_extreme_of_the_fixed_point(seed):
    """Black and white next to each other: sums reach both ends of 16 bits."""
    image = np.random.default_rng(seed).choice([0, 255], (37, 53, 3)).astype(np.uint8)
    np.testing.assert_array_equal(*both(image, (61, 99), 99, 61, SCALE, SHIFT))


def test_recognition_recipe_equals_paddlex_steps():
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    out = np.empty((3, 16, 16), np.float32)
    resize_normalize_chw(image, out, 16, 16, (2, 2, 2), (-1, -1, -1), divisor=255)
    expected = image.astype("float32").transpose(2, 0, 1) / 255
    expected -= 0.5
    expected /= 0.5
    np.testing.assert_array_equal(out, expected)


def test_reads_views_and_writes_into_a_slice_of_a_batch():
    page, batch = noise(90, 120), np.full((2, 3, 48, 100), 7, np.float32)
    page.flags.writeable = False
    view = page[5:65:2, 10:90]
    resize_normalize_chw(view, batch[1, :, :, 3:83], 80, 48, SCALE, SHIFT)
    expected = np.empty((3, 48, 80), np.float32)
    twin(np.ascontiguousarray(view), expected, 80, 48, SCALE, SHIFT)
    np.testing.assert_array_equal(batch[1, :, :, 3:83], expected)
    assert (batch[0] == 7).all()
    assert (batch[1, :, :, :3] == 7).all()
    assert (batch[1, :, :, 83:] == 7).all()


def test_rows_may_run_upwards():
    image = noise(20, 30)
    ours, _ = both(image[::-1], (16, 16), 16, 16, SCALE, SHIFT)
    _, theirs = both(np.ascontiguousarray(image[::-1]), (16, 16), 16, 16, SCALE, SHIFT)
    np.testing.assert_array_equal(ours, theirs)


GOOD = {"image": noise(8, 8), "out": np.zeros((3, 8, 8), np.float32), "width": 8, "height": 8}
FROZEN = np.zeros((3, 8, 8), np.float32)
FROZEN.flags.writeable = False


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"image": noise(8, 8)[:, :, :2]}, id="two channels"),
        pytest.param({"image": noise(8, 8)[:, ::2]}, id="pixels apart"),
        pytest.param({"image": noise(8, 8)[:, :, ::-1]}, id="channels backwards"),
        pytest.param({"image": noise(8, 8)[:, :0]}, id="no columns"),
        pytest.param({"image": noise(8, 8)[0]}, id="two dimensions"),
        pytest.param({"image": noise(8, 8).astype(np.float32)}, id="float image"),
        pytest.param({"out": FROZEN}, id="read-only out"),
        pytest.param({"out": np.zeros((3, 8, 8))}, id="double out"),
        pytest.param({"out": np.zeros((4, 8, 8), np.float32)}, id="four planes"),
        pytest.param({"out": np.zeros((3, 0, 8), np.float32)}, id="empty out"),
        pytest.param({"out": np.zeros((3, 8, 16), np.float32)[:, :, ::2]}, id="out with gaps"),
        pytest.param({"width": 0}, id="width 0"),
        pytest.param({"height": 40000}, id="too high"),
        pytest.param({"left": -1}, id="negative offset"),
        pytest.param({"scale": (1, 1)}, id="two scales"),
        pytest.param({"shift": (0, 0, 0, 0)}, id="four shifts"),
    ],
)
def test_refuses(changed):
    arguments = {**GOOD, "scale": SCALE, "shift": SHIFT, **changed}
    with pytest.raises(ValueError, match=r"."):
        resize_normalize_chw(**arguments)
