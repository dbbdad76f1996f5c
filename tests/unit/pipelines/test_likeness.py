"""When two engines' answers say the same, and what is said when they do not."""

import numpy as np
import pytest

from kernels.masks import encode_mask
from pipelines.core import likeness
from pipelines.core.box_rules import Boxes
from pipelines.core.instances import Instances, mask_iou


def quad(left, top, right, bottom):
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.int16)


@pytest.mark.parametrize(
    ("one", "other", "edits"),
    [("", "", 0), ("abc", "abc", 0), ("abc", "", 3), ("", "ab", 2), ("kitten", "sitting", 3), ("ab", "ba", 2),
     ("北京南站", "北京西站", 1)],
)  # fmt: skip
def test_distance(one, other, edits):
    assert likeness.distance(one, other) == likeness.distance(other, one) == edits


def test_texts_may_differ_in_one_of_two_hundred_characters():
    lines = ["x" * 100, "y" * 100]
    assert likeness.texts(lines, ["x" * 99 + "z", "y" * 100]) is None
    words = likeness.texts(lines, ["x" * 100, "y" * 98])
    assert words.startswith("2 of 200 characters differ") and "'yyy" in words
    assert likeness.texts([""], [""]) is None
    assert likeness.texts([""], ["a"]) is not None


class TestQuads:
    PAGE = np.stack([quad(10, 10, 200, 22), quad(10, 40, 200, 52)])

    def test_the_order_and_two_pixels_are_no_matter(self):
        assert likeness.quads(self.PAGE, self.PAGE[::-1] + 2) is None
        assert likeness.quads(self.PAGE[:0], self.PAGE[:0]) is None

    def test_a_box_less(self):
        assert likeness.quads(self.PAGE, self.PAGE[:1]) == "1 boxes for 2"

    def test_a_box_elsewhere(self):
        moved = self.PAGE.copy()
        moved[1, :, 1] += 5
        assert likeness.quads(self.PAGE, moved).startswith("the box at [[10, 40]")

    def test_a_box_that_has_become_half_as_long(self):
        assert likeness.quads(self.PAGE[:1], quad(10, 10, 105, 22)[None]).endswith("overlaps by 0.50")

    def test_boxes_without_an_area(self):
        line = quad(5, 5, 50, 5)[None]
        assert likeness.quads(line, line) is None
        assert likeness.quads(line, line + 9) is not None


class TestBoxes:
    ROWS = np.array(
        [[0, 0.9, 10, 10, 60, 90], [3, 0.7, 10, 10, 60, 90], [3, 0.6, 10, 11, 60, 90]], np.float32
    )

    def test_each_has_a_partner_of_its_own(self):
        assert likeness.boxes(self.ROWS, self.ROWS[[2, 0, 1]]) == (None, [1, 2, 0])

    def test_one_partner_for_two(self):
        doubled = self.ROWS[[0, 1, 1]].copy()
        doubled[2, 2:] += 300
        assert likeness.boxes(self.ROWS, doubled)[0].startswith("no box near [10, 11, 60, 90] (class 3")

    @pytest.mark.parametrize(
        ("column", "change", "words"), [(0, 1, "no box near"), (1, 0.1, "a score of"), (4, 20, "no box near")]
    )
    def test_class_score_and_place_count(self, column, change, words):
        other = self.ROWS[:1].copy()
        other[0, column] += change
        assert likeness.boxes(self.ROWS[:1], other)[0].startswith(words)

    def test_one_more(self):
        assert likeness.boxes(self.ROWS[:2], self.ROWS) == ("3 objects for 2", [])
        assert likeness.boxes(self.ROWS[:0], self.ROWS[:0]) == (None, [])


def test_pixels():
    labels = np.zeros((100, 100), np.uint8)
    other = labels.copy()
    other[0, :50] = 1
    assert likeness.pixels(labels, other) is None
    other[1, 0] = 1
    assert likeness.pixels(labels, other) == "0.51% of the pixels differ"
    assert likeness.pixels(labels, other[1:]) is not None


def test_probabilities_and_what_is_no_number():
    scores = np.array([0.7, 0.3], np.float32)
    assert likeness.probabilities(scores, scores + np.float32(0.01)) is None
    assert likeness.probabilities(scores, scores + np.array([0, 0.03], np.float32)).startswith(
        "class 1 has 0.33"
    )
    assert likeness.probabilities(scores, np.array([np.nan, 0.3], np.float32)) is not None
    assert likeness.probabilities(scores, scores[:1]) is not None


def test_series_in_their_range():
    values = np.array([[300.0], [310.0]], np.float32)
    assert likeness.series(values, values + np.float32(0.09)) is None
    assert likeness.series(values, values + np.float32(0.2)).startswith("a value is off by 0.2")
    assert likeness.series(values, values * np.float32(np.nan)) is not None
    constant = np.full((4, 1), 5.0, np.float32)
    assert likeness.series(constant, constant) is None
    assert likeness.series(constant, constant + np.float32(0.1)) is not None


def test_directions():
    vector = np.array([1.0, 2.0, 2.0], np.float32)
    assert likeness.direction(vector, 3 * vector) is None
    assert likeness.direction(vector, np.array([1.0, 2.0, 2.2], np.float32)) is not None
    assert likeness.direction(vector, np.zeros(3, np.float32)) is not None


def test_same_looks_into_structures():
    one = Boxes(np.eye(2, dtype=np.float32), ["a", "b"])
    assert likeness.same([one, 1, "x"], [Boxes(one.rows + np.float32(1e-6), ["a", "b"]), 1, "x"]) is None
    assert likeness.same([one], [Boxes(one.rows, ["a", "c"])]) == "'c' for 'b'"
    assert likeness.same({"a": 1}, {"b": 1}) is not None
    assert likeness.same([1, 2], [1]) is not None
    assert likeness.same(1.0, float("nan")) is not None


class TestMasks:
    def objects(self, left, top, mask):
        height, width = mask.shape
        rows = np.array([[0, 0.9, left, top, left + width, top + height]], np.float32)
        return Instances(Boxes(rows, ["cell"]), [encode_mask(mask)], np.array([[height, width]], np.int32))

    def test_overlap_at_its_place_in_the_picture(self):
        whole = np.ones((10, 20), np.uint8)
        one = self.objects(5, 5, whole)
        assert mask_iou(one, 0, one, 0) == 1.0
        assert mask_iou(one, 0, self.objects(15, 5, whole), 0) == pytest.approx(100 / 300)
        assert mask_iou(one, 0, self.objects(5, 10, whole[:5]), 0) == 0.5
        assert mask_iou(one, 0, self.objects(90, 90, whole), 0) == 0.0

    def test_nothing_at_all(self):
        none = self.objects(5, 5, np.zeros((4, 4), np.uint8))
        empty = self.objects(5, 5, np.zeros((0, 4), np.uint8))
        assert mask_iou(none, 0, none, 0) == mask_iou(none, 0, empty, 0) == 1.0
