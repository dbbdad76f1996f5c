"""Table structure: what the network gets, and what its steps mean."""

import cv2
import numpy as np
import pytest

from pipelines.core.errors import ConfigError, EngineError
from pipelines.stages.table_structure import TableStructure
from tests.model_dirs import TABLE, Scripted, model

#: With ``<td>`` left out and ``<td></td>`` put in.
VOCABULARY = ["sos", "<tr>", "</tr>", "<td", ">", "</td>", ' colspan="2"', "<td></td>", "eos"]


def answer(tokens, corners=None, vocabulary=VOCABULARY, steps=12):
    """Outputs of a network that writes ``tokens``; cell k has its corners at (k, k + 1) / 10 unless given."""
    places, scores = np.zeros((1, steps, 8), np.float32), np.zeros((1, steps, len(vocabulary)), np.float32)
    for step, token in enumerate(tokens):
        scores[0, step, vocabulary.index(token)] = 1
        places[0, step] = [0.1, 0.2, 0.5, 0.2, 0.5, 0.4, 0.1, 0.4] if corners is None else corners
    return places, scores


class Network(Scripted):
    """Answers with both outputs."""

    def __init__(self, *outputs):
        super().__init__(lambda tensor: list(outputs))

    def run(self, feeds):
        return super().run(feeds)[0]


def stage(tmp_path, name="SLANet_plus", drop=(), **changes):
    operations = [
        {key: changes.get(key, value)}
        for operation in TABLE["PreProcess"]["transform_ops"]
        for key, value in operation.items()
        if key not in drop
    ]
    post = TABLE["PostProcess"] | changes.get("post", {})
    described = {"PreProcess": {"transform_ops": operations}, "PostProcess": post}
    return TableStructure(model(tmp_path, described, name), "fake")


def decode(stage, outputs, height=48, width=96):
    image = np.zeros((height, width, 3), np.uint8)
    (found,) = stage.run(Network(*outputs), [stage.call(image).input])
    return found


@pytest.mark.parametrize(
    ("height", "width", "resized"),
    [(60, 120, (48, 96)), (200, 100, (96, 48)), (96, 96, (96, 96)), (30, 10, (96, 32)), (3, 900, (1, 96))],
)
def test_the_tensor_is_the_resized_normalised_padded_picture(tmp_path, height, width, resized):
    image = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    table, engine = stage(tmp_path), Network(*answer(["eos"]))
    table.run(engine, [table.call(image).input])
    rows, columns = resized
    pixels = cv2.resize(image, (columns, rows)).astype(np.float32).transpose(2, 0, 1)
    scale = np.array([2 / 255, 1 / 255, 4 / 255], np.float32)[:, None, None]
    shift = np.array([-1, -0.25, 0], np.float32)[:, None, None]
    expected = np.zeros((3, 96, 96), np.float32)
    expected[:, :rows, :columns] = pixels * scale + shift
    np.testing.assert_allclose(engine.seen[0][0], expected, atol=1e-6)


def test_a_part_of_a_page_is_read_in_place(tmp_path):
    page = np.random.default_rng(1).integers(0, 256, (200, 300, 3), np.uint8)
    table, whole, part = stage(tmp_path), Network(*answer(["eos"])), Network(*answer(["eos"]))
    table.run(whole, [np.ascontiguousarray(page[20:90, 30:200])])
    table.run(part, [page[20:90, 30:200]])
    np.testing.assert_array_equal(whole.seen[0], part.seen[0])


def test_steps_become_tokens_and_cells(tmp_path):
    tokens = ["<tr>", "<td", ' colspan="2"', ">", "</td>", "<td></td>", "</tr>", "eos", "<td></td>"]
    found = decode(stage(tmp_path), answer(tokens))
    assert found.tokens == tokens[:7]
    # The square of 96 px holds 96 x 48 at its own size.
    corner = [[9, 19], [48, 19], [48, 38], [9, 38]]
    assert found.cells.tolist() == [corner, corner]


