import cv2
import numpy as np
import pytest

from pipelines.core.errors import ConfigError, EngineError
from pipelines.core.lines import Line
from pipelines.stages.text_recognition import RUN_COLUMNS, TextRecognition
from tests.model_dirs import ALPHABET, RECOGNITION, Scripted, box, model, spelled


def stage(tmp_path, **post):
    described = {**RECOGNITION, "PostProcess": {**RECOGNITION["PostProcess"], **post}}
    return TextRecognition(model(tmp_path, described), "x")


def line(width, height=48, value=0):
    return Line(np.full((height, width, 3), value, np.uint8), box(0, 0, width, height), width, height)


def reads_brightness(tensor):
    """Spells the brightness of the first pixel in hexadecimal, so an answer names its line."""
    values = [round((one[0, 0, 0] + 1) / 2 * 255) for one in tensor]
    return spelled(ALPHABET, [f"{value:x}" for value in values], max(4, tensor.shape[3] // 8))


def run(recognition, engine, calls):
    return [text for answer in recognition.run(engine, [call.input for call in calls]) for text in answer]


@pytest.mark.parametrize(
    ("width", "height", "canvas"),
    [(48, 48, 320), (320, 48, 320), (1000, 48, 1000), (9000, 48, 3200), (100, 7, 685)],
)
def test_a_group_of_one_is_as_wide_as_paddlex_makes_it(tmp_path, width, height, canvas):
    calls, order = stage(tmp_path).grouped([line(width, height)], 6)
    assert [call.key for call in calls] == [canvas] and order == [0]


def test_groups_are_sorted_by_ratio_and_as_wide_as_their_widest(tmp_path):
    lines = [line(width) for width in (900, 100, 500, 700, 200, 1500, 330, 40)]
    calls, order = stage(tmp_path).grouped(lines, 3)
    assert [[member.width for member in call.input.lines] for call in calls] == [
        [40, 100, 200],
        [330, 500, 700],
        [900, 1500],
    ]
    assert [call.key for call in calls] == [320, 700, 1500]
    assert [lines[index].width for index in order] == sorted(member.width for member in lines)


def test_a_tight_width_depends_on_the_line_alone(tmp_path):
    recognition = stage(tmp_path)
    widths = [1, 64, 65, 100, 319, 512, 513, 1280, 1281, 3190, 9000]
    together = [call.key for call in recognition.tight([line(width) for width in widths])]
    apart = [recognition.tight([line(width)])[0].key for width in widths]
    assert together == apart
    assert together == [64, 64, 96, 128, 320, 512, 576, 1280, 1408, 3200, 3200]


def test_the_2024_generation_reads_line_by_line_and_squeezes_later(tmp_path):
    recognition = stage(tmp_path)
    assert [call.key for call in recognition.alone([line(100), line(5000), line(30000)])] == [
        320,
        5000,
        12800,
    ]


def test_the_tensor_is_the_resized_line_on_a_grey_canvas(tmp_path):
    picture = np.random.default_rng(1).integers(0, 256, (20, 50, 3), np.uint8)
    recognition, engine = stage(tmp_path), Scripted(reads_brightness)
    recognition.run(engine, [recognition.alone([Line(picture, box(0, 0, 50, 20), 50, 20)])[0].input])
    resized = cv2.resize(picture, (120, 48)).astype(np.float32)
    np.testing.assert_array_equal(
        engine.seen[0][0, :, :, :120], ((resized / 255 - 0.5) / 0.5).transpose(2, 0, 1)
    )
    assert not engine.seen[0][0, :, :, 120:].any() and engine.seen[0].shape[3] == 320


def test_a_flipped_line_is_turned_before_it_is_read(tmp_path):
    picture = np.zeros((48, 96, 3), np.uint8)
    picture[-1, -1] = 255
    recognition, engine = stage(tmp_path), Scripted(reads_brightness)
    turned = Line(picture, box(0, 0, 96, 48), 96, 48, flip=True)
    run(recognition, engine, recognition.tight([turned]))
    assert (engine.seen[0][0, :, 0, 0] == 1.0).all() and (engine.seen[0][0, :, -1, 95] == -1.0).all()


def test_every_line_gets_its_own_text_in_groups_of_any_size(tmp_path):
    recognition, engine = stage(tmp_path), Scripted(reads_brightness)
    lines = [line(width, value=value) for value, width in enumerate((900, 100, 500, 700, 200, 1500, 30), 17)]
    for size in (1, 3, 6, 20):
        calls, order = recognition.grouped(lines, size)
        widths = {call.key for call in calls}
        texts = [
            text
            for width in widths
            for text in run(recognition, engine, [c for c in calls if c.key == width])
        ]
        places = [index for width in widths for call, index in _places(calls, order) if call.key == width]
        read = dict(zip(places, [text.text for text in texts], strict=True))
        assert [read[index] for index in range(7)] == [f"{value:x}" for value in range(17, 24)]


def _places(calls, order):
    owners = [call for call in calls for _ in call.input.lines]
    return list(zip(owners, order, strict=True))


def test_runs_are_bounded_and_groups_stay_whole(tmp_path):
    recognition, engine = stage(tmp_path), Scripted(reads_brightness)
    calls, _ = recognition.grouped([line(100) for _ in range(20)], 5)
    run(recognition, engine, calls)
    assert [len(tensor) for tensor in engine.seen] == [5, 5, 5, 5]
    engine.seen.clear()
    width = RUN_COLUMNS // 3
    run(recognition, engine, recognition.tight([line(width - width % 32) for _ in range(7)]))
    assert [len(tensor) for tensor in engine.seen] == [3, 3, 1]


def test_repeats_and_blanks_collapse_and_the_score_is_the_mean(tmp_path):
    answer = np.full((1, 6, 18), 0.01, np.float32)
    for step, (index, score) in enumerate([(1, 0.9), (1, 0.8), (0, 0.7), (1, 0.6), (17, 0.5), (0, 0.9)]):
        answer[0, step, index] = score
    (call,) = (recognition := stage(tmp_path)).tight([line(48)])
    (((text),),) = recognition.run(Scripted(lambda _: answer), [call.input])
    assert text.text == "00 " and text.score == pytest.approx((0.9 + 0.6 + 0.5) / 3)


def test_an_empty_line_has_score_0(tmp_path):
    (call,) = (recognition := stage(tmp_path)).tight([line(48)])
    ((text,),) = recognition.run(Scripted(lambda _: spelled(ALPHABET, [""], 8)), [call.input])
    assert (text.text, text.score, text.trace.characters, len(text.trace.steps)) == ("", 0.0, [], 0)


def test_a_text_knows_where_its_characters_are(tmp_path):
    recognition = stage(tmp_path)
    # 48 px of a canvas of 64: of its eight steps the line has six.
    (call,) = recognition.tight([line(48)])
    ((text,),) = recognition.run(Scripted(lambda _: spelled(ALPHABET, ["ab"], 8)), [call.input])
    assert text.trace.characters == list(text.text)
    assert text.trace.columns == pytest.approx(8 * 48 / call.input.width)
    # Together with a longer one, as PaddleX pads: the share of the widest ratio.
    (both,), _ = recognition.grouped([line(96), line(960)], 2)
    found = recognition.run(Scripted(lambda _: spelled(ALPHABET, ["a", "b"], 40)), [both.input])
    assert [text.trace.columns for text in found[0]] == pytest.approx([4, 40])


def test_a_dictionary_that_is_too_short_for_the_model_is_an_error(tmp_path):
    (call,) = (recognition := stage(tmp_path)).tight([line(48)])
    with pytest.raises(EngineError, match="has 30 classes, its dictionary 18"):
        recognition.run(Scripted(lambda _: np.zeros((1, 4, 30), np.float32)), [call.input])


@pytest.mark.parametrize(
    ("post", "message"),
    [
        ({"character_dict": ["a", 1]}, "something else than text"),
        ({"character_dict": None}, "CTCLabelDecode"),
        ({"name": "AttnLabelDecode"}, "CTCLabelDecode"),
    ],
)
def test_another_kind_of_recogniser_is_refused(tmp_path, post, message):
    with pytest.raises(ConfigError, match=message):
        stage(tmp_path, **post)
