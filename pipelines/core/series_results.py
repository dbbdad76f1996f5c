"""What comes out of a time-series model, as PaddleX prints it (API reference, 10.10 to 10.12)."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from .errors import EngineError
from .series import Window
from .series_plot import Line, Plot
from .series_yml import SeriesInfo

#: Between these sizes orjson writes a float32 as NumPy does, twenty times as fast.
_SMALL, _LARGE = 1e-4, 1e13


class SeriesResult(msgspec.Struct, frozen=True):
    """A forecast, or labels of anomalies.

    Attributes:
        csv: UTF-8 of ``DataFrame.to_csv``.
        plot: what 3.x draws, or None when nobody wants it.
    """

    csv: bytes
    plot: Plot | None = None


class ClassResult(msgspec.Struct, frozen=True):
    """A class: its number as text, and its probability. ``plot`` as in :class:`SeriesResult`."""

    label: str
    score: float
    plot: Plot | None = None


def forecast(window: Window, about: SeriesInfo, output: NDArray[np.float32]) -> SeriesResult:
    """From a model's answer, float32 ``[horizon, columns]``, in the units of the CSV.

    Raises:
        BadRequest: the times are not evenly spaced, so nobody knows what comes next.
        EngineError: the model answers with another number of columns.
    """
    columns = [about.columns[place] for place in about.target]
    values = output.reshape(len(output), -1)
    if not values.size or values.shape[1] != len(columns):
        raise EngineError(f"a forecast of shape {output.shape} for {len(columns)} columns")
    if about.is_scaled:  # in single precision, as scikit-learn does with single numbers
        values = values * about.scale[list(about.target)].astype(np.float32)
        values += about.mean[list(about.target)].astype(np.float32)
    times = window.times.after(len(values), about.time_col or "", window.numbers)
    labels = times.labels()
    plot = None
    if window.history is not None:
        drawn = min(len(values), len(window.history.labels))
        past = Line(
            "Actual Data", "blue", window.history.labels[-drawn:], window.history.values[-drawn:], dashed=True
        )
        future = Line("Forecast", "red", labels, values[:, 0].astype(np.float64))
        plot = Plot("Time Series Forecast", columns[0], [past, future])
    return SeriesResult(csv_text(about.time_col, columns, labels, number_cells(values)), plot)


def anomalies(
    window: Window, about: SeriesInfo, output: NDArray[np.float32], *, plotted: bool
) -> SeriesResult:
    """From a model's reconstruction, float32 ``[rows, columns]``: 1 where the mean square error is too large.

    Raises:
        EngineError: the model answers with another shape.
    """
    seen = window.values[:, about.compared]
    if output.shape != seen.shape:
        raise EngineError(f"a reconstruction of shape {output.shape} for {seen.shape}")
    found = np.square(output - seen).mean(axis=-1) >= about.threshold
    labels = window.times.labels()
    plot = None
    if plotted:
        line = Line("Anomaly", "red", labels, found.astype(np.float64), stepped=True)
        plot = Plot("Time Series Anomaly Detection", "label", [line])
    cells = ["1" if one else "0" for one in found.tolist()]
    return SeriesResult(csv_text(about.time_col, ["label"], labels, cells), plot)


def classification(window: Window, output: NDArray[np.float32]) -> ClassResult:
    """From a model's logits, float32 ``[classes]``: the largest after a softmax."""
    shifted = np.exp(output - output.max())
    scores = shifted / shifted.sum()
    best = int(scores.argmax())
    plot = None
    if window.history is not None:
        rows = [str(row) for row in range(len(window.history.values))]
        line = Line(f"Predicted classid: {best}", "blue", rows, window.history.values)
        plot = Plot("Time Series input_ts with Predicted Labels", "Value", [line])
    return ClassResult(str(best), float(scores[best]), plot)


def csv_text(
    time_col: str | None, columns: Sequence[str], labels: Sequence[str], cells: Sequence[str]
) -> bytes:
    """A CSV as ``DataFrame.to_csv`` writes it: the times in front, a line feed behind every line.

    Args:
        time_col: header of the first column; None is an empty one.
        columns: header of the others.
        labels: times, one per row; they need no quotes.
        cells: the rest of each row, separated by commas.
    """
    head = io.StringIO()
    csv.writer(head, lineterminator="\n").writerow([time_col or "", *columns])
    rows = "".join([f"{label},{rest}\n" for label, rest in zip(labels, cells, strict=True)])
    return (head.getvalue() + rows).encode()


def number_cells(values: NDArray[np.float32]) -> list[str]:
    """float32 ``[rows, columns]`` as text, columns separated by commas: the shortest that names the number.

    NaN is empty, as ``to_csv`` writes it.
    """
    size = np.abs(values)
    if (((size >= _SMALL) & (size < _LARGE)) | (size == 0)).all():
        printed = orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY)
        return printed[2:-2].decode().split("],[")
    return [",".join("" if np.isnan(value) else str(value) for value in row) for row in values]
