from concurrent.futures import ThreadPoolExecutor

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from kernels.warp import crop_line, crop_line_normalize_chw, crop_size
from tests.reference import warp as twin

PAGE = np.random.default_rng(0).integers(0, 256, (180, 240, 3), dtype=np.uint8)
PAGE.flags.writeable = False
SCALE, SHIFT = (2.0, 2.0, 2.0), (-1.0, -1.0, -1.0)


def box(centre, width, height, degrees):
    """Corners of a turned rectangle, rounded to whole pixels."""
    along = np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
    across = np.array([-along[1], along[0]])
    signs = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    corners = [np.array(centre) + along * width / 2 * x + across * height / 2 * y for x, y in signs]
    return np.rint(corners).astype(np.int16)


boxes = st.builds(
    box,
    st.tuples(st.integers(-10, 250), st.integers(-10, 190)),
    st.floats(1, 200),
    st.floats(1, 60),
    st.one_of(st.sampled_from([0, 90, 45]), st.floats(-4, 4), st.floats(0, 360)),
)
any_corners = st.lists(st.tuples(st.integers(-20, 260), st.integers(-20, 200)), min_size=4, max_size=4)
quads = st.one_of(boxes, any_corners.map(lambda corners: np.array(corners, np.int32)))


def size_of(function, quad):
    try:
        return function(quad)
    except ValueError:
        return None


@settings(max_examples=300, deadline=None)
@given(quad=quads)
def test_crop_size_equals_the_twin_also_in_refusing(quad):
    assert size_of(crop_size, quad) == size_of(twin.crop_size, quad)


@settings(max_examples=200, deadline=None)
@given(quad=quads)
def test_crops_equal_opencv_bit_for_bit(quad):
    if size_of(crop_size, quad) is None:
        with pytest.raises(ValueError, match="no whole pixel"):
            crop_line(PAGE, quad, np.zeros((1, 1, 3), np.uint8))
        return
    width, height, _ = crop_size(quad)
    ours, theirs = np.zeros((height, width, 3), np.uint8), np.zeros((height, width, 3), np.uint8)
    crop_line(PAGE, quad, ours)
    twin.crop_line(PAGE, quad, theirs)
    np.testing.assert_array_equal(ours, theirs)


@settings(max_examples=150, deadline=None)
@given(
    quad=boxes,
    width=st.integers(1, 400),
    more=st.integers(0, 9),
    height=st.sampled_from([32, 48]),
    flip=st.booleans(),
    reverse=st.booleans(),
)
def test_fused_crop_equals_two_steps_bit_for_bit(quad, width, more, height, flip, reverse):
    if size_of(crop_size, quad) is None:
        return
    outputs = []
    for function in (crop_line_normalize_chw, twin.crop_line_normalize_chw):
        out = np.full((3, height, width + more), np.nan, np.float32)
        options = {"divisor": 255.0, "flip": flip, "reverse": reverse, "pad": 0.0}
        function(PAGE, quad, out, width, SCALE, SHIFT, **options)
        outputs.append(out)
    np.testing.assert_array_equal(*outputs)


def test_an_upright_box_is_a_plain_copy():
    quad = np.array([[20, 30], [120, 30], [120, 55], [20, 55]], np.int16)
    out = np.empty((25, 100, 3), np.uint8)
    crop_line(PAGE, quad, out)
    np.testing.assert_array_equal(out, PAGE[30:55, 20:120])


def test_a_tall_box_is_turned_counter_clockwise():
    quad = np.array([[20, 30], [50, 30], [50, 130], [20, 130]], np.int16)
    assert crop_size(quad) == (100, 30, True)
    out = np.empty((30, 100, 3), np.uint8)
    crop_line(PAGE, quad, out)
    np.testing.assert_array_equal(out, np.rot90(PAGE[30:130, 20:50]))


@pytest.mark.parametrize(
    ("width", "turned"), [pytest.param(20, True, id="exactly 1.5"), pytest.param(21, False, id="just below")]
)
def test_the_turn_begins_at_one_and_a_half(width, turned):
    assert crop_size(np.array([[0, 0], [width, 0], [width, 30], [0, 30]], np.int16))[2] is turned


@pytest.mark.parametrize(
    ("height", "width"),
    [
        pytest.param(1, 1, id="one pixel"),
        pytest.param(2, 50, id="two rows"),
        pytest.param(50, 3, id="three columns"),
        pytest.param(4, 5, id="smaller than a neighbourhood"),
    ],
)
@pytest.mark.parametrize("degrees", [0, 7, 90])
def test_boxes_that_reach_out_of_a_small_page_repeat_its_edge(height, width, degrees):
    page = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    quad = box((width / 2, height / 2), 60, 20, degrees)
    columns, rows, _ = crop_size(quad)
    ours, theirs = np.zeros((rows, columns, 3), np.uint8), np.zeros((rows, columns, 3), np.uint8)
    crop_line(page, quad, ours)
    twin.crop_line(page, quad, theirs)
    np.testing.assert_array_equal(ours, theirs)


