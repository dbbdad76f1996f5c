"""Times of the rows of a series: order, gaps, what comes next, how they are printed (API reference, 9.10).

Whole numbers, and dates in whole seconds that are evenly spaced, are done in NumPy. Everything else that
pandas knows (months, business days, time zones, fractions of seconds) is done by pandas.
"""

from __future__ import annotations

import re
import warnings
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.csvtext import NEITHER, WHOLE

from .errors import BadRequest, ConfigError
from .series_csv import TimeCells

_DAY = 86400
#: Steps up to so many days are what pandas infers from evenly spaced dates; from 26 days on three dates may
#: look like months instead ("the first business day of each").
_LONGEST_EVEN = 25 * _DAY
#: Fewer dates have no frequency that could be inferred.
_FEWEST = 3
#: Frequencies as they were written before pandas 2.2, which exported models still name.
_OLD_NAMES = {
    "H": "h", "T": "min", "S": "s", "L": "ms", "U": "us", "N": "ns", "BH": "bh", "M": "ME", "BM": "BME",
    "SM": "SME", "Q": "QE", "BQ": "BQE", "A": "YE", "Y": "YE", "BA": "BYE", "BY": "BYE", "AS": "YS",
}  # fmt: skip
_FREQUENCY = re.compile(r"\s*([+-]?\d*)\s*([A-Za-z]+)(-[A-Za-z]+)?\s*")


class Frequency:
    """``info_params.freq`` of dates.

    Attributes:
        offset: pandas' offset.
        seconds: its length where it is always the same and whole, else 0.

    Args:
        text: ``1h``, ``7D``, ``ME``; also the names of older versions, such as ``H``.

    Raises:
        ConfigError: pandas does not know it.
    """

    def __init__(self, text: str) -> None:
        from pandas.tseries.frequencies import to_offset  # noqa: PLC0415 - see series_csv.py
        from pandas.tseries.offsets import Day, Tick  # noqa: PLC0415

        found = _FREQUENCY.fullmatch(text)
        if found and found[2] in _OLD_NAMES:
            text = f"{found[1]}{_OLD_NAMES[found[2]]}{found[3] or ''}"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of names that a later pandas will not know
                self.offset = to_offset(text)
        except ValueError as error:
            raise ConfigError(f"info_params.freq: {text!r} is no frequency") from error
        nanoseconds = self.offset.nanos if isinstance(self.offset, Tick) else 0
        if isinstance(self.offset, Day):
            nanoseconds = self.offset.n * _DAY * 10**9
        self.seconds = nanoseconds // 10**9 if nanoseconds > 0 and nanoseconds % 10**9 == 0 else 0


class Times(ABC):
    """Times of rows, ascending."""

    @abstractmethod
    def labels(self) -> list[str]:
        """As ``DataFrame.to_csv`` prints an index."""

    @abstractmethod
    def after(self, count: int, column: str, numbers: NDArray[np.int64]) -> Times:
        """The next ``count`` times.

        Raises BadRequest when these are not evenly spaced; ``column`` and the rows' ``numbers`` say where.
        """

    def seconds(self, more: int) -> NDArray[np.int64]:
        """Seconds since 1970-01-01 on the clock of these and ``more`` future times, for time features."""
        raise BadRequest("The times of this model must be dates")


class Numbers(Times):
    """Whole numbers without gaps."""

    def __init__(self, start: int, step: int, count: int) -> None:
        self._start, self._step, self._count = start, step, count

    def labels(self) -> list[str]:
        """Decimal."""
        return [str(self._start + place * self._step) for place in range(self._count)]

    def after(self, count: int, column: str, numbers: NDArray[np.int64]) -> Numbers:
        """They have no gaps."""
        return Numbers(self._start + self._count * self._step, self._step, count)


