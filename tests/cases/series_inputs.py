"""CSVs of the time-series golden cases, and the models that echo what they are given.

Made from formulas with the standard library alone, so that PaddleX's environment can import this too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple


def table(header: Sequence[str], rows: Sequence[Sequence[object]], end: str = "\n") -> str:
    return end.join(",".join(map(str, row)) for row in [header, *rows]) + end


def wave(place: int, column: int = 0) -> float:
    """A value with a few decimals that differs everywhere."""
    return round(10 * column + 5 * math.sin(place / 3 + column) + place / 7, 4)


def days(count: int, step: int = 1, start: date = date(2020, 1, 1)) -> list[date]:
    return [start + timedelta(days=step * place) for place in range(count)]


def moments(count: int, step: timedelta, start: datetime = datetime(2021, 12, 30, 20, 0)) -> list[datetime]:
    return [start + step * place for place in range(count)]


# --- the starter models ----------------------------------------------------------


class Starter(NamedTuple):
    """A model that the project ships: its name, PaddleX's model name, CSVs by name."""

    name: str
    model_name: str
    inputs: Callable[[], dict[str, str]]


def forecast_inputs() -> dict[str, str]:
    weeks, level = (
        days(120, 7, date(1999, 1, 2)),
        [round(360 + 3 * math.sin(k / 8) + k / 30, 2) for k in range(120)],
    )
    rows = list(zip(weeks, level, strict=True))
    plain = table(["date", "co2"], rows)
    slash = [(f"{day:%Y/%m/%d}", value) for day, value in rows]
    early = [(day, "no" if k < 10 else value) for k, (day, value) in enumerate(rows)]
    return {
        "plain": plain,
        "exactly enough rows": table(["date", "co2"], rows[-104:]),
        "one row too few": table(["date", "co2"], rows[-103:]),
        "windows lines": table(["date", "co2"], rows, "\r\n"),
        "byte order mark": "\ufeff" + plain,
        "quoted": plain.replace("date,co2", '"date","co2"')
        .replace("\n1999", '\n"1999')
        .replace("-02,", '-02",'),
        "every field quoted": "\n".join(
            f'"{line.replace(",", chr(34) + "," + chr(34))}"' for line in plain.split("\n")[:-1]
        ),
        "more columns": table(
            ["id", "co2", "note", "date"], [(k, v, f"n{k}", d) for k, (d, v) in enumerate(rows)]
        ),
        "rows upside down": table(["date", "co2"], rows[::-1]),
        "whole numbers": table(["date", "co2"], [(day, round(value)) for day, value in rows]),
        "slashes": table(["date", "co2"], slash),
        "with midnight": table(["date", "co2"], [(f"{day} 00:00:00", value) for day, value in rows]),
        "at noon": table(["date", "co2"], [(f"{day} 12:00", value) for day, value in rows]),
        "with time zone": table(["date", "co2"], [(f"{day} 00:00:00+02:00", value) for day, value in rows]),
        "daily": table(["date", "co2"], list(zip(days(110), level[:110], strict=True))),
        "blank lines": plain.replace("\n", "\n\n  \n"),
        "blanks around numbers": table(["date", "co2"], [(day, f" {value} ") for day, value in rows]),
        "seventeen digits": table(["date", "co2"], [(day, f"{value + 1e-12:.14f}") for day, value in rows]),
        "exponents": table(["date", "co2"], [(day, f"{value:e}") for day, value in rows]),
        "text that is not used": table(["date", "co2"], early),
        "an index in front": table(["date", "co2"], [(f"r{k}", *row) for k, row in enumerate(rows)]),
        "a gap": table(["date", "co2"], rows[:60] + rows[61:]),
        "a missing column": table(["date", "other"], rows),
        "no header": table(["1", "2"], rows),
        "text": table(["date", "co2"], [*rows[:-3], (rows[-3][0], "much"), *rows[-2:]]),
        "an empty cell": table(["date", "co2"], [*rows[:-3], (rows[-3][0], ""), *rows[-2:]]),
        "a bad date": table(["date", "co2"], [*rows[:-3], ("1999-13-41", 360.0), *rows[-2:]]),
        "numbers as dates": table(["date", "co2"], list(enumerate(level))),
        "a row too long": table(["date", "co2"], [*rows[:50], (*rows[50], 1), *rows[51:]]),
    }


def anomaly_inputs() -> dict[str, str]:
    level = [round(70 + 12 * math.sin(k / 6) + (25 if 80 < k < 86 else 0), 3) for k in range(130)]
    rows = list(enumerate(level, 1000))
    dated = [
        (f"{moment:%Y-%m-%d %H:%M:%S}", value)
        for (_, value), moment in zip(rows, moments(130, timedelta(hours=1)), strict=True)
    ]
    return {
        "plain": table(["timestamp", "value"], rows),
        "exactly enough rows": table(["timestamp", "value"], rows[-96:]),
        "negative times": table(["timestamp", "value"], [(time - 1100, value) for time, value in rows]),
        "flat": table(["timestamp", "value"], [(time, 70.5) for time, _ in rows]),
        "one row too few": table(["timestamp", "value"], rows[-95:]),
        "a gap": table(["timestamp", "value"], rows[:100] + rows[101:]),
        "a repeated time": table(["timestamp", "value"], [*rows[:100], rows[99], *rows[101:]]),
        "dates": table(["timestamp", "value"], dated),
        "broken numbers": table(["timestamp", "value"], [(time + 0.5, value) for time, value in rows]),
        "a missing column": table(["timestamp", "values"], rows),
    }