def test_a_long_line_crosses_opencv_s_blocks():
    page = np.random.default_rng(2).integers(0, 256, (90, 2300, 3), dtype=np.uint8)
    quad = box((1150, 45), 2200, 24, 0.7)
    columns, rows, _ = crop_size(quad)
    ours, theirs = np.zeros((rows, columns, 3), np.uint8), np.zeros((rows, columns, 3), np.uint8)
    crop_line(page, quad, ours)
    twin.crop_line(page, quad, theirs)
    np.testing.assert_array_equal(ours, theirs)


def test_a_view_of_a_page_reads_only_the_view():
    page = np.array(PAGE)
    view = page[20:120:2, 30:200]
    quad, ours, theirs = box((80, 25), 120, 30, 10), None, None
    columns, rows, _ = crop_size(quad)
    ours, theirs = np.zeros((rows, columns, 3), np.uint8), np.zeros((rows, columns, 3), np.uint8)
    crop_line(view, quad, ours)
    twin.crop_line(np.ascontiguousarray(view), quad, theirs)
    np.testing.assert_array_equal(ours, theirs)


QUAD = np.array([[10, 10], [60, 12], [60, 32], [10, 30]], np.int16)
WIDTH, HEIGHT, _ = crop_size(QUAD)
OUT = np.zeros((HEIGHT, WIDTH, 3), np.uint8)


@pytest.mark.parametrize(
    ("image", "quad", "out"),
    [
        pytest.param(PAGE[:, :, :2], QUAD, OUT, id="two channels"),
        pytest.param(PAGE[:, ::2], QUAD, OUT, id="pixels apart"),
        pytest.param(PAGE[:0], QUAD, OUT, id="no rows"),
        pytest.param(PAGE, QUAD[:3], OUT, id="three corners"),
        pytest.param(PAGE, QUAD.astype(np.float32), OUT, id="float corners"),
        pytest.param(PAGE, np.repeat(QUAD[:1], 4, axis=0), OUT, id="one point"),
        pytest.param(PAGE, QUAD.astype(np.int32) * 10000, OUT, id="corners far away"),
        pytest.param(PAGE, np.full((4, 2), -(2**31), np.int32), OUT, id="smallest integers"),
        pytest.param(PAGE, QUAD, OUT[:-1], id="out of another size"),
        pytest.param(PAGE, QUAD, np.zeros((HEIGHT, 2 * WIDTH, 3), np.uint8)[:, ::2], id="out with gaps"),
        pytest.param(PAGE, QUAD, PAGE[:HEIGHT, :WIDTH], id="read-only out"),
    ],
)
def test_crop_refuses(image, quad, out):
    with pytest.raises(ValueError, match=r"."):
        crop_line(image, quad, out)


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"width": 0}, id="width 0"),
        pytest.param({"out": np.zeros((3, 48, 64))}, id="double out"),
        pytest.param({"out": np.zeros((48, 64, 3), np.float32)}, id="planes last"),
        pytest.param({"scale": (1,)}, id="one scale"),
    ],
)
def test_fused_crop_refuses(changed):
    good = {"image": PAGE, "quad": QUAD, "out": np.zeros((3, 48, 64), np.float32), "width": 64}
    with pytest.raises(ValueError, match=r"."):
        crop_line_normalize_chw(**{**good, "scale": SCALE, "shift": SHIFT, **changed})


def test_threads_do_not_share_scratch():
    """Lines of very different sizes at once; each thread's rows live in memory of its own."""
    quads = [box((120, 90), width, 20, angle) for width, angle in ((30, 3), (200, 10), (90, 80), (150, 0))]
    expected = [np.empty((3, 48, 320), np.float32) for _ in quads]
    for quad, out in zip(quads, expected, strict=True):
        twin.crop_line_normalize_chw(PAGE, quad, out, 300, SCALE, SHIFT)

    def work(index):
        out = np.empty((3, 48, 320), np.float32)
        for _ in range(50):
            crop_line_normalize_chw(PAGE, quads[index], out, 300, SCALE, SHIFT)
            if not np.array_equal(out, expected[index]):
                return False
        return True

    with ThreadPoolExecutor(len(quads)) as pool:
        assert all(pool.map(work, range(len(quads))))
