import cv2
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from kernels.boxes import db_boxes, sort_boxes
from tests.reference import boxes as twin


def page_map(height, width, lines, tilt, noise, seed):
    """Blurred rectangles like a detector's, some of them overlapping or cut by the edge."""
    random = np.random.default_rng(seed)
    made = np.zeros((height, width), np.float32)
    for _ in range(lines):
        centre = tuple(float(v) for v in random.random(2) * [width, height])
        length = random.random() * width / 2 + 3
        corners = cv2.boxPoints((centre, (length, random.random() * 20 + 3), float(random.normal() * tilt)))
        cv2.fillPoly(made, [np.rint(corners).astype(np.int32)], float(random.random() * 0.6 + 0.4))
    made = cv2.GaussianBlur(made, (5, 5), 1) + random.normal(size=made.shape).astype(np.float32) * noise
    return np.clip(made, 0, 1).astype(np.float32)


def assert_equal_to_twin(prob, *arguments, **options):
    boxes, scores = db_boxes(prob, *arguments, **options)
    expected_boxes, expected_scores = twin.db_boxes(prob, *arguments, **options)
    np.testing.assert_array_equal(boxes, expected_boxes)
    # OpenCV adds in another order
    np.testing.assert_allclose(scores, expected_scores, rtol=0, atol=1e-12)
    assert (boxes.dtype, scores.dtype) == (np.int16, np.float64)
    return boxes


@settings(max_examples=120, deadline=None)
@given(
    height=st.integers(16, 300),
    width=st.integers(16, 300),
    lines=st.integers(0, 25),
    tilt=st.sampled_from([0, 1, 10, 180]),
    noise=st.sampled_from([0, 0.02, 0.2]),
    page=st.tuples(st.integers(1, 4000), st.integers(1, 4000)),
    box_thresh=st.sampled_from([0.0, 0.3, 0.6]),
    unclip_ratio=st.sampled_from([0.3, 1.5, 2.0, 3.7]),
    seed=st.integers(0, 9999),
    options=st.fixed_dictionaries(
        {"max_candidates": st.sampled_from([0, 3, 1000]), "dilation": st.booleans()},
        optional={"min_size": st.sampled_from([1.0, 5.5])},
    ),
)
def test_boxes_equal_paddlex_exactly(
    height, width, lines, tilt, noise, page, box_thresh, unclip_ratio, seed, options
):
    prob = page_map(height, width, lines, tilt, noise, seed)
    assert_equal_to_twin(prob, *page, 0.3, box_thresh, unclip_ratio, **options)


@settings(max_examples=80, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    thresh=st.sampled_from([0.2, 0.5, 0.6, 0.9]),
    seed=st.integers(0, 9999),
)
def test_noise_with_holes_bridges_and_edges_equals_paddlex(height, width, thresh, seed):
    prob = np.random.default_rng(seed).random((height, width), dtype=np.float32)
    assert_equal_to_twin(prob, 2 * width, 3 * height, thresh, 0.0, 1.5, min_size=1.0)


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (3, 3), (64, 96)])
def test_a_map_of_one_value(shape, value):
    assert_equal_to_twin(np.full(shape, value, np.float32), 100, 100, 0.3, 0.6, 1.5)


def test_a_line_gives_its_rectangle_from_the_top_left_clockwise():
    prob = np.zeros((64, 128), np.float32)
    prob[20:40, 16:112] = 0.9
    (found,), (score,) = db_boxes(prob, 256, 128, 0.3, 0.6, 1.5)
    top_left, top_right, bottom_right, bottom_left = found.tolist()
    assert top_left[0] < top_right[0] == bottom_right[0]
    assert top_left[1] == top_right[1] < bottom_right[1] == bottom_left[1]
    assert score == pytest.approx(0.9, abs=1e-7)


def test_the_last_region_of_the_scan_comes_first_and_counts_first():
    prob = np.zeros((90, 60), np.float32)
    for top in (10, 40, 70):
        prob[top : top + 10, 10:50] = 1
    tops = [box[0][1] for box in db_boxes(prob, 60, 90, 0.3, 0.6, 1.5)[0]]
    assert tops == sorted(tops, reverse=True)
    assert [box[0][1] for box in db_boxes(prob, 60, 90, 0.3, 0.6, 1.5, max_candidates=1)[0]] == tops[:1]


