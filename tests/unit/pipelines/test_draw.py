import logging
import random

import cv2
import numpy as np
import pytest

from pipelines.core import draw
from pipelines.core.draw import Pen, jpeg, ocr_picture, preprocessing_picture
from pipelines.core.errors import ConfigError
from pipelines.core.models import ModelStore
from tests.model_dirs import box


@pytest.fixture(scope="module")
def pen():
    return Pen(ModelStore().font)


@pytest.fixture
def no_pen():
    def font():
        raise ConfigError("no network")

    draw._tell_once.cache_clear()
    yield lambda: Pen(font)
    draw._tell_once.cache_clear()


def test_without_a_font_nothing_fails_and_one_line_says_why(no_pen, caplog):
    page = np.full((60, 80, 3), 200, np.uint8)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            picture = ocr_picture(page, box(10, 10, 60, 40)[np.newaxis], ["text"], no_pen())
    assert [record.getMessage() for record in caplog.records] == [
        "pictures are drawn without text, there is no font: ConfigError: no network"
    ]
    assert picture.shape == (60, 160, 3)
    assert (picture[12:38, 80 + 12 : 80 + 58] == 255).all()  # a white box with an outline
    assert not (picture[10, 80 + 10 : 80 + 60] == 255).all()


def test_a_file_that_is_no_font_counts_as_none(tmp_path):
    (tmp_path / "font.ttf").write_bytes(b"no font")
    draw._tell_once.cache_clear()
    assert (Pen(lambda: str(tmp_path / "font.ttf")).line("text", 40, 20) == 255).all()


def test_what_a_font_costs_is_paid_once_in_a_process():
    one, other = Pen(ModelStore().font), Pen(ModelStore().font)
    assert one.font(20) is other.font(20)
    assert one.font(20) is not one.font(21)


def test_left_is_the_page_under_the_palette_of_the_reference(pen):
    page = np.full((50, 100, 3), 100, np.uint8)
    quads = np.stack([box(5, 5, 40, 20), box(50, 25, 90, 45)])
    left = ocr_picture(page, quads, ["a", "b"], pen)[:, :100]
    palette = random.Random(0)
    for x, y in ((20, 12), (70, 35)):
        red, green, blue = (palette.randint(0, 255) for _ in range(3))
        expected = (np.array([blue, green, red]) + 100) / 2
        np.testing.assert_allclose(left[y, x], expected, atol=1)
    assert (left[0] == 100).all()


def test_right_holds_the_text_in_its_place_only(pen):
    page = np.zeros((100, 300, 3), np.uint8)
    right = ocr_picture(page, box(100, 40, 250, 70)[np.newaxis], ["页面 Page 42"], pen)[:, 300:]
    inside = right[42:69, 102:249]
    assert (inside < 128).any() and (inside > 200).mean() > 0.5
    outside = right.copy()
    outside[40:71, 100:251] = 255
    assert (outside == 255).all()


def test_a_turned_box_turns_its_text(pen):
    page = np.zeros((200, 200, 3), np.uint8)
    quad = np.array([[20, 100], [100, 20], [120, 40], [40, 120]], np.int16)
    right = ocr_picture(page, quad[np.newaxis], ["MMMMMMMM"], pen)[:, 200:]
    rows, columns = np.nonzero((right < 60).all(axis=2))
    assert len(rows) > 50 and np.corrcoef(rows, columns)[0, 1] < -0.8


def test_upright_boxes_are_written_downwards(pen):
    page = np.zeros((220, 60, 3), np.uint8)
    right = ocr_picture(page, box(20, 10, 50, 210)[np.newaxis], ["一一一"], pen)[:, 60:]
    dark_rows = np.nonzero((right[12:208, 24:46] < 128).all(axis=2).any(axis=1))[0]
    assert len(np.nonzero(np.diff(dark_rows) > 3)[0]) == 2


@pytest.mark.parametrize(
    "quad",
    [
        pytest.param(box(0, 0, 100, 50), id="whole page"),
        pytest.param(box(-20, -10, 30, 20), id="over the edge"),
        pytest.param(box(10, 10, 10, 30), id="no width"),
        pytest.param(box(5, 5, 6, 6), id="one pixel"),
        pytest.param(box(200, 200, 260, 230), id="outside"),
    ],
)
def test_boxes_of_any_kind_are_survived(pen, quad):
    assert ocr_picture(np.zeros((50, 100, 3), np.uint8), quad[np.newaxis], ["text"], pen).shape == (
        50,
        200,
        3,
    )


def test_a_long_text_is_made_to_fit(pen):
    ink = (pen.line("W" * 30, 300, 40) < 128).any(axis=0).nonzero()[0]
    assert 240 < ink.max() < 299
    assert (pen.column("长" * 90, 30, 200) < 128).any()
    assert (pen.line("", 30, 10) == 255).all()


def test_page_preprocessing_side_by_side(pen):
    pages = [np.full((40, 120, 3), 10, np.uint8), np.full((120, 140, 3), 20, np.uint8)]
    picture = preprocessing_picture(pages, ["Original Image", "Rotated Image (True, 90)"], pen)
    assert picture.shape == (120 + 25, 260, 3)
    assert (picture[:40, :120] == 10).all() and (picture[40:120, :120] == 255).all()
    assert (picture[:120, 120:] == 20).all()
    captions = picture[120:] < 128
    assert captions[:, :120].any() and captions[:, 120:].any()


@pytest.mark.parametrize(
    ("shape", "limit", "expected"),
    [
        ((100, 300), None, (100, 300)),
        ((100, 300), (300, 300), (100, 300)),
        ((100, 300), (200, 200), (66, 200)),
        ((300, 100), (200, 200), (200, 66)),
        ((2, 900), (100, 100), (1, 100)),
    ],
)
def test_pictures_are_shrunk_to_the_limit(shape, limit, expected):
    encoded = jpeg(np.full((*shape, 3), 90, np.uint8), limit)
    assert cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR).shape[:2] == expected


def test_quality_changes_the_size():
    noise = np.random.default_rng(4).integers(0, 256, (64, 64, 3), np.uint8)
    assert len(jpeg(noise, quality=75)) < len(jpeg(noise))