def test_a_larger_picture_has_larger_cells(tmp_path):
    found = decode(stage(tmp_path), answer(["<td></td>", "eos"]), height=960, width=480)
    assert found.cells.tolist() == [[[96, 192], [480, 192], [480, 384], [96, 384]]]


def test_slanet_gives_shares_of_the_picture_itself(tmp_path):
    found = decode(stage(tmp_path, "SLANet"), answer(["<td></td>", "eos"]), height=960, width=480)
    assert found.cells.tolist() == [[[48, 192], [240, 192], [240, 384], [48, 384]]]


def test_end_at_once_is_skipped_as_in_paddlex(tmp_path):
    assert decode(stage(tmp_path), answer(["eos", "<tr>", "eos"])).tokens == ["<tr>", "</tr>"]


def test_without_an_end_all_steps_count(tmp_path):
    found = decode(stage(tmp_path), answer(["<td></td>"] * 12))
    assert len(found.cells) == 12 and found.tokens == ["<tr>", *["<td></td>"] * 12, "</tr>"]


def test_a_table_of_nothing(tmp_path):
    found = decode(stage(tmp_path), answer(["sos", "eos"]))
    assert found.tokens == [] and found.cells.shape == (0, 4, 2)


def test_a_vocabulary_with_plain_cells(tmp_path):
    vocabulary = ["sos", *TABLE["PostProcess"]["character_dict"], "eos"]
    table = stage(tmp_path, TableLabelEncode={"merge_no_span_structure": False})
    tokens = ["<tr>", "<td>", "</td>", "</tr>", "eos"]
    found = decode(table, answer(tokens, vocabulary=vocabulary))
    assert found.tokens == tokens[:4] and len(found.cells) == 1


def test_tables_of_one_run_do_not_mix(tmp_path):
    table = stage(tmp_path)
    one, other = answer(["<td></td>", "eos"]), answer(["<tr>", "<td></td>", "<td></td>", "eos"])
    both = [np.concatenate(pair) for pair in zip(one, other, strict=True)]
    images = [np.zeros((48, 96, 3), np.uint8), np.zeros((96, 192, 3), np.uint8)]
    first, second = table.run(Network(*both), images)
    assert len(first.cells) == 1 and len(second.cells) == 2
    assert second.cells[0].tolist() == (2 * first.cells[0] + [[1, 0], [0, 0], [0, 0], [1, 0]]).tolist()


@pytest.mark.parametrize(
    "outputs",
    [
        pytest.param([], id="none"),
        pytest.param([np.zeros((1, 5, 9), np.float32)], id="scores only"),
        pytest.param(
            [np.zeros((1, 5, 8), np.float32), np.zeros((1, 5, 50), np.float32)], id="other alphabet"
        ),
        pytest.param([np.zeros((1, 5, 8), np.float32), np.zeros((1, 4, 9), np.float32)], id="other steps"),
    ],
)
def test_outputs_of_another_model_are_an_engine_error(tmp_path, outputs):
    with pytest.raises(EngineError, match="not places and scores of 9 tokens"):
        decode(stage(tmp_path), outputs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"drop": ["ResizeTableImage"]}, "transform_ops has no ResizeTableImage"),
        ({"drop": ["PaddingTableImage"]}, "transform_ops has no PaddingTableImage"),
        ({"ResizeTableImage": {"max_len": 97}}, "do not fit each other"),
        ({"PaddingTableImage": {"size": 96}}, "PaddingTableImage.size must be 2 positive integers"),
        ({"post": {"name": "CTCLabelDecode"}}, "is not TableLabelDecode"),
        ({"post": {"character_dict": None}}, "is not TableLabelDecode"),
        ({"post": {"character_dict": ["<tr>", "<script>"]}}, "'<script>', which is no part of a table"),
        ({"post": {"character_dict": [1]}}, "holds 1, which is no part of a table"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(value),
)
def test_other_descriptions_are_refused(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        stage(tmp_path, **changes)


def test_the_canary_is_a_picture(tmp_path):
    table = stage(tmp_path)
    (call,) = table.canary()
    assert table.run(Network(*answer(["eos"])), [call.input])[0].tokens == []