class Moments(Times):
    """Dates in whole seconds without time zone: int64 seconds since 1970-01-01."""

    def __init__(self, at: NDArray[np.int64], frequency: Frequency | None) -> None:
        self._at, self._frequency = at, frequency

    def labels(self) -> list[str]:
        """Without the time where all are midnight."""
        if not (self._at % _DAY).any():
            return [str(day) for day in (self._at // _DAY).astype("M8[D]")]
        return [str(moment).replace("T", " ") for moment in self._at.astype("M8[s]")]

    def after(self, count: int, column: str, numbers: NDArray[np.int64]) -> Times:
        """By the model's frequency, from one step of these times on."""
        steps = np.diff(self._at)
        even = len(steps) >= _FEWEST - 1 and (steps == steps[0]).all() and 0 < steps[0] <= _LONGEST_EVEN
        if not even or (self._frequency is not None and not self._frequency.seconds):
            return self._by_pandas().after(count, column, numbers)
        step = self._frequency.seconds if self._frequency is not None else int(steps[0])
        return Moments(self._at[-1] + steps[0] + step * np.arange(count), self._frequency)

    def seconds(self, more: int) -> NDArray[np.int64]:
        """The model's frequency from the last of these times on."""
        if self._frequency is None or not self._frequency.seconds:
            return self._by_pandas().seconds(more)
        future = self._at[-1] + self._frequency.seconds * np.arange(1, more + 1)
        return np.concatenate([self._at, future])

    def _by_pandas(self) -> PandasMoments:
        import pandas as pd  # noqa: PLC0415 - see series_csv.py

        return PandasMoments(pd.DatetimeIndex(self._at.astype("M8[s]")), self._frequency)


class PandasMoments(Times):
    """Any dates, as a sorted ``pandas.DatetimeIndex``."""

    def __init__(self, index: Any, frequency: Frequency | None) -> None:
        self._index, self._frequency = index, frequency

    def labels(self) -> list[str]:
        """As pandas prints them."""
        import pandas as pd  # noqa: PLC0415 - see series_csv.py

        printed = pd.Series(0, index=self._index).to_csv(header=False)
        return [line.rpartition(",")[0] for line in printed.splitlines()]

    def after(self, count: int, column: str, numbers: NDArray[np.int64]) -> Times:
        """By the model's frequency, from one inferred step on."""
        import pandas as pd  # noqa: PLC0415 - see series_csv.py

        inferred = self._inferred()
        if inferred is None:
            place = _uneven(self._index.asi8)
            raise BadRequest(f"Column `{column}` is not evenly spaced in row {numbers[place]}")
        offset = self._frequency.offset if self._frequency is not None else inferred
        try:
            return PandasMoments(
                pd.date_range(self._index[-1] + inferred, periods=count, freq=offset), self._frequency
            )
        except (ValueError, OverflowError) as error:  # beyond the years that pandas knows
            raise BadRequest(f"Column `{column}` is too late for a forecast") from error

    def seconds(self, more: int) -> NDArray[np.int64]:
        """The model's frequency from the last of these times on."""
        import pandas as pd  # noqa: PLC0415 - see series_csv.py

        offset = self._frequency.offset if self._frequency is not None else self._inferred()
        if offset is None:
            raise BadRequest("The times are not evenly spaced")
        try:
            future = pd.date_range(self._index[-1], periods=more + 2, freq=offset)
        except (ValueError, OverflowError) as error:
            raise BadRequest("The times are too late for a forecast") from error
        # date_range moves a start that is no multiple of the offset to the next one, which is future already.
        future = future[future > self._index[-1]][:more]
        clock = self._index.append(future).tz_localize(None).as_unit("s")
        return np.asarray(clock.asi8, dtype=np.int64)

    def _inferred(self) -> Any:
        """The offset that pandas sees between these dates, or None."""
        import pandas as pd  # noqa: PLC0415 - see series_csv.py
        from pandas.tseries.frequencies import to_offset  # noqa: PLC0415

        if len(self._index) < _FEWEST:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a later pandas gives the offset itself, which is as good
            return to_offset(pd.infer_freq(self._index))


def sorted_times(
    cells: TimeCells,
    column: str,
    freq: str | int | None,
    frequency: Frequency | None,
    numbers: NDArray[np.int64],
) -> tuple[Times, NDArray[np.intp]]:
    """The times of a column in ascending order, and which row each comes from.

    Args:
        cells: as they were read.
        column: its name, for messages.
        freq: the model's.
        frequency: the same as one of dates; None where it is none.
        numbers: of the rows, for messages.

    Raises:
        BadRequest: neither dates nor whole numbers, not what the model was made for, numbers with gaps.
    """
    whole = cells.kind == WHOLE or (cells.kind == NEITHER and cells.series.dtype.kind in "iu")
    if whole and not isinstance(freq, str):
        values = cells.numbers if cells.kind == WHOLE else cells.series.to_numpy()
        return _whole(values, column, freq or 1, numbers)
    if isinstance(freq, int):
        place = _first_odd(cells)
        raise BadRequest(f"Column `{column}` must hold whole numbers; row {numbers[place]} does not")
    if cells.kind not in (NEITHER, WHOLE):
        order = np.argsort(cells.numbers, kind="stable")
        return Moments(cells.numbers[order], frequency), order
    index = _dates(cells, column, numbers)
    order = index.argsort()
    return PandasMoments(index[order], frequency), order


def _whole(
    values: NDArray[np.int64], column: str, step: int, numbers: NDArray[np.int64]
) -> tuple[Numbers, NDArray[np.intp]]:
    order = np.argsort(values, kind="stable")
    ascending = values[order]
    wrong = np.flatnonzero(np.diff(ascending) != step)
    if len(wrong):
        place = wrong[0]
        rule = "repeats a time" if ascending[place] == ascending[place + 1] else f"has no step of {step}"
        raise BadRequest(f"Column `{column}` {rule} in row {numbers[order[place + 1]]}")
    return Numbers(int(ascending[0]), step, len(values)), order


def _dates(cells: TimeCells, column: str, numbers: NDArray[np.int64]) -> Any:
    """A DatetimeIndex of what pandas takes for dates; whole numbers count as text, as in PaddleX."""
    import pandas as pd  # noqa: PLC0415 - see series_csv.py

    series = pd.Series(cells.numbers) if cells.kind == WHOLE else cells.series
    empty = np.flatnonzero(series.isna())
    if len(empty):
        raise BadRequest(f"Column `{column}` has no value in row {numbers[empty[0]]}")
    if series.dtype.kind in "iu":
        series = series.astype(str)
    if not pd.api.types.is_string_dtype(series.dtype):
        raise BadRequest(f"Column `{column}` holds neither dates nor whole numbers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a format could not be inferred
        try:
            return pd.DatetimeIndex(pd.to_datetime(series))
        except (ValueError, OverflowError, TypeError) as error:
            wrong = [place for place, cell in enumerate(series) if not _is_date(cell)]
            where = f" in row {numbers[wrong[0]]}" if wrong else ": they are not all written alike"
            raise BadRequest(f"Column `{column}` holds no dates{where}") from error


def _is_date(cell: Any) -> bool:
    import pandas as pd  # noqa: PLC0415 - see series_csv.py

    return not pd.isna(pd.to_datetime(cell, errors="coerce"))


def _first_odd(cells: TimeCells) -> int:
    """The first cell that is no whole number; of a kernel's dates the first of all."""
    if cells.series is None:
        return 0
    for place, cell in enumerate(cells.series):
        if not re.fullmatch(r"\s*[+-]?\d+\s*", str(cell)):
            return place
    return 0


def _uneven(at: NDArray[np.int64]) -> int:
    """The first place whose distance from the one before is not the usual one."""
    steps = np.diff(at)
    if not len(steps):
        return 0
    kinds, counts = np.unique(steps, return_counts=True)
    return int(np.flatnonzero(steps != kinds[counts.argmax()])[:1].sum()) + 1
