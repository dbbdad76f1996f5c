"""The rows at the end of a CSV, by the rules of ``pandas.read_csv`` with its defaults.

The kernels find rows and read cells that are written plainly. A column with anything else in these rows
goes through pandas itself, with these rows only: of what is further up, only its shape is looked at.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.csvtext import NEITHER, csv_cells, csv_numbers, csv_rows, csv_times

from .errors import BadRequest

#: Headers whose names are kept; a client sends the same one again and again.
_HEADERS = 256
#: Bytes of a header. 100,000 columns of ten characters are more than any model takes.
_MOST_HEADER = 1 << 20


class TimeCells(NamedTuple):
    """A column of times: ``kind`` of ``kernels.csvtext`` with its numbers, or what pandas made of it."""

    kind: int
    numbers: NDArray[np.int64]
    series: Any = None


class CsvRows:
    """The last rows of a CSV.

    Attributes:
        total: rows of the whole text.
        row_numbers: int64, number from 1 of each row that is kept.

    Args:
        text: UTF-8, with or without byte order mark.
        keep: most rows that are wanted.

    Raises:
        BadRequest: not UTF-8, no header, a row with too many fields, a quote that is never closed.
    """

    def __init__(self, text: memoryview, keep: int) -> None:
        starts: NDArray[np.int64] = np.empty(keep, dtype=np.int64)
        self._text, outline = text, csv_rows(text, starts)
        if outline.crowded is not None:
            row, fields = outline.crowded
            raise BadRequest(f"The CSV has {fields} fields in row {row}, but {outline.columns} columns")
        if outline.open_quote:
            raise BadRequest("The CSV ends inside a quoted field")
        if not outline.is_ascii:
            _check_utf8(text)
        if not outline.names:
            raise BadRequest("The CSV has no header")
        if outline.header_stop - outline.header > _MOST_HEADER:
            raise BadRequest(f"The header of the CSV is longer than {_MOST_HEADER} bytes")
        self.total = outline.rows
        self._columns, self._extra = outline.columns, max(0, outline.columns - outline.names)
        self._names = header_names(bytes(text[outline.header : outline.header_stop]))
        self._starts = starts[: min(keep, outline.rows)]
        self._stops = np.append(self._starts[1:], len(text))
        self.row_numbers = np.arange(outline.rows - len(self._starts), outline.rows) + 1

    def __len__(self) -> int:
        """Rows that are kept."""
        return len(self._starts)

    def take(self, rows: slice | NDArray[np.intp]) -> CsvRows:
        """Some of the rows, in the order of ``rows``."""
        taken = object.__new__(CsvRows)
        taken.__dict__ |= self.__dict__
        taken._starts, taken._stops = np.ascontiguousarray(self._starts[rows]), self._stops[rows]
        taken.row_numbers = self.row_numbers[rows]
        return taken

    def numbers(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Columns of numbers, float64 ``[rows, len(names)]``.

        Raises:
            BadRequest: a column that is missing, or a cell that is no finite number.
        """
        values = np.empty((len(self), len(names)))
        fields = [self._field(name) for name in names]
        if not csv_numbers(self._text, csv_cells(self._text, self._starts, fields), values):
            frame = self._by_pandas(fields)
            for place, (name, field) in enumerate(zip(names, fields, strict=True)):
                values[:, place] = self._as_numbers(name, frame[field])
        return values

    def times(self, name: str) -> TimeCells:
        """A column of times. Raises BadRequest when it is missing."""
        field = self._field(name)
        found: NDArray[np.int64] = np.empty(len(self), dtype=np.int64)
        kind = csv_times(self._text, csv_cells(self._text, self._starts, [field])[:, 0], found)
        return TimeCells(kind, found, self._by_pandas([field])[field] if kind == NEITHER else None)

    def texts(self, name: str) -> list[str]:
        """A column as it would be printed, for axes of plots. Raises BadRequest when it is missing."""
        field = self._field(name)
        spans = csv_cells(self._text, self._starts, [field])[:, 0]
        if (spans[:, 1] < 0).any():
            return [str(cell) for cell in self._by_pandas([field])[field]]
        return [str(self._text[start:stop], "utf-8") for start, stop in spans.tolist()]

    def first_group(self, name: str) -> NDArray[np.intp]:
        """Which rows have the first row's value in a column. Raises BadRequest when it is missing."""
        column = self._by_pandas([self._field(name)]).iloc[:, 0]
        return np.flatnonzero(column.isin(column.iloc[:1]).to_numpy())

    def _field(self, name: str) -> int:
        try:
            return self._extra + self._names[name]
        except KeyError:
            raise BadRequest(f"The CSV has no column `{name}`") from None

    def _by_pandas(self, fields: Sequence[int]) -> Any:
        """These fields of the rows, as pandas types them; columns are named by field."""
        rows = [self._text[a:b] for a, b in zip(self._starts.tolist(), self._stops.tolist(), strict=True)]
        names = range(self._columns)
        excerpt = b"\n".join(
            rows
        )  # rows that were not neighbours must not run together; blank lines do not count
        return _pandas_reads(excerpt, header=None, names=names, usecols=sorted(set(fields)), index_col=False)

    def _as_numbers(self, name: str, column: Any) -> NDArray[np.float64]:
        import pandas as pd  # noqa: PLC0415 - as above

        numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        wrong = np.flatnonzero(~np.isfinite(numbers))
        if len(wrong):
            rule = "has no value" if pd.isna(column.iloc[wrong[0]]) else "is no finite number"
            raise BadRequest(f"Column `{name}` {rule} in row {self.row_numbers[wrong[0]]}")
        return np.asarray(numbers, dtype=np.float64)


@lru_cache(maxsize=_HEADERS)
def header_names(header: bytes) -> dict[str, int]:
    """Column name to its place. As pandas says: repeated names get ``.1``, empty ones ``Unnamed: 0``."""
    return {str(name): place for place, name in enumerate(_pandas_reads(header, nrows=0).columns)}


def _pandas_reads(text: bytes, **options: Any) -> Any:
    """A DataFrame of a small text."""
    import pandas as pd  # noqa: PLC0415 - 0.4 s and 40 MB that only devices with a time series need

    try:
        return pd.read_csv(io.BytesIO(text), **options)
    except ValueError as error:  # what pandas raises on text that it cannot read
        raise BadRequest("The CSV cannot be read") from error


def _check_utf8(text: memoryview) -> None:
    try:
        str(text, "utf-8")
    except UnicodeDecodeError as error:
        line = bytes(text[: error.start]).count(b"\n") + 1
        raise BadRequest(f"The CSV is not UTF-8: line {line}, byte {error.start} of the text") from None
