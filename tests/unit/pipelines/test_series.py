import numpy as np
import pandas as pd
import pytest
import yaml

from pipelines.core.config import ModelFiles
from pipelines.core.errors import BadRequest, ConfigError
from pipelines.core.series_csv import CsvRows
from pipelines.core.series_holidays import _rules, holiday_distances
from pipelines.core.series_plot import Line, Plot, draw_plot
from pipelines.core.series_results import csv_text, number_cells
from pipelines.core.series_yml import SeriesInfo
from pipelines.stages.series import Series
from tests.model_dirs import Scripted

MODEL = {
    "Global": {"model_name": "DLinear"},
    "size": {"in_chunk_len": 4, "out_chunk_len": 2},
    "info_params": {"time_col": "t", "target_cols": ["a"], "freq": 1},
    "input_data": {"past_target": [-1, 4, 1]},
}


def folder(path, **changes):
    (path / "inference.yml").write_text(yaml.safe_dump(MODEL | changes))
    return ModelFiles("DLinear", str(path), {})


def window(path, text, **changes):
    return Series(folder(path, **changes), "x").window(memoryview(text.encode()))


ROWS = "t,a\n1,1\n2,2\n3,3\n4,4\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(ROWS.replace("a", "b"), "no column `a`", id="missing-column"),
        pytest.param("t,a\n1,1\n", "has 1 rows; the model needs at least 4", id="too-few-rows"),
        pytest.param(ROWS.replace("3,3\n", ""), "has 3 rows", id="row-left-out"),
        pytest.param("t,a\n0,0\n1,1\n2,2\n4,4\n5,5\n", "Column `t` has no step of 1 in row 4", id="gap"),
        pytest.param(ROWS.replace("3,3", "2,3"), "Column `t` repeats a time in row 3", id="repeated"),
        pytest.param(ROWS.replace("3,3", "3,x"), "Column `a` is no finite number in row 3", id="text"),
        pytest.param(ROWS.replace("3,3", "3,inf"), "Column `a` is no finite number in row 3", id="infinite"),
        pytest.param(ROWS.replace("3,3", "3,"), "Column `a` has no value in row 3", id="empty-cell"),
        pytest.param(ROWS.replace("3,3", "3,3,3"), "has 3 fields in row 3, but 2 columns", id="long-row"),
        pytest.param(ROWS.replace("3,3", "x,3"), "must hold whole numbers; row 3 does not", id="odd-time"),
        pytest.param(ROWS.replace("1,1", '"1,1'), "ends inside a quoted field", id="open-quote"),
        pytest.param("\n \n", "has no header", id="blank"),
    ],
)
def test_a_wrong_csv_is_told_what_is_wrong_and_where(tmp_path, text, message):
    with pytest.raises(BadRequest, match=message):
        window(tmp_path, text)


def test_what_is_not_utf8_is_told_where():
    with pytest.raises(BadRequest, match="not UTF-8: line 2, byte 6"):
        CsvRows(memoryview(b"t,a\n1,\xff\n"), 4)


def test_rows_are_sorted_by_whole_numbers(tmp_path):
    found = window(tmp_path, "t,a\n3,30\n1,10\n4,40\n2,20\n")
    assert found.values[:, 0].tolist() == [10, 20, 30, 40]
    assert found.numbers.tolist() == [2, 4, 1, 3]


def test_a_short_series_to_be_classified_ends_in_masked_zeros(tmp_path):
    inputs = {"features": [-1, 6, 1], "pad_mask": [-1, 6]}
    features, mask = window(tmp_path, ROWS, input_data=inputs).tensors
    assert features[:, 0].tolist() == [1, 2, 3, 4, 0, 0]
    assert mask.tolist() == [1, 1, 1, 1, 0, 0]


def test_series_of_one_shape_share_a_run(tmp_path):
    stage = Series(folder(tmp_path), "x")
    engine = Scripted(lambda tensor: tensor[:, -2:] * 10)
    texts = [ROWS, ROWS.replace("4,4", "4,9")]
    calls = [stage.call(stage.window(memoryview(text.encode()))) for text in texts]
    assert calls[0].key == calls[1].key
    answers = stage.run(engine, [call.input for call in calls])
    assert [answer[:, 0].tolist() for answer in answers] == [[30, 40], [30, 90]]
    assert len(engine.seen) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": {}}, "in_chunk_len is missing"),
        ({"input_data": {"past_target": [-1, 5, 1]}}, r"\[5, 1\], but size and info_params give \[4, 1\]"),
        ({"input_data": {"other": [-1, 4, 1]}}, "names no columns for it"),
        ({"info_params": {"time_col": "t"}}, "neither target_cols nor feature_cols"),
        (
            {"info_params": {"target_cols": ["a"], "freq": 0.5}},
            "freq must be text or a positive whole number",
        ),
        ({"scale": True}, "has no scaler.json"),
        ({"time_feat": True}, "freq must be text"),
    ],
)
def test_a_model_that_cannot_be_served_is_refused_at_the_start(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        SeriesInfo(folder(tmp_path, **changes))


def test_holiday_distances_are_those_of_pandas():
    days = pd.date_range("2019-12-20 13:00", periods=60, freq="7D")
    expected = np.array(
        [
            [
                (day - rule.dates(day - pd.Timedelta("200D"), day + pd.Timedelta("200D"))[0]).days
                for rule in _rules()
            ]
            for day in days
        ],
        dtype=np.float64,
    )
    expected = (expected - expected.mean(axis=0)) / expected.std(axis=0)
    np.testing.assert_allclose(holiday_distances(days.as_unit("s").asi8), expected, atol=1e-12)


@pytest.mark.parametrize("column", [[1.5, -0.0, 372.0], [1e-7, 1e16, np.nan], [1e13, 2.0, 3.0]])
def test_csv_is_what_pandas_writes(column):
    values = np.array([column, column[::-1]], np.float32).T
    labels, names = ["1", "2", "3"], ["a,b", 'c"d']
    frame = pd.DataFrame(values, columns=names, index=pd.Index([1, 2, 3], name="t"))
    assert csv_text("t", names, labels, number_cells(values)).decode() == frame.to_csv(lineterminator="\n")


@pytest.mark.parametrize("count", [1, 7, 9000])
@pytest.mark.parametrize("level", [0.0, -1e9, 1e-7])
def test_any_series_can_be_drawn(count, level):
    labels, values = [f"2020-{k}" for k in range(count)], np.sin(np.arange(count)) * level
    lines = [
        Line("past", "blue", labels, values, dashed=True),
        Line("next", "red", labels, values, stepped=True),
    ]
    picture = draw_plot(Plot("title", "column", lines), "")
    height, width = picture.shape[:2]
    assert 500 < height < 800 and 900 < width < 1200
    blue = (picture[..., 0] > 200) & (picture[..., 2] < 60)
    red = (picture[..., 2] > 200) & (picture[..., 0] < 60)
    assert blue.any() and red.any()
