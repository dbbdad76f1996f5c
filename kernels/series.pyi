"""Numbers of a time series: standardised windows, and what calendars say about times."""

import numpy as np
from numpy.typing import NDArray

#: Columns of :func:`calendar_features`.
CALENDAR: int
CALENDAR_ALL: int

def standardize(
    values: NDArray[np.float64],
    mean: NDArray[np.float64],
    scale: NDArray[np.float64],
    out: NDArray[np.float32],
) -> None:
    """``(x - mean) / scale`` per column, in double: in place and, rounded, into a model's tensor.

    Releases the GIL.

    Args:
        values: float64 ``[N, C]``, changed.
        mean, scale: float64 ``[C]``; a column that is not scaled has 0 and 1.
        out: float32 ``[N, C]``, last stride 4.

    Raises:
        ValueError: shapes that do not fit each other.
    """

def calendar_features(seconds: NDArray[np.int64], out: NDArray[np.float32]) -> None:
    """Time features of PaddleX's ``time_feat``, without holidays (API reference, 9.10).

    Releases the GIL.

    Args:
        seconds: int64 ``[N]`` since 1970-01-01, years 1 to 9999.
        out: float32 ``[N, 4]`` (hour, day of the month, weekday from Monday, day of the year) or ``[N, 7]``
            (minute, those four, month, ISO week), last stride 4.

    Raises:
        ValueError: shapes that do not fit each other, or a time outside.
    """
