"""Text along polygons: how it is found in a probability map, and how it is made straight."""

import itertools
import math
import time
from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.core.curved import MOST_CORNERS, is_simple, polygon_picture
from pipelines.core.detection_size import SEAL_2024, DetectionParams, input_size
from pipelines.core.errors import ConfigError
from pipelines.core.polygons import polygons
from pipelines.stages.text_detection import SealDetection
from tests.model_dirs import DETECTION, Scripted, model

PARAMS = DetectionParams(thresh=0.2, box_thresh=0.6, unclip_ratio=0.5)
MIDDLE, INNER, OUTER = 240, 140, 200


def ribbon(start, end, count=10):
    """A polygon along an arc with edges of about one length; degrees."""
    rim = arc(OUTER, np.linspace(start, end, count))
    core = arc(INNER, np.linspace(end, start, round(count * INNER / OUTER)))
    return np.concatenate([rim, core]).round().astype(np.int16)


def arc(radius, degrees):
    angles = np.radians(degrees)
    return MIDDLE + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def compass():
    """A picture whose blue is the angle around its middle, degrees / 2, and whose green is the radius."""
    y, x = np.mgrid[:480, :480] - MIDDLE
    picture = np.zeros((480, 480, 3), np.uint8)
    picture[..., 0] = np.degrees(np.arctan2(y, x)) % 360 / 2
    picture[..., 1] = np.hypot(x, y).clip(0, 255)
    return picture


@pytest.mark.parametrize(("start", "end"), [(-160, -20), (-150, -60), (-120, -30)])
def test_text_on_the_upper_arc_runs_from_left_to_right_with_its_feet_inside(start, end):
    found = polygon_picture(compass(), ribbon(start, end)).astype(float)
    height, width = found.shape[:2]
    assert height == pytest.approx(OUTER - INNER, abs=3)
    assert width == pytest.approx(math.radians(end - start) * (OUTER + INNER) / 2, rel=0.07)
    angles = found[height // 2, 5:-5, 0] * 2
    steady = np.linspace(angles[0], angles[-1], len(angles))
    assert np.abs(angles - steady).max() < 8 and angles[-1] - angles[0] > 0.85 * (end - start)
    assert found[3, :, 1].mean() > found[-4, :, 1].mean() + 40


def test_text_on_the_lower_arc_stands_upright_too():
    found = polygon_picture(compass(), ribbon(20, 160)).astype(float)
    assert found[3, :, 1].mean() < found[-4, :, 1].mean() - 40
    assert found[len(found) // 2, 10, 0] > found[len(found) // 2, -10, 0]


def test_a_polygon_that_nearly_fills_its_rectangle_is_cut_out_as_that():
    page = np.random.default_rng(1).integers(0, 256, (200, 300, 3), np.uint8)
    box = np.array([[20, 30], [150, 28], [280, 30], [280, 80], [20, 80]], np.int16)
    found = polygon_picture(page, box)
    assert found.shape[:2] == (52, 260)
    upright = polygon_picture(page, np.array([[20, 20], [60, 20], [60, 180], [20, 180]], np.int16))
    assert np.array_equal(upright, np.rot90(page[20:180, 20:60]))


def test_a_polygon_that_crosses_itself_or_has_too_many_corners_is_its_rectangle():
    page = np.random.default_rng(2).integers(0, 256, (480, 480, 3), np.uint8)
    crossed = np.array([[60, 60], [420, 420], [420, 60], [240, 130], [60, 420]], np.int16)
    assert polygon_picture(page, crossed).shape[:2] == (360, 360)
    many, few = ribbon(-170, -10, MOST_CORNERS), ribbon(-170, -10, 12)
    assert polygon_picture(page, many).shape[1] < 400 < polygon_picture(page, few).shape[1]


@pytest.mark.parametrize(
    "points",
    [[[5, 5], [5, 5], [5, 5]], [[0, 0], [0, 90], [0, 180], [0, 300]], [[0, 0], [9, 0], [0, 0], [9, 0]]],
)
def test_a_polygon_without_a_pixel_has_no_picture(points):
    assert polygon_picture(np.zeros((480, 480, 3), np.uint8), np.array(points, np.int16)) is None


def test_what_is_too_long_for_opencv_has_no_picture():
    box = np.array([[0, 0], [32000, 0], [32000, 3], [0, 3]], np.int16)
    assert polygon_picture(np.zeros((4, 32766, 3), np.uint8), box).shape == (3, 32000, 3)
    assert polygon_picture(np.zeros((4, 32767, 3), np.uint8), box) is None
    across = np.array([[10, 0], [30010, 30000], [30000, 30010], [0, 10]], np.int16)
    assert polygon_picture(np.zeros((4, 4, 3), np.uint8), across) is None


corners = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=3, max_size=12)


@settings(max_examples=150, deadline=None)
@given(points=corners)
def test_any_polygon_is_cut_or_refused(points):
    page = np.zeros((61, 61, 3), np.uint8)
    found = polygon_picture(page, np.array(points, np.int16))
    assert found is None or (found.dtype == np.uint8 and found.size and found.shape[2] == 3)


def crosses(points):
    """The slow twin of ``not is_simple``: edges as exact fractions, one pair after the other."""
    ring = [p for p, before in zip(points, [points[-1], *points], strict=False) if p != before]
    if len(ring) < 3:
        return True
    edges = list(zip(ring, [*ring[1:], ring[0]], strict=True))
    for (i, (a, b)), (j, (c, d)) in itertools.combinations(enumerate(edges), 2):
        shared = {a, b} & {c, d} if j == i + 1 or (i == 0 and j == len(edges) - 1) else set()
        along, across = (b[0] - a[0], b[1] - a[1]), (d[0] - c[0], d[1] - c[1])
        between = (c[0] - a[0], c[1] - a[1])
        det = along[0] * across[1] - along[1] * across[0]
        if det:
            s = Fraction(between[0] * across[1] - between[1] * across[0], det)
            t = Fraction(between[0] * along[1] - between[1] * along[0], det)
            if 0 <= s <= 1 and 0 <= t <= 1 and (a[0] + s * along[0], a[1] + s * along[1]) not in shared:
                return True
        elif between[0] * along[1] == between[1] * along[0]:  # on one line
            axis = 0 if along[0] else 1
            first, second = sorted((a[axis], b[axis])), sorted((c[axis], d[axis]))
            overlap = min(first[1], second[1]) - max(first[0], second[0])
            if overlap > 0 or (overlap == 0 and not shared):
                return True
    return False


@settings(max_examples=300, deadline=None)
@given(points=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=7))
def test_a_polygon_is_simple_when_no_two_edges_meet(points):
    assert is_simple(np.array(points, np.int32)) is (not crosses(points))


