"""A CSV as a time-series model sees it (API reference, 9.10)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from kernels.csvtext import csv_size
from kernels.series import calendar_features, standardize

from .errors import BadRequest
from .series_csv import CsvRows
from .series_holidays import holiday_distances
from .series_time import Frequency, Numbers, Times, sorted_times
from .series_yml import HOLIDAY_COLUMNS, KNOWN, MASK, STATIC, SeriesInfo

#: Calendar features besides the distances to holidays, with ``holiday``.
_ALL_CALENDAR = 7


class Curve(msgspec.Struct, frozen=True):
    """Points of a plot: text below the axis, and heights (NaN: a gap)."""

    labels: list[str]
    values: NDArray[np.float64]


class Window(msgspec.Struct, frozen=True):
    """What a model looks at.

    Attributes:
        values: float64 ``[rows, columns]`` of ``SeriesInfo.columns``, standardised.
        times: of the rows; ``numbers``: which rows of the CSV they are, from 1.
        tensors: float32, in the order of ``SeriesInfo.tensors``.
        history: the first target column of the CSV's last rows in their own order, or None.
    """

    values: NDArray[np.float64]
    times: Times
    numbers: NDArray[np.int64]
    tensors: list[NDArray[np.float32]]
    history: Curve | None = None


def read_window(text: memoryview, about: SeriesInfo, frequency: Frequency | None, history: int = 0) -> Window:
    """Everything that a model needs of a CSV.

    Args:
        text: the CSV.
        about: what the model wants to see.
        frequency: ``about.freq`` as one of dates, or None.
        history: rows that are to be plotted; 0 for none.

    Raises:
        BadRequest: what is wrong, with column and row.
    """
    every = about.is_whole and about.group_id is not None  # the first group may be anywhere
    table = CsvRows(text, min(csv_size(text)[0], text.nbytes if every else max(about.window, history)))
    rows = _chosen(table, about)
    times, order = _times(rows, about, frequency)
    values = rows.numbers(about.columns)[order]
    curve = _history(table, about, history) if history else None
    scaled, tensors = _tensors(values, times, about)
    return Window(scaled, times, rows.row_numbers[order], tensors, curve)


def _chosen(table: CsvRows, about: SeriesInfo) -> CsvRows:
    """The rows that the model looks at: the last of the CSV, of these the ones of the first group."""
    if about.is_whole and about.group_id is None and table.total > about.window:
        raise BadRequest(f"The CSV has {table.total} rows; the model takes at most {about.window}")
    if not about.is_whole and table.total < about.window:
        raise BadRequest(f"The CSV has {table.total} rows; the model needs at least {about.window}")
    if not table.total:
        raise BadRequest("The CSV has no rows")
    rows = table if about.is_whole else table.take(slice(len(table) - about.window, None))
    if about.group_id is None:
        return rows
    group = rows.take(rows.first_group(about.group_id))
    if len(group) > about.window or (len(group) < about.window and not about.is_whole):
        bound = "takes at most" if about.is_whole else "needs"
        found = f"The first group of column `{about.group_id}` has {len(group)} of these rows"
        raise BadRequest(f"{found}; the model {bound} {about.window}")
    return group


def _times(rows: CsvRows, about: SeriesInfo, frequency: Frequency | None) -> tuple[Times, NDArray[np.intp]]:
    if about.time_col is None:
        step = about.freq if isinstance(about.freq, int) else 1
        return Numbers(int(rows.row_numbers[0]) - 1, step, len(rows)), np.arange(len(rows))
    cells = rows.times(about.time_col)
    return sorted_times(cells, about.time_col, about.freq, frequency, rows.row_numbers)


def _history(table: CsvRows, about: SeriesInfo, count: int) -> Curve:
    """Of a file's last rows, as they stand there."""
    rows = table.take(slice(max(0, len(table) - count), None))
    labels = rows.texts(about.time_col) if about.time_col else [str(row - 1) for row in rows.row_numbers]
    return Curve(labels, rows.numbers([about.columns[about.target[0]]])[:, 0])


def _tensors(
    values: NDArray[np.float64], times: Times, about: SeriesInfo
) -> tuple[NDArray[np.float64], list[NDArray[np.float32]]]:
    """Standardise in place; tensors of all inputs. A series that is shorter than the window ends in zeros."""
    values = np.ascontiguousarray(values)
    out: NDArray[np.float32] = np.zeros((about.window, values.shape[1]), dtype=np.float32)
    standardize(values, about.mean, about.scale, out[: len(values)])
    tensors = []
    for tensor in about.tensors:
        if tensor.name == MASK:
            tensors.append((np.arange(about.window) < len(values)).astype(np.float32))
        elif tensor.name == KNOWN and about.calendar:
            tensors.append(_calendar(times, about))
        elif tensor.name == STATIC:
            tensors.append(_static(values, tensor.places, about).reshape(tensor.shape))
        else:
            tensors.append(out[:, tensor.places])
    return values, tensors


def _static(values: NDArray[np.float64], places: Sequence[int], about: SeriesInfo) -> NDArray[np.float32]:
    for place in places:
        if (values[:, place] != values[0, place]).any():
            raise BadRequest(f"Column `{about.columns[place]}` must hold one value only")
    return values[0, list(places)].astype(np.float32)


def _calendar(times: Times, about: SeriesInfo) -> NDArray[np.float32]:
    seconds = times.seconds(about.horizon)
    made: NDArray[np.float32] = np.empty((len(seconds), about.calendar), dtype=np.float32)
    if about.calendar == HOLIDAY_COLUMNS:
        calendar_features(seconds, made[:, :_ALL_CALENDAR])
        made[:, _ALL_CALENDAR:] = holiday_distances(seconds)
    else:
        calendar_features(seconds, made)
    return made
