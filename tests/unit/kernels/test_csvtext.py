import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import csvtext
from kernels.csvtext import (
    DATE,
    MINUTE,
    NEITHER,
    SECOND,
    WHOLE,
    csv_cells,
    csv_numbers,
    csv_rows,
    csv_size,
    csv_times,
)
from tests.reference import csvtext as twin

pieces = st.sampled_from(
    [b",", b",", b"\n", b"\n", b"\r\n", b"\r", b'"', b" ", b"\t", b"a", b"1", b"1.5", b"\xff", b"x" * 61]
)
plain_pieces = st.sampled_from([b",", b"\n", b"\n", b"\r\n", b"a", b"12", b"x" * 30])
texts = st.lists(pieces, max_size=40).map(b"".join) | st.lists(plain_pieces, max_size=60).map(b"".join)


def outline(rows, text, keep):
    starts = np.full(keep, -1, np.int64)
    found = rows(text, starts)
    if found.crowded or found.open_quote:
        return found._replace(is_ascii=None), []
    return found, starts.tolist()


@settings(max_examples=400, deadline=None)
@given(texts, st.integers(0, 5))
def test_rows_equal_twin(text, keep):
    assert outline(csv_rows, text, keep) == outline(twin.csv_rows, text, keep)


@settings(max_examples=300, deadline=None)
@given(texts)
def test_rows_and_cells_are_those_of_pandas(text):
    """Shape, columns and every cell, on text that pandas reads; what it refuses is refused here.

    Not where \\r alone ends lines: pandas loses a comma that follows a blank one.
    """
    text = text.replace(b"\xff", b"y").replace(b"\r\n", b"\n").replace(b"\r", b"z").replace(b"\t", b"\r\n")
    starts = np.empty(50, np.int64)
    found = csv_rows(text, starts)
    try:
        frame = pd.read_csv(io.BytesIO(text), dtype=str, keep_default_na=False)
    except (pd.errors.EmptyDataError, pd.errors.ParserError):
        assert not found.names or found.crowded or found.open_quote
        return
    extra = found.columns - found.names if found.rows else 0
    assert (found.rows, found.names) == (len(frame), len(frame.columns))
    assert extra == (frame.index.nlevels if extra else 0)
    spans = csv_cells(text, starts[: found.rows], range(found.columns))
    for row in range(found.rows):
        for column in range(found.names):
            start, stop = spans[row, column + extra]
            if stop >= 0:
                cell = frame.iloc[row, column]
                assert text[start:stop].decode() == ("" if pd.isna(cell) else cell)


@settings(max_examples=300, deadline=None)
@given(texts, st.permutations(range(4)), st.integers(0, 4))
def test_cells_equal_twin(text, order, count):
    starts = np.empty(50, np.int64)
    found = csv_rows(text, starts)
    if found.crowded or found.open_quote:
        return
    starts, columns = starts[: found.rows], order[:count]
    ours, theirs = csv_cells(text, starts, columns), twin.csv_cells(text, starts, columns)
    ours[ours[:, :, 1] < 0] = -1
    np.testing.assert_array_equal(ours, theirs)


def test_rows_across_blocks_of_the_fast_scan():
    for length in range(1, 140):
        text = b"a,b\n" + b"1,2\n" * 20 + b"x" * length + b",3\n4,5"
        assert outline(csv_rows, text, 4) == outline(twin.csv_rows, text, 4)
        assert outline(csv_rows, text[:length], 4) == outline(twin.csv_rows, text[:length], 4)
        cut = b"a,b\r\n" * length
        for stop in (len(cut), len(cut) - 1, len(cut) - 2):
            assert outline(csv_rows, cut[:stop], 3) == outline(twin.csv_rows, cut[:stop], 3)


@settings(max_examples=200, deadline=None)
@given(texts)
def test_size_equals_twin_and_bounds_the_rows(text):
    assert csv_size(text) == twin.csv_size(text)
    found = csv_rows(text, np.empty(0, np.int64))
    assert found.rows + bool(found.names) <= csv_size(text)[0]


def test_size_counts_long_runs():
    assert csv_size(b",\n" * 100_000) == (100_000, 100_000)
    assert csv_size(b"\n" * 1000 + b"," * 1000) == (1001, 1000)


numbers = (
    st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.integers(-(10**16), 10**16).map(str)
    | st.decimals(-1000, 1000, places=9).map(str)
    | st.from_regex(r"[+-]?[0-9]{0,18}\.?[0-9]{0,6}([eE][+-]?[0-9]{0,4})?", fullmatch=True)
    | st.sampled_from(
        ["", "nan", "1 ", " 1", "1e", "e1", ".", "+", "-0", "-0.0", "0x1", "1_0", "inf", "1,5", "١"]
    )
)


