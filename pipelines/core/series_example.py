"""A CSV that a model can read, made of nothing but what its ``inference.yml`` says."""

from __future__ import annotations

import numpy as np

from .series_time import Frequency, Numbers, PandasMoments, Times
from .series_yml import SeriesInfo


def example_csv(about: SeriesInfo) -> bytes:
    """Waves around the mean of each column, in as many rows as the model wants."""
    places = np.arange(about.window)[:, np.newaxis]
    values = about.mean + about.scale * np.sin(places / 5 + np.arange(len(about.columns)))
    static = [
        about.columns[place]
        for tensor in about.tensors
        if tensor.name == "static_cov_numeric"
        for place in tensor.places
    ]
    values[:, [about.columns.index(name) for name in static]] = 1.0
    header = [about.time_col, about.group_id, *about.columns]
    quoted = [name.replace('"', '""') for name in header if name is not None]
    lines = [",".join(f'"{name}"' for name in quoted)]
    group = ["0"] if about.group_id is not None else []
    for label, row in zip(_times(about).labels(), values.tolist(), strict=True):
        times = [label] if about.time_col is not None else []
        lines.append(",".join([*times, *group, *map(repr, row)]))
    return "\n".join(lines).encode()


def _times(about: SeriesInfo) -> Times:
    if not isinstance(about.freq, str):
        return Numbers(0, about.freq or 1, about.window)
    import pandas as pd  # noqa: PLC0415 - see series_csv.py

    frequency = Frequency(about.freq)
    return PandasMoments(pd.date_range("2024-01-01", periods=about.window, freq=frequency.offset), frequency)
