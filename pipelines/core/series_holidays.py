"""Distances to eighteen holidays, a time feature of PaddleX (API reference, 9.10)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import BadRequest

_DAY = 86400
#: A holiday is looked for so many days to both sides: half a year and a bit.
_REACH = (183 + 17) * _DAY
#: Ranges of years whose holidays are kept.
_RANGES = 64


def holiday_distances(seconds: NDArray[np.int64]) -> NDArray[np.float64]:
    """float64 ``[rows, 18]``: whole days from the first holiday within 200 days, standardised over the rows.

    PaddleX means the nearest one and takes the first that it finds, which usually is the one behind.

    Raises:
        BadRequest: a date that is too early for one of the holidays.
    """
    first, last = (np.array([seconds.min() - _REACH, seconds.max() + _REACH]) // _DAY).astype("M8[D]")
    years = int(first.astype("M8[Y]").astype(int)) + 1970, int(last.astype("M8[Y]").astype(int)) + 1970
    days = np.empty((len(seconds), len(_rules())))
    for place, holidays in enumerate(_holidays(*years)):
        found = np.searchsorted(holidays, seconds - _REACH)
        known = found < len(holidays)
        if not known.all() or (holidays[found] > seconds + _REACH).any():
            raise BadRequest("The times of this model are too early for its holidays")
        days[:, place] = (seconds - holidays[found]) // _DAY
    spread = days.std(axis=0)
    # scikit-learn's rule for a column that does not vary: it is only centred.
    spread[spread < 10 * np.finfo(np.float64).eps] = 1.0
    return np.asarray((days - days.mean(axis=0)) / spread)


def _rules() -> list[Any]:
    """The rules, in the order of their columns."""
    from pandas import DateOffset  # noqa: PLC0415 - see series_csv.py
    from pandas.tseries import holiday as hd  # noqa: PLC0415
    from pandas.tseries.offsets import Day, Easter  # noqa: PLC0415

    def sunday(name: str, month: int, number: int) -> Any:
        return hd.Holiday(name, month=month, day=1, offset=DateOffset(weekday=hd.SU(number)))

    def after_thanksgiving(name: str, days: int) -> Any:
        return hd.Holiday(name, month=11, day=1, offset=[DateOffset(weekday=hd.TH(4)), Day(days)])

    return [
        hd.EasterMonday,
        hd.GoodFriday,
        hd.USColumbusDay,
        hd.USLaborDay,
        hd.USMartinLutherKingJr,
        hd.USMemorialDay,
        hd.USPresidentsDay,
        hd.USThanksgivingDay,
        hd.Holiday("Easter", month=1, day=1, offset=[Easter(), Day(0)]),
        hd.Holiday("New Year", month=1, day=1),
        sunday("Super Bowl", 2, 1),
        sunday("Mothers' Day", 5, 2),
        hd.Holiday("Independence Day", month=7, day=4),
        hd.Holiday("Christmas Eve", month=12, day=24),
        hd.Holiday("Christmas", month=12, day=25),
        hd.Holiday("New Year's Eve", month=12, day=31),
        after_thanksgiving("Black Friday", 1),
        after_thanksgiving("Cyber Monday", 4),
    ]


@lru_cache(maxsize=_RANGES)
def _holidays(first: int, last: int) -> tuple[NDArray[np.int64], ...]:
    """Of each rule the holidays of some years, ascending seconds since 1970-01-01."""
    import pandas as pd  # noqa: PLC0415 - see series_csv.py

    start, stop = pd.Timestamp(year=first, month=1, day=1), pd.Timestamp(year=last, month=12, day=31)
    return tuple(np.asarray(rule.dates(start, stop).as_unit("s").asi8, dtype=np.int64) for rule in _rules())
