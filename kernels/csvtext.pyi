"""CSV text by the rules of ``pandas.read_csv`` with its defaults: where rows and cells are, and plain values.

Nothing here is a parser that accepts everything: what is not written in the plainest way is reported as
such, and whoever called gives it to pandas.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer

#: What :func:`csv_times` finds: nothing plain, whole numbers, dates, dates with minutes or seconds.
NEITHER: int
WHOLE: int
DATE: int
MINUTE: int
SECOND: int

class Outline(NamedTuple):
    """Shape of a CSV text.

    Attributes:
        rows: lines below the header that are not blank.
        names: fields of the header, 0 when the text has no line that is not blank.
        columns: fields of a row: those of the header, or of the first row where it has more. Shorter rows
            count as filled up with empty fields.
        header, header_stop: where the header's text is, without its line end.
        crowded: (number from 1, fields) of the first row with more fields than ``columns``, or None;
            nothing behind it has been looked at.
        open_quote: the text ends inside quotes.
        is_ascii: no byte above 127 among the fields; means nothing with ``crowded`` or ``open_quote``.
    """

    rows: int
    names: int
    columns: int
    header: int
    header_stop: int
    crowded: tuple[int, int] | None
    open_quote: bool
    is_ascii: bool

def csv_size(text: Buffer) -> tuple[int, int]:
    """Upper bounds of the number of lines and of the commas in them, at the speed of memory. Releases the GIL."""

def csv_rows(text: Buffer, starts: NDArray[np.int64]) -> Outline:
    """The outline of a text. Releases the GIL.

    Args:
        text: any bytes; a byte order mark in front is skipped.
        starts: int64 ``[K]``, gets where the last K rows begin, in their order. With fewer rows the rest
            stays as it is; what it holds is undefined when ``crowded`` is set.
    """

def csv_cells(text: Buffer, starts: NDArray[np.int64], columns: Sequence[int]) -> NDArray[np.int64]:
    """Where the cells of some rows are: start and stop of their text, without quotes around it.

    An absent field is empty. Quoted text with quotes in it, or with anything behind its quotes, gets the
    stop -1. Releases the GIL.

    Args:
        text: as given to :func:`csv_rows`.
        starts: int64 ``[N]``.
        columns: C different field numbers, from 0.

    Returns:
        int64 ``[N, C, 2]``.

    Raises:
        ValueError: a start outside the text, or a column that is negative or listed twice.
    """

def csv_numbers(text: Buffer, spans: NDArray[np.int64], values: NDArray[np.float64]) -> bool:
    """Read numbers: the nearest double, as pandas since 3.1 reads them. Releases the GIL.

    Args:
        text: as given to :func:`csv_rows`.
        spans: int64 ``[N, C, 2]`` of :func:`csv_cells`.
        values: float64 ``[N, C]``, filled in.

    Returns:
        Whether every cell is a plain number: sign, digits, point, digits, exponent, at most 17 digits (15
        where there is neither point nor exponent) and 22 powers of ten. False says nothing about ``values``.

    Raises:
        ValueError: shapes that do not fit each other.
    """

def csv_times(text: Buffer, spans: NDArray[np.int64], times: NDArray[np.int64]) -> int:
    """Read a column of whole numbers or of times. Releases the GIL.

    Args:
        text: as given to :func:`csv_rows`.
        spans: int64 ``[N, 2]`` of one column.
        times: int64 ``[N]``, gets the numbers, or seconds since 1970-01-01.

    Returns:
        :data:`WHOLE` (at most 18 digits), :data:`DATE` (``2020-01-31``), :data:`MINUTE`
        (``2020-01-31 23:59`` or with T), :data:`SECOND` (``2020-01-31 23:59:59``), when all cells are written
        alike, years 1678 to 2261; else :data:`NEITHER`.

    Raises:
        ValueError: shapes that do not fit each other.
    """
