"""Slow twin of kernels/series.pyx: scikit-learn's arithmetic, and pandas' calendar time by time."""

import numpy as np
import pandas as pd


def standardize(values, mean, scale, out):
    values -= mean
    values /= scale
    out[...] = values.astype(np.float32)


def calendar_features(seconds, out):
    for row, second in zip(out, seconds, strict=True):
        at = pd.Timestamp(np.datetime64(int(second), "s"))
        four = (
            at.hour / 23.0 - 0.5,
            at.day / 30.0 - 0.5,
            at.day_of_week / 6.0 - 0.5,
            at.day_of_year / 364.0 - 0.5,
        )
        row[:] = (
            four
            if len(row) == 4
            else (at.minute / 59 - 0.5, *four, at.month / 11.0 - 0.5, at.isocalendar().week / 51.0 - 0.5)
        )
