import numpy as np
import pytest

from pipelines.core.lines import Line, cut_lines, flipped, rotated
from tests.model_dirs import box

PAGE = np.arange(40 * 60 * 3, dtype=np.uint8).reshape(40, 60, 3)


@pytest.mark.parametrize("angle", [0, 90, 180, 270])
def test_a_turned_page_keeps_every_pixel(angle):
    turned = rotated(PAGE, angle)
    assert np.array_equal(turned, np.rot90(PAGE, angle // 90))
    assert np.array_equal(rotated(turned, (360 - angle) % 360), PAGE)


def test_a_page_that_nobody_looked_at_stays_as_it_is():
    assert rotated(PAGE, -1) is PAGE


def test_boxes_without_a_whole_pixel_are_left_out():
    quads = np.stack([box(5, 5, 50, 20), box(7, 7, 7, 7), box(10, 30, 40, 38)])
    lines, kept = cut_lines(PAGE, quads)
    assert np.array_equal(kept, quads[[0, 2]])
    assert [(line.width, line.height) for line in lines] == [(45, 15), (30, 8)]
    assert all(np.array_equal(line.quad, quad) for line, quad in zip(lines, kept, strict=True))


def test_no_boxes_give_no_lines():
    lines, kept = cut_lines(PAGE, np.empty((0, 4, 2), np.int16))
    assert lines == [] and kept.shape == (0, 4, 2)


def test_an_upright_column_is_laid_down():
    (line,), _ = cut_lines(PAGE, box(10, 2, 18, 38)[np.newaxis])
    assert (line.width, line.height, line.ratio) == (36, 8, 4.5)


def test_only_class_1_is_turned():
    lines = [Line(PAGE, box(0, 0, 9, 9), 9, 9) for _ in range(3)]
    assert [line.flip for line in flipped(lines, [0, 1, -1])] == [False, True, False]
    assert not any(line.flip for line in lines)
