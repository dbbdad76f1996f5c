import numpy as np
import pytest

from pipelines.core.draw import Pen
from pipelines.core.draw_labels import all_labels, best_label
from pipelines.core.models import ModelStore

RED = np.array([0, 0, 255], np.uint8)


@pytest.fixture(scope="module")
def pen():
    return Pen(ModelStore().font)


def grey(height, width):
    image = np.full((height, width, 3), 90, np.uint8)
    image.flags.writeable = False
    return image


def is_red(picture):
    return (picture == RED).all(axis=2)


def test_the_best_label_stands_on_red_in_the_corner(pen):
    picture = best_label(grey(300, 400), ["tiger cat", "lynx"], [0.387, 0.2], pen)
    assert picture.shape == (300, 400, 3)
    rows, columns = np.nonzero((picture != 90).any(axis=2))
    assert (rows.min(), columns.min()) == (3, 3) and rows.max() < 40 and 60 < columns.max() < 200
    assert is_red(picture)[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].mean() > 0.5
    ink = np.nonzero((picture > 200).all(axis=2))
    assert ink[0].min() > rows.min() and ink[0].max() < rows.max()
    assert ink[1].min() > columns.min() and ink[1].max() < columns.max()


def test_a_long_label_gets_smaller_letters_down_to_a_limit(pen):
    def height(name):
        return np.nonzero(is_red(best_label(grey(300, 400), [name], [0.5], pen)).any(axis=1))[0].max()

    assert height("cat") > height("cat" * 16) > height("cat" * 400) > 3


@pytest.mark.parametrize("shape", [(1, 1), (2, 300), (300, 2), (20, 20)])
def test_pictures_of_any_size_are_survived(pen, shape):
    assert best_label(grey(*shape), ["label"], [1.0], pen).shape == (*shape, 3)
    assert all_labels(grey(*shape), ["label"], [1.0], pen).shape[1:] == (shape[1], 3)


def test_several_labels_stand_below_the_picture(pen):
    picture = all_labels(grey(200, 400), ["person", "cat"], [0.588, 0.40107], pen)
    assert picture.shape[0] > 200 and (picture[:200] == 90).all()
    under = picture[200:]
    assert is_red(under).mean() > 0.5 and (under > 200).all(axis=2).any()


def test_many_labels_take_more_rows_up_to_a_limit(pen):
    def rows(count):
        return all_labels(grey(200, 400), ["label"] * count, [0.5] * count, pen).shape[0] - 200

    assert 0 == rows(0) < rows(2) < rows(9)
    assert rows(400) == rows(100_000) <= 400


def test_without_a_font_the_picture_is_sent_as_it_is():
    def font():
        raise OSError("no font")

    blind = Pen(font)
    np.testing.assert_array_equal(best_label(grey(30, 40), ["a"], [0.5], blind), grey(30, 40))
    np.testing.assert_array_equal(all_labels(grey(30, 40), ["a"], [0.5], blind), grey(30, 40))
