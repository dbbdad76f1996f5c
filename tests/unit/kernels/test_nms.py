import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from kernels.nms import nms
from tests.reference.nms import nms as twin


def boxes(count, seed, *, side=60, classes=3):
    """Random rows; corners on a coarse grid so that many overlaps are exactly equal."""
    random = np.random.default_rng(seed)
    low = random.integers(0, side, (count, 2))
    rows = np.empty((count, 6), np.float32)
    rows[:, 0] = random.integers(0, classes, count)
    rows[:, 1] = random.random(count)
    rows[:, 2:4], rows[:, 4:6] = low, low + random.integers(-1, side // 2, (count, 2))
    return rows


@settings(max_examples=200, deadline=None)
@given(
    count=st.integers(0, 40),
    seed=st.integers(0, 10_000),
    same=st.sampled_from([0.0, 0.3, 0.5, 0.6, 1.0]),
    other=st.sampled_from([0.5, 0.98, math.inf]),
    plus=st.sampled_from([0.0, 1.0]),
)
def test_equals_the_slow_twin(count, seed, same, other, plus):
    rows = boxes(count, seed)
    np.testing.assert_array_equal(nms(rows, same, other, plus=plus), twin(rows, same, other, plus=plus))


def test_of_equal_scores_the_later_row_is_stronger():
    rows = np.tile(np.array([0, 0.5, 0, 0, 10, 10], np.float32), (4, 1))
    assert nms(rows, 0.6, 0.98).tolist() == [3]


def test_classes_are_kept_apart_by_an_infinite_limit():
    rows = np.tile(np.array([0, 0.5, 0, 0, 10, 10], np.float32), (3, 1))
    rows[:, 0] = [0, 1, 0]
    assert nms(rows, 0.6, math.inf).tolist() == [2, 1]


@pytest.mark.parametrize("strange", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", range(6))
def test_numbers_that_are_none_give_each_place_at_most_once(strange, column):
    rows = boxes(20, 1)
    rows[::3, column] = strange
    kept = nms(rows, 0.5, 0.9, plus=1.0).tolist()
    assert kept and len(set(kept)) == len(kept) and set(kept) <= set(range(20))


def test_reads_views_and_wider_rows():
    wide = np.zeros((30, 9), np.float32)
    wide[:, :6] = boxes(30, 2)
    wide.flags.writeable = False
    np.testing.assert_array_equal(nms(wide[::-2], 0.5, 0.9), twin(wide[::-2], 0.5, 0.9))


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(np.zeros((3, 5), np.float32), id="five columns"),
        pytest.param(np.zeros((3, 12), np.float32)[:, ::2], id="gaps"),
        pytest.param(np.zeros((3, 6)), id="double"),
        pytest.param(np.zeros(6, np.float32), id="one row"),
    ],
)
def test_refuses(rows):
    with pytest.raises(ValueError, match=r"."):
        nms(rows, 0.5, 0.9)