def test_the_threshold_itself_is_background():
    prob = np.full((40, 80), np.float32(0.3))
    assert len(db_boxes(prob, 80, 40, 0.3, 0.0, 1.5)[0]) == 0
    assert len(db_boxes(prob, 80, 40, 0.29, 0.0, 1.5)[0]) == 1


def test_a_strided_read_only_map():
    prob = page_map(200, 300, 12, 3, 0.02, 5)
    prob.flags.writeable = False
    view = prob[::2, 20:280]
    boxes, _ = db_boxes(view, 260, 100, 0.3, 0.3, 1.5)
    np.testing.assert_array_equal(
        boxes, assert_equal_to_twin(np.ascontiguousarray(view), 260, 100, 0.3, 0.3, 1.5)
    )
    assert len(boxes)


def test_more_boxes_than_fit_on_the_stack():
    prob = np.kron(np.tile([[1, 0], [0, 0]], (20, 20)).astype(np.float32), np.ones((8, 8), np.float32))
    assert len(assert_equal_to_twin(np.ascontiguousarray(prob), 320, 320, 0.5, 0.5, 1.5)) == 400


def test_nan_is_background_and_does_not_drop_a_box():
    prob = page_map(100, 200, 6, 0, 0, 3)
    prob[prob == 0] = np.nan
    assert len(assert_equal_to_twin(prob, 200, 100, 0.3, 0.3, 1.5))
    prob[:] = np.nan
    assert_equal_to_twin(prob, 200, 100, 0.3, 0.3, 1.5)


MAP = np.zeros((8, 8), np.float32)


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"prob": MAP.astype(np.float64)}, id="double"),
        pytest.param({"prob": MAP[None]}, id="three dimensions"),
        pytest.param({"prob": MAP[:, ::2]}, id="columns apart"),
        pytest.param({"prob": MAP[:0]}, id="no rows"),
        pytest.param({"src_width": 0}, id="width 0"),
        pytest.param({"src_height": 40000}, id="too high"),
        pytest.param({"unclip_ratio": 0.0}, id="ratio 0"),
        pytest.param({"unclip_ratio": float("nan")}, id="ratio nan"),
        pytest.param({"unclip_ratio": 1e9}, id="ratio huge"),
        pytest.param({"max_candidates": -1}, id="candidates below 0"),
        pytest.param({"min_size": 0.0}, id="min_size 0"),
    ],
)
def test_refuses(changed):
    good = {
        "prob": MAP,
        "src_width": 8,
        "src_height": 8,
        "thresh": 0.3,
        "box_thresh": 0.6,
        "unclip_ratio": 1.5,
    }
    with pytest.raises(ValueError, match=r"."):
        db_boxes(**{**good, **changed})


@settings(max_examples=150, deadline=None)
@given(count=st.integers(0, 40), spread=st.sampled_from([4, 30, 300]), seed=st.integers(0, 9999))
def test_reading_order_equals_paddlex(count, spread, seed):
    boxes = np.random.default_rng(seed).integers(0, spread, (count, 4, 2)).astype(np.int16)
    boxes.flags.writeable = False
    ordered = sort_boxes(boxes)
    np.testing.assert_array_equal(ordered, twin.sort_boxes(boxes))
    assert ordered.dtype == np.int16
    assert not np.shares_memory(ordered, boxes)


def test_a_row_is_read_from_the_left_although_its_boxes_are_not_level():
    starts = [(300, 10), (100, 14), (200, 18), (5, 40)]
    boxes = np.array([[start] * 4 for start in starts], np.int16)
    assert sort_boxes(boxes)[:, 0, 0].tolist() == [100, 200, 300, 5]


def test_sort_refuses():
    with pytest.raises(ValueError, match="boxes must be"):
        sort_boxes(np.zeros((2, 4, 3), np.int16))
    with pytest.raises(ValueError, match=r"."):
        sort_boxes(np.zeros((2, 4, 2), np.int32))
