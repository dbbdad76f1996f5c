import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from kernels.text import ctc_argmax, ctc_collapse
from tests.reference import text as twin


def best(logits):
    indices = np.full(logits.shape[:2], -1, np.int32)
    scores = np.full(logits.shape[:2], np.nan, np.float32)
    ctc_argmax(logits, indices, scores)
    return indices, scores


@settings(max_examples=150, deadline=None)
@given(
    lines=st.integers(0, 3),
    steps=st.integers(0, 9),
    classes=st.one_of(st.integers(1, 70), st.integers(500, 1600)),
    levels=st.integers(1, 50),
    seed=st.integers(0, 999),
)
def test_argmax_and_max_equal_numpy_also_on_ties(lines, steps, classes, levels, seed):
    logits = np.random.default_rng(seed).integers(0, levels, (lines, steps, classes)).astype(np.float32)
    logits -= levels / 2
    indices, scores = best(logits)
    expected_indices, expected_scores = np.empty_like(indices), np.empty_like(scores)
    twin.ctc_argmax(logits, expected_indices, expected_scores)
    np.testing.assert_array_equal(indices, expected_indices)
    np.testing.assert_array_equal(scores, expected_scores)


@pytest.mark.parametrize("classes", [6625, 18710])
def test_the_maximum_is_found_wherever_it_is(classes):
    places = [0, 1, 31, 32, 511, 512, 513, classes // 2, classes - 33, classes - 2, classes - 1]
    logits = np.zeros((1, len(places), classes), np.float32)
    logits[0, np.arange(len(places)), places] = 0.25
    indices, scores = best(logits)
    assert indices[0].tolist() == places
    assert (scores == 0.25).all()


def test_nan_never_wins():
    nan, inf = np.nan, np.inf
    logits = np.array(
        [[[nan, 1, 2, nan], [0.5, nan, 0.5, 0], [nan] * 4, [-inf] * 4, [nan, inf, 3, inf]]], np.float32
    )
    indices, scores = best(logits)
    assert indices[0].tolist() == [2, 0, 0, 0, 1]
    np.testing.assert_array_equal(scores[0], np.float32([2, 0.5, nan, -inf, inf]))


def test_strided_and_read_only_inputs():
    logits = np.random.default_rng(0).random((4, 12, 90), dtype=np.float32)
    logits.flags.writeable = False
    view = logits[::2, 1::3, 5:77]
    indices, scores = np.zeros((9, 4), np.int32)[::5], np.zeros((4, 8), np.float32)[:2, ::2]
    ctc_argmax(view, indices, scores)
    np.testing.assert_array_equal(indices, view.argmax(axis=-1))
    np.testing.assert_array_equal(scores, view.max(axis=-1))


@settings(max_examples=150, deadline=None)
@given(
    lines=st.integers(0, 3),
    steps=st.one_of(st.integers(0, 40), st.integers(120, 700)),
    classes=st.integers(1, 6),
    seed=st.integers(0, 999),
)
def test_collapse_equals_numpy_to_the_last_bit(lines, steps, classes, seed):
    random = np.random.default_rng(seed)
    indices = random.integers(0, classes, (lines, steps)).astype(np.int32)
    scores = random.random((lines, steps), dtype=np.float32)
    ours, theirs = ctc_collapse(indices, scores), twin.ctc_collapse(indices, scores)
    assert len(ours) == len(theirs) == lines
    for (classes_, steps_, mean), (expected_classes, expected_steps, expected_mean) in zip(
        ours, theirs, strict=True
    ):
        np.testing.assert_array_equal(classes_, expected_classes)
        np.testing.assert_array_equal(steps_, expected_steps)
        assert mean == expected_mean


def test_a_blank_between_equal_classes_keeps_both():
    indices = np.array([[0, 5, 5, 0, 5, 7, 0, 0]], np.int32)
    scores = np.array([[1, 0.5, 1, 1, 0.75, 0.25, 1, 1]], np.float32)
    ((classes, steps, mean),) = ctc_collapse(indices, scores)
    assert (classes.tolist(), steps.tolist(), mean) == ([5, 5, 7], [1, 4, 5], 0.5)


def test_an_empty_line_scores_zero():
    ((classes, steps, mean),) = ctc_collapse(np.zeros((1, 5), np.int32), np.ones((1, 5), np.float32))
    assert (len(classes), len(steps), mean) == (0, 0, 0.0)


LOGITS, INDICES, SCORES = (
    np.zeros((2, 3, 4), np.float32),
    np.zeros((2, 3), np.int32),
    np.zeros((2, 3), np.float32),
)
FROZEN = np.zeros((2, 3), np.float32)
FROZEN.flags.writeable = False


@pytest.mark.parametrize(
    ("logits", "indices", "scores"),
    [
        pytest.param(LOGITS[:, :, :0], INDICES, SCORES, id="no classes"),
        pytest.param(LOGITS[:, :, ::2], INDICES, SCORES, id="classes apart"),
        pytest.param(LOGITS.astype(np.float64), INDICES, SCORES, id="double"),
        pytest.param(LOGITS[0], INDICES, SCORES, id="two dimensions"),
        pytest.param(LOGITS, INDICES[:1], SCORES, id="too few lines"),
        pytest.param(LOGITS, INDICES, SCORES[:, :2], id="too few steps"),
        pytest.param(LOGITS, INDICES.astype(np.int64), SCORES, id="int64 indices"),
        pytest.param(LOGITS, INDICES, FROZEN, id="read-only scores"),
    ],
)
def test_argmax_refuses(logits, indices, scores):
    with pytest.raises(ValueError, match=r"."):
        ctc_argmax(logits, indices, scores)


@pytest.mark.parametrize(
    ("indices", "scores"),
    [
        pytest.param(INDICES, SCORES[:1], id="too few lines"),
        pytest.param(INDICES[:, ::2], SCORES[:, ::2], id="steps apart"),
        pytest.param(INDICES.astype(np.int64), SCORES, id="int64"),
    ],
)
def test_collapse_refuses(indices, scores):
    with pytest.raises(ValueError, match=r"."):
        ctc_collapse(indices, scores)
