"""Lines find their cells as in PaddleX, pair by pair."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.box_rules import Boxes
from pipelines.core.ocr_api import OcrPage
from pipelines.core.table_match import cells_of, crops_of, grouped, hulls, inside, merged
from tests.model_dirs import box
from tests.reference import tables as reference

SIDE = st.integers(0, 12)
BOX = st.tuples(SIDE, SIDE, SIDE, SIDE).map(lambda s: (*map(min, s[:2], s[2:]), *map(max, s[:2], s[2:])))
PLACES = st.lists(BOX, min_size=1, max_size=8)


@given(PLACES, PLACES, st.sampled_from([0.0, 0.37, 7.25]))
def test_every_line_gets_the_cell_that_paddlex_gives_it(lines, cells, origin):
    """Small numbers: ties in IoU and in distance, boxes without area, equal cells."""
    placed = np.array(cells) + np.float32(origin)
    boxes = np.array(lines, np.int16)
    expected = reference.cells_of(boxes.astype(np.float64).tolist(), placed.astype(np.float64).tolist())
    assert cells_of(boxes, placed).tolist() == expected


def test_a_large_table_is_matched_in_parts_with_the_same_result():
    rng = np.random.default_rng(3)
    corners = rng.integers(0, 900, (600, 2))
    cells = np.concatenate([corners, corners + rng.integers(5, 60, (600, 2))], axis=1)
    lines = np.concatenate([corners + 3, corners + rng.integers(5, 50, (600, 2))], axis=1)[::-1]
    assert cells_of(lines, cells).tolist() == reference.cells_of(lines.tolist(), cells.tolist())


def test_no_lines_have_no_cells():
    assert cells_of(np.empty((0, 4), np.int16), np.array([[0, 0, 5, 5]])).tolist() == []


@pytest.mark.parametrize(
    ("line", "belongs"),
    [((0, 0, 14, 14), True), ((0, 0, 13, 20), False), ((0, 0, 20, 13), False), ((30, 30, 40, 40), False)],
    ids=["4 px both ways", "3 px across", "3 px down", "outside"],
)
def test_a_line_belongs_to_a_table_that_it_overlaps_by_more_than_three_pixels(line, belongs):
    table = np.array([10, 10, 30, 30], np.float32)
    assert (len(inside(np.array([line], np.int16), table)) == 1) == belongs


def test_hulls_are_upright():
    assert hulls(np.array([[[3, 1], [9, 2], [8, 6], [2, 5]]])).tolist() == [[2, 1, 9, 6]]


def test_texts_keep_their_order_in_a_cell():
    assert grouped(np.array([2, 0, 2]), ["a", "b", "c"]) == {2: ["a", "c"], 0: ["b"]}


def layout(*rows):
    return Boxes(np.array([[0, 0.9, *row[1:]] for row in rows], np.float32), [row[0] for row in rows])


def test_tables_are_cut_out_at_whole_pixels():
    page = np.arange(50 * 40 * 3, dtype=np.uint32).astype(np.uint8).reshape(50, 40, 3)
    found = layout(("table", 2.7, 3.9, 20.2, 30.8), ("text", 0, 0, 40, 50), ("Table", 5, 5, 5.4, 9))
    (crop,) = crops_of(page, found)
    assert crop.corners == [2, 3, 20, 30]
    assert crop.box.tolist() == np.array([2.7, 3.9, 20.2, 30.8], np.float32).tolist()
    np.testing.assert_array_equal(crop.pixels, page[3:30, 2:20])


def test_without_a_layout_the_page_is_the_table():
    page = np.zeros((50, 40, 3), np.uint8)
    (crop,) = crops_of(page, None)
    assert crop.pixels is page and crop.corners == [0, 0, 39, 49] and crop.box.tolist() == [0, 0, 39, 49]


def ocr(*lines, dropped=()):
    quads = (
        np.stack([box(*line[1:]) for line in (*lines, *dropped)]) if lines else np.empty((0, 4, 2), np.int16)
    )
    texts = [line[0] for line in lines]
    return OcrPage(-1, quads, [-1] * len(quads), list(range(len(lines))), texts, [0.9] * len(lines))


def test_lines_of_tables_are_replaced_by_those_that_were_read_in_them():
    page = ocr(
        ("above", 0, 0, 50, 9), ("touches", 0, 0, 50, 11), ("in", 20, 20, 40, 30), ("below", 0, 60, 9, 70)
    )
    crops = crops_of(np.zeros((90, 90, 3), np.uint8), layout(("table", 5.5, 10.5, 60, 50)))
    result = merged(page, crops, [ocr(("again", 1, 2, 30, 12))])
    assert result.texts == ["above", "below", "again"] and result.kept == [0, 1, 2]
    assert result.quads[2].tolist() == box(6, 12, 35, 22).tolist() and result.quads.dtype == np.int16


def test_a_page_without_tables_stays_as_it_is():
    page = ocr(("a", 0, 0, 50, 9), dropped=[("b", 0, 20, 50, 29)])
    result = merged(page, [], [])
    assert result.texts == ["a"] and result.quads.tolist() == page.quads[:1].tolist()
