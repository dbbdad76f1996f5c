import numpy as np
import pytest

from pipelines.core.word_boxes import Trace, words_of
from tests.model_dirs import box

#: 200 px in 20 steps: ten pixels a step.
LINE = box(100, 50, 300, 80)


def read(text, steps=None, quad=LINE, columns=20.0, flip=False):
    steps = range(len(text)) if steps is None else steps
    return words_of(Trace(list(text), np.array(steps, np.int32), columns), quad, flip)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hello", ["hello"]),
        ("a b", ["a", " ", "b"]),
        ("你好", ["你", "好"]),
        ("你好ok好", ["你", "好", "ok", "好"]),
        ("v1.5", ["v1.5"]),
        ("v.a", ["v", ".", "a"]),
        ("5.", ["5", "."]),
        (".5", [".", "5"]),
        ("VGG-16", ["VGG-16"]),
        ("a--", ["a--"]),
        ("-a", ["-", "a"]),
        ("(a), b", ["(", "a", "), ", "b"]),
        ("é1", ["é", "1"]),
        ("你-1", ["你", "-", "1"]),
        ("", []),
    ],
)
def test_words(text, words):
    found, boxes = read(text)
    assert found == words
    assert boxes.shape == (len(words), 4)
    assert boxes.dtype == np.int32


def test_a_word_takes_the_steps_from_its_first_to_its_last_character():
    _, boxes = read("ab cd", [2, 4, 7, 9, 12])
    assert boxes.tolist() == [[120, 50, 150, 80], [170, 50, 180, 80], [190, 50, 230, 80]]


def test_fractions_of_a_step_are_cut_off():
    _, boxes = read("a", [1], columns=7.0)
    assert boxes.tolist() == [[100 + 28, 50, 100 + 57, 80]]


def test_a_chinese_character_is_as_wide_as_the_pitch_of_its_run():
    # Three in steps 4 to 8: 50 px for two gaps.
    _, boxes = read("你好吗", [4, 6, 8])
    assert boxes.tolist() == [[132, 50, 157, 80], [152, 50, 177, 80], [172, 50, 197, 80]]


def test_one_chinese_character_takes_an_even_share_of_the_line():
    _, boxes = read("ab好", [0, 1, 10], columns=20.0)
    width = 200 / 3
    first, last = int(105 - width / 2), int(105 + width / 2)
    assert boxes.tolist()[-1] == [100 + first, 50, 100 + last, 80]


def test_a_chinese_character_at_an_end_stays_in_its_line():
    _, boxes = read("你好", [0, 19])
    assert boxes[:, [0, 2]].min() >= 100
    assert boxes[:, [0, 2]].max() <= 300


def test_a_line_on_its_head_begins_at_the_other_end():
    words, boxes = read("ab c", [0, 1, 2, 3], flip=True)
    assert words == ["ab", " ", "c"]
    assert boxes.tolist() == [[280, 50, 300, 80], [270, 50, 280, 80], [260, 50, 270, 80]]


def test_a_line_that_is_read_downwards():
    _, boxes = read("ab", [0, 19], quad=box(10, 100, 40, 300))
    assert boxes.tolist() == [[10, 100, 40, 300]]
    _, boxes = read("a b", [0, 2, 19], quad=box(10, 100, 40, 300))
    assert boxes.tolist() == [[10, 100, 40, 110], [10, 120, 40, 130], [10, 290, 40, 300]]
