"""Steps of the time-series pipelines: the kernels against pandas and NumPy."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from kernels.csvtext import csv_cells, csv_numbers, csv_rows, csv_size
from kernels.series import calendar_features, standardize
from tests.reference import series as series_twin

Step = Callable[[], list[np.ndarray]]


def rows(random: np.random.Generator) -> Iterator[tuple[str, Step, Step]]:
    """Name, our step, PaddleX's step; see :mod:`benchmarks.bench_kernels`."""
    text = b"t,a\n" + b"".join(b"%d,%.4f\n" % (k, v) for k, v in enumerate(random.normal(size=1000)))
    starts, values = np.empty(96, np.int64), np.empty((96, 1))

    def window():
        csv_rows(text, starts)
        csv_numbers(text, csv_cells(text, starts, [1]), values)
        return [values]

    yield ("last 96 of 1,000 rows of a CSV", window, lambda: [pd.read_csv(io.BytesIO(text))[["a"]][-96:]])
    counted = np.frombuffer(text, np.uint8)
    yield (
        "lines and commas of the CSV",
        lambda: [np.array(csv_size(text))],
        lambda: [np.array([(counted == ord(each)).sum() for each in "\n,"])],
    )
    table, mean, scale = random.normal(size=(96, 7)), random.normal(size=7), random.random(7) + 1
    mine, other = np.empty((96, 7), np.float32), np.empty((96, 7), np.float32)

    def scaled(run, out):
        run(table.copy(), mean, scale, out)
        return [out]

    yield (
        "standardise 96 x 7",
        lambda: scaled(standardize, mine),
        lambda: scaled(series_twin.standardize, other),
    )
    seconds = np.arange(96, dtype=np.int64) * 3600

    def calendar(run, out):
        run(seconds, out)
        return [out]

    yield (
        "calendar features of 96 times",
        lambda: calendar(calendar_features, mine),
        lambda: calendar(series_twin.calendar_features, other),
    )
