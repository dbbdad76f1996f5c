import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.series import calendar_features, standardize
from tests.reference import series as twin


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 9), st.integers(1, 5), st.integers(0, 99))
def test_standardize_equals_twin(rows, columns, seed):
    random = np.random.default_rng(seed)
    values, mean, scale = (
        random.normal(size=(rows, columns)) * 100,
        random.normal(size=columns),
        random.random(columns),
    )
    both = [(values.copy(), np.zeros((rows, columns + 1), np.float32)[:, :columns]) for _ in range(2)]
    for module, (kept, out) in zip((standardize, twin.standardize), both, strict=True):
        module(kept, mean, scale, out)
    for ours, theirs in zip(*both, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-62135596800, 253402300799), min_size=1, max_size=9), st.sampled_from([4, 7]))
def test_calendar_features_equal_pandas(seconds, columns):
    seconds = np.array(seconds, np.int64)
    ours, theirs = (
        np.empty((len(seconds), columns), np.float32),
        np.empty((len(seconds), columns), np.float32),
    )
    calendar_features(seconds, ours)
    twin.calendar_features(seconds, theirs)
    np.testing.assert_array_equal(ours, theirs)


def test_every_first_and_last_week_of_four_centuries():
    days = np.arange("1600-01-01", "2001-01-01", dtype="M8[D]")
    edge = (days - days.astype("M8[Y]") < 8) | ((days + 8).astype("M8[Y]") != days.astype("M8[Y]"))
    seconds = np.ascontiguousarray(days[edge].astype("M8[s]").astype(np.int64)[::7])
    ours, theirs = np.empty((len(seconds), 7), np.float32), np.empty((len(seconds), 7), np.float32)
    calendar_features(seconds, ours)
    twin.calendar_features(seconds, theirs)
    np.testing.assert_array_equal(ours, theirs)


def test_refusals():
    out = np.empty((2, 4), np.float32)
    for bad in (
        np.empty((3, 4), np.float32),
        np.empty((2, 5), np.float32),
        np.empty((2, 8), np.float32)[:, ::2],
    ):
        with pytest.raises(ValueError, match="out must be"):
            calendar_features(np.zeros(2, np.int64), bad)
    for outside in (-62135596801, 253402300800):
        with pytest.raises(ValueError, match="1 to 9999"):
            calendar_features(np.array([0, outside]), out)
    values, two = np.zeros((3, 2)), np.ones(2)
    with pytest.raises(ValueError, match="2 numbers"):
        standardize(values, np.ones(3), two, np.empty((3, 2), np.float32))
    with pytest.raises(ValueError, match="out must be"):
        standardize(values, two, two, np.empty((2, 2), np.float32))
    standardize(np.empty((0, 2)), two, two, np.empty((0, 2), np.float32))