def one_column(cells):
    joined = "\n".join(cells).encode()
    ends = np.cumsum([len(cell.encode()) + 1 for cell in cells])
    starts = np.concatenate([[0], ends[:-1]])
    return joined, np.stack([starts, ends - 1], axis=1).astype(np.int64)


@settings(max_examples=500, deadline=None)
@given(st.lists(numbers, min_size=1, max_size=4))
def test_numbers_equal_twin_to_the_last_bit(cells):
    text, spans = one_column(cells)
    ours, theirs = np.zeros((len(cells), 1)), np.zeros((len(cells), 1))
    fine = csv_numbers(text, spans[:, None], ours)
    assert fine == twin.csv_numbers(text, spans[:, None], theirs)
    if fine:
        np.testing.assert_array_equal(ours.view(np.int64), theirs.view(np.int64))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(-1e9, 1e9).map(repr), min_size=1, max_size=20))
def test_a_column_of_floats_equals_what_pandas_reads(cells):
    text = ("x\n" + "\n".join(cells)).encode()
    starts, values = np.empty(len(cells), np.int64), np.empty((len(cells), 1))
    csv_rows(text, starts)
    if csv_numbers(text, csv_cells(text, starts, [0]), values):
        np.testing.assert_array_equal(values[:, 0], pd.read_csv(io.BytesIO(text))["x"].to_numpy())


times = (
    st.dates().map(str)
    | st.datetimes().map(lambda at: str(at.replace(microsecond=0)))
    | st.datetimes().map(lambda at: at.isoformat(timespec="minutes"))
    | st.integers(-(10**19), 10**19).map(str)
    | st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}(:[0-9]{2})?)?", fullmatch=True)
    | st.sampled_from(
        ["2020-02-30", "2019-02-29", "2020-02-29", "2020-1-1", "2020-01-01 24:00", "", "2020-01-01Z"]
    )
)


@settings(max_examples=500, deadline=None)
@given(times, st.lists(times, max_size=2))
def test_times_equal_twin(first, others):
    text, spans = one_column([first, *others])
    ours, theirs = np.zeros(len(spans), np.int64), np.zeros(len(spans), np.int64)
    kind = csv_times(text, spans, ours)
    assert kind == twin.csv_times(text, spans, theirs)
    if kind:
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        pytest.param(["1", "-2", "+3"], WHOLE, id="whole"),
        pytest.param(["2020-01-01", "2020-01-02"], DATE, id="dates"),
        pytest.param(["2020-01-01 00:00", "2020-01-01 00:10"], MINUTE, id="minutes"),
        pytest.param(["2020-01-01T00:00:00", "2020-01-01T00:00:01"], SECOND, id="seconds"),
        pytest.param(["2020-01-01T00:00:00", "2020-01-01 00:00:01"], NEITHER, id="two-styles"),
        pytest.param(["2020-01-01", "1"], NEITHER, id="date-and-number"),
        pytest.param(["1677-12-31"], NEITHER, id="before-nanoseconds"),
    ],
)
def test_kinds_of_times(cells, kind):
    text, spans = one_column(cells)
    assert csv_times(text, spans, np.empty(len(cells), np.int64)) == kind


def test_refusals():
    text, spans = b"a\n1\n", np.array([[[2, 3]]], np.int64)
    with pytest.raises(ValueError, match="row 0 begins outside"):
        csv_cells(text, np.array([4], np.int64), [0])
    for columns in ([0, 0], [-1, 1]):
        with pytest.raises(ValueError, match="different numbers"):
            csv_cells(text, np.array([2], np.int64), columns)
    with pytest.raises(ValueError, match=r"\[N, C\]"):
        csv_numbers(text, spans, np.empty((2, 1)))
    with pytest.raises(ValueError, match=r"times \[N\]"):
        csv_times(text, spans[0], np.empty(2, np.int64))
    for bad in ((3, 2), (-1, 1), (2, 5)):
        assert not csv_numbers(text, np.array([[bad]], np.int64), np.empty((1, 1)))
        assert csv_times(text, np.array([bad], np.int64), np.empty(1, np.int64)) == NEITHER
    assert csvtext.csv_rows(b"", np.empty(3, np.int64)).names == 0
    assert csv_cells(b"", np.empty(0, np.int64), [0]).shape == (0, 1, 2)


def test_any_buffer_is_taken():
    text = memoryview(bytearray(b"a,b\n1,2\n"))
    starts, values = np.empty(3, np.int64), np.empty((1, 2))
    assert csv_rows(text, starts).rows == 1
    assert csv_numbers(text.toreadonly(), csv_cells(text, starts[:1], [1, 0]), values)
    assert values.tolist() == [[2.0, 1.0]]