# --- finding


def arc_map(height=320, width=320, sure=0.9):
    """A probability map with one text along an arc."""
    found = np.zeros((height, width), np.float32)
    cv2.ellipse(found, (160, 160), (110, 110), 0, 200, 340, sure, 24)
    return found


def test_a_curved_text_becomes_a_polygon_that_follows_it():
    (found,) = polygons(arc_map(), 320, 320, PARAMS)
    assert found.dtype == np.int16 and len(found) > 12
    radii = np.hypot(*(found - 160.0).T)
    assert 85 < radii.min() < 98 and 122 < radii.max() < 135  # 98 to 122, and a little more
    (scaled,) = polygons(arc_map(), 160, 640, PARAMS)
    assert np.abs(scaled * [2, 0.5] - found).max() <= 1


def test_a_larger_ratio_grows_a_polygon_and_thresholds_drop_it():
    (small,), (large,) = (
        polygons(arc_map(), 320, 320, DetectionParams(thresh=0.2, box_thresh=0.6, unclip_ratio=ratio))
        for ratio in (0.5, 1.0)
    )
    assert cv2.contourArea(large.astype(np.int32)) > 1.2 * cv2.contourArea(small.astype(np.int32))
    assert polygons(arc_map(sure=0.5), 320, 320, PARAMS) == []
    assert polygons(arc_map(sure=0.1), 320, 320, PARAMS) == []
    assert polygons(arc_map(), 320, 320, PARAMS, most=0) == []


def test_polygons_stay_on_the_picture():
    everything = np.ones((64, 96), np.float32)
    (found,) = polygons(everything, 300, 200, PARAMS)
    assert found.min() >= 0 and tuple(found.max(axis=0)) == (300, 200)


def test_what_is_made_to_take_long_does_not():
    comb = np.zeros((1024, 1024), np.float32)
    comb[:900, np.flatnonzero(np.arange(960) % 8 < 4)] = comb[:4, :960] = 1.0
    greedy = DetectionParams(thresh=0.2, box_thresh=0.01, unclip_ratio=100.0)
    started = time.monotonic()
    polygons(comb, 1024, 1024, greedy)
    noise = (np.random.default_rng(3).random((1024, 1024)) > 0.6).astype(np.float32)
    polygons(noise, 1024, 1024, greedy)
    assert time.monotonic() - started < 10


# --- the stage


def detector(tmp_path, **post):
    about = {**DETECTION, "PostProcess": {**DETECTION["PostProcess"], "box_type": "poly", **post}}
    return SealDetection(model(tmp_path, about), "x")


def test_the_stage_gives_polygons_of_each_page(tmp_path):
    stage = detector(tmp_path)
    engine = Scripted(lambda tensor: np.stack([arc_map()[np.newaxis]] * len(tensor)))
    call = stage.call(np.zeros((320, 320, 3), np.uint8), PARAMS)
    assert call.key == (320, 320)
    (found,) = stage.run(engine, [call.input])
    assert len(found) == 1 and len(found[0]) > 12


def test_a_model_for_boxes_is_none_for_seals(tmp_path):
    with pytest.raises(ConfigError, match="box_type poly"):
        detector(tmp_path, box_type="quad")


def test_models_of_2024_get_sides_of_128_pixels():
    params = DetectionParams(736, SEAL_2024)
    assert input_size(100, 100, params) == (768, 768)
    assert input_size(200, 400, params) == (384, 768)
    assert input_size(1, 4000, params) == (128, 768)
