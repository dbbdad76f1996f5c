import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from pipelines.core.box_rules import BoxRules, boxes_of
from pipelines.core.errors import EngineError
from tests.reference.box_rules import boxes_of as twin
from tests.unit.kernels.test_nms import boxes

NAMES = ("text", "image", "formula", "table")

thresholds = st.one_of(
    st.sampled_from([-1.0, 0.0, 0.3, 0.9, 2.0]),
    st.dictionaries(st.integers(0, 5), st.floats(0, 1), max_size=3),
)
words = st.sampled_from(["union", "large", "small"])
ratios = st.tuples(st.sampled_from([0.5, 1.0, 1.3]), st.sampled_from([1.0, 2.0]))
rules = st.builds(
    BoxRules,
    threshold=thresholds,
    layout_nms=st.booleans(),
    layout_unclip_ratio=st.none() | ratios | st.dictionaries(st.integers(0, 3), ratios, max_size=2),
    layout_merge_bboxes_mode=st.none() | words | st.dictionaries(st.integers(0, 3), words, max_size=3),
    v3=st.booleans(),
)


@settings(max_examples=300, deadline=None)
@given(
    count=st.integers(0, 25),
    seed=st.integers(0, 10_000),
    rules=rules,
    size=st.sampled_from([(60, 50), (50, 60), (90, 20)]),
)
def test_equals_the_steps_of_paddlex_one_box_at_a_time(count, seed, rules, size):
    found = boxes(count, seed, classes=len(NAMES))
    found[::7, 0] = -1
    found[::5, 2:6] = (-3, -2, *size)  # a box as large as the picture
    result, places = boxes_of(found, NAMES, *size, rules)
    np.testing.assert_array_equal(result.rows, twin(found, NAMES, *size, rules))
    assert result.labels == [NAMES[int(kind)] for kind in result.rows[:, 0]]
    np.testing.assert_array_equal(found[places, :2], result.rows[:, :2])


def row(kind, score, *box):
    return [kind, score, *box]


def kept(rows, **rules):
    result, _ = boxes_of(np.array(rows, np.float32), NAMES, 100, 80, BoxRules(**{"threshold": 0.0, **rules}))
    return result.rows.tolist()


def test_a_score_equal_to_the_threshold_is_not_enough():
    assert kept([row(0, 0.5, 0, 0, 9, 9)], threshold=0.5) == []
    assert len(kept([row(0, 0.5, 0, 0, 9, 9)], threshold=0.49)) == 1


def test_a_map_of_thresholds_groups_by_class_and_asks_half_of_classes_it_does_not_name():
    rows = [
        row(3, 0.6, 0, 0, 9, 9),
        row(0, 0.2, 0, 0, 8, 8),
        row(3, 0.4, 0, 0, 7, 7),
        row(0, 0.1, 0, 0, 6, 6),
    ]
    found = kept(rows, threshold={0: 0.15})
    assert [(kind, right) for kind, _, _, _, right, _ in found] == [(0, 8), (3, 9)]


def test_boxes_without_an_area_are_dropped_in_3x_and_kept_in_2024():
    flat = [row(0, 0.9, 120, 0, 130, 9)]
    assert kept(flat) == []
    assert kept(flat, v3=False) == [pytest.approx([0, 0.9, 120, 0, 100, 9])]


def test_the_only_boxes_are_not_dropped_for_being_as_large_as_the_page():
    page = row(1, 0.9, 0, 0, 100, 80)
    assert len(kept([page, page])) == 2
    assert [found[0] for found in kept([page, row(0, 0.9, 0, 0, 9, 9)])] == [0]


@pytest.mark.parametrize(
    ("columns", "order"),
    [
        pytest.param([[2], [0], [1]], [1, 2, 0], id="one column sorts upwards"),
        pytest.param([[1, 0], [1, 5], [0, 0]], [2, 1, 0], id="the second downwards where the first is equal"),
    ],
)
def test_reading_order_columns_sort(columns, order):
    rows = [[0, 0.9, 0, 0, 10 + place, 10, *extra] for place, extra in enumerate(columns)]
    assert [right - 10 for _, _, _, _, right, _ in kept(rows)] == order


def test_a_class_without_a_name_is_an_error_of_the_model():
    with pytest.raises(EngineError, match="class 4, its label_list has 4"):
        kept([row(4, 0.9, 0, 0, 9, 9)])


def test_rotated_boxes_are_refused():
    with pytest.raises(EngineError, match="rows of shape"):
        kept([[0, 0.9, *range(8)]])


def test_rules_are_completed_by_weaker_ones():
    model = BoxRules(0.4, True, (2.0, 2.0), "large")
    asked = BoxRules(0.0, False, {}, None, v3=False)
    assert asked.over(model) == BoxRules(0.0, True, (2.0, 2.0), "large", v3=False)
    assert BoxRules(layout_merge_bboxes_mode="small").over(model).layout_merge_bboxes_mode == "small"
