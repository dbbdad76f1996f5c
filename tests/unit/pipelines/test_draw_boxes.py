import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from pipelines.core.draw import Pen
from pipelines.core.draw_boxes import PALETTE, RECIPE_2024, RECIPE_V3, colour_indices, draw_boxes
from pipelines.core.errors import ConfigError
from pipelines.core.models import ModelStore
from tests.reference.draw_boxes import draw_boxes as twin

NAMES = ["person", "cat", "traffic light", "行人", "Ångström, qy"]


@pytest.fixture(scope="module")
def font():
    return ModelStore().font()


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@settings(max_examples=120, deadline=None)
@given(
    size=st.tuples(st.integers(1, 700), st.integers(1, 2600)),
    count=st.integers(0, 12),
    seed=st.integers(0, 9999),
    recipe=st.sampled_from([RECIPE_V3, RECIPE_2024]),
    whole=st.booleans(),
)
def test_equals_pillow_on_the_whole_picture(font, size, count, seed, recipe, whole):
    random, (height, width) = np.random.default_rng(seed), size
    corners = random.random((count, 2, 2)) * (width, height)
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).astype(np.float32)
    boxes = np.floor(boxes) if whole else boxes
    labels, scores = random.choice(NAMES, count).tolist(), random.random(count).tolist()
    picture = noise(height, width, seed)
    expected = twin(picture, boxes, labels, scores, font, recipe)
    draw_boxes(picture, boxes, labels, scores, Pen(lambda: font), recipe)
    np.testing.assert_array_equal(picture, expected)


def test_a_label_keeps_the_colour_of_its_first_box():
    assert colour_indices(["cup", "cat", "cup", "dog", "cat"]) == [0, 1, 0, 3, 1]
    assert colour_indices([f"{n}" for n in range(22)])[20:] == [0, 1]


def test_frames_are_drawn_without_a_font():
    def no_font():
        raise ConfigError("no network")

    picture = np.zeros((50, 60, 3), np.uint8)
    draw_boxes(picture, np.array([[10, 20, 30, 40]], np.float32), ["cup"], [0.5], Pen(no_font))
    ys, xs = np.nonzero(picture.any(axis=2))
    assert (xs.min(), xs.max(), ys.min(), ys.max()) == (10, 30, 20, 40)
    assert picture[20, 20].tolist() == list(PALETTE[0][::-1]) and not picture[30, 20].any()


@pytest.mark.parametrize("side", [np.nan, np.inf, -np.inf, 1e9, -1e9])
@pytest.mark.parametrize("place", range(4))
def test_no_number_is_too_strange_to_draw(font, place, side):
    boxes = np.array([[10, 20, 30, 40], [1, 1, 5, 5]], np.float32)
    boxes[0, place] = side
    picture = np.zeros((50, 60, 3), np.uint8)
    draw_boxes(picture, boxes, ["cup", "cat"], [0.5, 0.4], Pen(lambda: font))
    assert picture[5, 3].any()