def classification_inputs() -> dict[str, str]:
    header = ["time", *(f"dim_{k}" for k in range(6))]

    def rows(speed: float, size: float, count: int = 100) -> list[list[object]]:
        return [
            [k, *(round(size * math.sin(speed * k + c) + c / 5, 5) for c in range(6))] for k in range(count)
        ]

    return {
        "slow": table(header, rows(0.05, 0.5)),
        "fast": table(header, rows(1.1, 9.0)),
        "medium": table(header, rows(0.4, 4.0)),
        "other order of columns": table(
            [header[0], *header[:0:-1]], [[r[0], *r[:0:-1]] for r in rows(0.4, 4.0)]
        ),
        "one row too many": table(header, rows(0.4, 4.0, 101)),
        "a missing column": table(header[:-1], [row[:-1] for row in rows(0.4, 4.0)]),
    }


STARTERS = {
    "ts_forecast": Starter("ts_forecast_dlinear_co2", "DLinear", forecast_inputs),
    "ts_anomaly_detection": Starter("ts_anomaly_autoencoder_ucr135", "AutoEncoder_ad", anomaly_inputs),
    "ts_classification": Starter("ts_classification_basicmotions", "TimesNet_cls", classification_inputs),
}


# --- models that echo ------------------------------------------------------------


class Echo(NamedTuple):
    """A model whose answer is its inputs.

    ``info`` and ``size`` are sections of ``inference.yml``, ``tensors`` its ``input_data`` without batch
    axis; ``columns`` of the answer; ``scaler`` its kind, fitted on ``scaled`` columns.
    """

    name: str
    info: dict[str, Any]
    tensors: dict[str, list[int]]
    inputs: dict[str, str]
    size: dict[str, int] = {"in_chunk_len": 6, "out_chunk_len": 3}
    columns: int = 1
    scaler: str = ""
    scaled: int = 1
    more: dict[str, Any] = {}
    task: str = "ts_forecast"
    model_name: str = "DLinear"


def echo_description(echo: Echo) -> dict[str, Any]:
    """``inference.yml`` of an echo model."""
    return {
        "Global": {"model_name": echo.model_name},
        "size": echo.size,
        "info_params": echo.info,
        "scale": bool(echo.scaler),
        "time_feat": False,
        "holiday": False,
        "input_data": {name: [-1, *shape] for name, shape in echo.tensors.items()},
        **echo.more,
    }


def dated(times: Sequence[object], columns: int = 1, names: Sequence[str] = ("a", "b", "c")) -> str:
    rows = [[time, *(wave(k, c) for c in range(columns))] for k, time in enumerate(times)]
    return table(["t", *names[:columns]], rows)


HOURS = moments(9, timedelta(hours=1))
PAST = {"past_target": [6, 1]}
ONE = {"time_col": "t", "target_cols": ["a"]}
MONTHS = [f"2020-{month:02}-01" for month in range(3, 12)]
MONTH_ENDS = [
    "2020-01-31",
    "2020-02-29",
    "2020-03-31",
    "2020-04-30",
    "2020-05-31",
    "2020-06-30",
    "2020-07-31",
]
BUSINESS = ["2024-02-22", "2024-02-23", "2024-02-26", "2024-02-27", "2024-02-28", "2024-02-29", "2024-03-01"]
GROUPS = table(["t", "g", "a"], [[k if k < 8 else k - 8, "x" if k < 8 else "y", wave(k)] for k in range(15)])

ECHOES = [
    Echo(
        "hours",
        {**ONE, "freq": "1h"},
        PAST,
        {"plain": dated(HOURS), "shuffled": dated(HOURS[::2] + HOURS[1::2])},
    ),
    Echo("old name of hours", {**ONE, "freq": "H"}, PAST, {"plain": dated(HOURS)}),
    Echo(
        "quarters of an hour",
        {**ONE, "freq": "15min"},
        PAST,
        {
            "plain": dated(moments(9, timedelta(minutes=15))),
            "seconds apart": dated(moments(9, timedelta(seconds=90))),
        },
    ),
    Echo(
        "milliseconds",
        {**ONE, "freq": "100ms"},
        PAST,
        {"plain": dated(moments(9, timedelta(milliseconds=100)))},
    ),
    Echo("months", {**ONE, "freq": "MS"}, PAST, {"plain": dated(MONTHS), "ends": dated(MONTH_ENDS)}),
    Echo("month ends", {**ONE, "freq": "ME"}, PAST, {"plain": dated(MONTH_ENDS)}),
    Echo(
        "business days", {**ONE, "freq": "B"}, PAST, {"plain": dated(BUSINESS), "every day": dated(days(8))}
    ),
    Echo(
        "weeks",
        {**ONE, "freq": "W-SUN"},
        PAST,
        {"sundays": dated(days(8, 7, date(2024, 1, 7))), "mondays": dated(days(8, 7, date(2024, 1, 1)))},
    ),
    Echo(
        "four weeks",
        {**ONE, "freq": "28D"},
        PAST,
        {"plain": dated(days(8, 28)), "years": dated(days(8, 365))},
    ),
    Echo(
        "numbers",
        {**ONE, "freq": 1},
        PAST,
        {"plain": dated(range(9)), "upside down": dated(range(9)[::-1]), "by two": dated(range(0, 18, 2))},
    ),
    Echo("numbers by two", {**ONE, "freq": 2}, PAST, {"plain": dated(range(0, 18, 2))}),
    Echo(
        "numbers as dates", {**ONE, "freq": "D"}, PAST, {"plain": dated([f"{day:%Y%m%d}" for day in days(9)])}
    ),
    Echo(
        "two targets",
        {"time_col": "t", "target_cols": ["b", "a"], "freq": "1h"},
        {"past_target": [6, 2]},
        {"plain": dated(HOURS, 2)},
        columns=2,
        scaler="standard",
        scaled=2,
    ),
    Echo(
        "scaled by range",
        {"time_col": "t", "target_cols": ["a"], "freq": "1h"},
        PAST,
        {"plain": dated(HOURS)},
        scaler="minmax",
    ),
    Echo(
        "features",
        {"time_col": "t", "feature_cols": ["a", "b"], "freq": "1h"},
        {"observed_cov_numeric": [6, 2]},
        {"plain": dated(HOURS, 2)},
        columns=2,
        scaler="standard",
        scaled=2,
    ),
    Echo(
        "target and feature",
        {"time_col": "t", "target_cols": ["b"], "feature_cols": ["a"], "freq": "1h"},
        {"past_target": [6, 1], "observed_cov_numeric": [6, 1]},
        {"plain": dated(HOURS, 2)},
        scaler="standard",
    ),
    Echo(
        "known",
        {"time_col": "t", "target_cols": ["a"], "known_cov_cols": ["c", "b"], "freq": "1h"},
        {"past_target": [6, 1], "known_cov_numeric": [6, 2]},
        {"plain": dated(HOURS, 3)},
        scaler="standard",
    ),
    Echo(
        "observed",
        {"time_col": "t", "target_cols": ["a"], "observed_cov_cols": ["b"], "freq": "1h"},
        {"past_target": [6, 1], "observed_cov_numeric": [6, 1]},
        {"plain": dated(HOURS, 2)},
    ),
    Echo(
        "label",
        {"time_col": "t", "label_col": ["b"], "target_cols": ["a"], "freq": "1h"},
        PAST,
        {"plain": dated(HOURS, 2)},
        scaler="standard",
    ),
    Echo(
        "skipped",
        {**ONE, "freq": "1h"},
        {"past_target": [8, 1]},
        {"plain": dated(HOURS), "too few": dated(HOURS[:7])},
        size={"in_chunk_len": 6, "out_chunk_len": 3, "skip_chunk_len": 2},
    ),
    Echo(
        "groups",
        {**ONE, "group_id": "g", "freq": 1},
        PAST,
        {
            "the last of two": table(["t", "g", "a"], [[k % 9, k // 9, wave(k)] for k in range(18)]),
            "split": GROUPS,
        },
    ),
    Echo(
        "time features",
        {**ONE, "freq": "1h"},
        {"past_target": [6, 1], "known_cov_numeric": [9, 4]},
        {
            "plain": dated(HOURS),
            "new year": dated(moments(9, timedelta(hours=1), datetime(2023, 12, 31, 17))),
            "zone": dated([f"{at}+09:00" for at in HOURS]),
        },
        more={"time_feat": True},
    ),
    Echo(
        "time features of months",
        {**ONE, "freq": "MS"},
        {"past_target": [6, 1], "known_cov_numeric": [9, 4]},
        {"plain": dated(MONTHS)},
        more={"time_feat": True},
    ),
    Echo(
        "holidays",
        {**ONE, "freq": "1D"},
        {"past_target": [6, 1], "known_cov_numeric": [9, 25]},
        {
            "plain": dated(days(9, 1, date(2024, 11, 25))),
            "spring": dated(days(9, 1, date(2023, 4, 4))),
            "leap": dated(days(9, 1, date(2020, 2, 25))),
        },
        more={"time_feat": True, "holiday": True},
    ),
    Echo(
        "holidays by the minute",
        {**ONE, "freq": "20min"},
        {"known_cov_numeric": [9, 25]},
        {"plain": dated(moments(9, timedelta(minutes=20), datetime(2022, 12, 24, 22, 40)))},
        more={"time_feat": True, "holiday": True},
    ),
]
