"""Slow twin of kernels/csvtext.pyx: lines and fields one character after the other, cells by pandas."""

import re

import numpy as np
import pandas as pd

from kernels.csvtext import DATE, MINUTE, NEITHER, SECOND, WHOLE, Outline

_NUMBER = re.compile(rb"[+-]?(\d*)\.?(\d*)([eE][+-]?\d+)?")
_TIMES = {
    WHOLE: rb"[+-]?\d+",
    DATE: rb"\d{4}-\d\d-\d\d",
    MINUTE: rb"\d{4}-\d\d-\d\d[ T]\d\d:\d\d",
    SECOND: rb"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d",
}


def lines(text):
    """(start, stop, fields) of every line that is not blank.

    Fields are (start, stop), or None where quotes are odd. The last entry is None when the text ends
    inside quotes.
    """
    at = 3 if text.startswith(b"\xef\xbb\xbf") else 0
    while at < len(text):
        start = at
        at += len(text[at:]) - len(text[at:].lstrip(b" \t"))
        if text[at : at + 1] in (b"", b"\n", b"\r"):
            at += 1
            continue
        at = start
        fields = []
        while True:
            first, quoted, simple = at, text[at : at + 1] == b'"', True
            if quoted:
                at += 1
                while True:
                    found = text.find(b'"', at)
                    if found < 0:
                        yield start, len(text), [*fields, None]
                        yield None
                        return
                    at = found + 1
                    if text[at : at + 1] != b'"':
                        break
                    simple, at = False, at + 1
                last = at - 1
            behind = at
            while at < len(text) and text[at : at + 1] not in (b",", b"\n", b"\r"):
                at += 1
            if not quoted:
                fields.append((first, at))
            else:
                fields.append((first + 1, last) if simple and behind == at else None)
            if text[at : at + 1] != b",":
                break
            at += 1
        yield start, at, fields
        at += 2 if text[at : at + 2] == b"\r\n" else 1


def csv_size(text):
    ends = text.count(b"\n") + text.count(b"\r") - text.count(b"\r\n")
    return ends + (not text.endswith((b"\n", b"\r"))) if text else 0, text.count(b",")


def csv_rows(text, starts):
    rows, names, columns, header, crowded, open_quote, begins = 0, 0, 0, (0, 0), None, False, []
    seen = b""
    for line in lines(text):
        if line is None:
            open_quote = True
            break
        start, stop, fields = line
        seen += text[start:stop]
        if not names:
            names, header = len(fields), (start, stop)
            continue
        rows += 1
        columns = max(names, len(fields)) if rows == 1 else columns
        if len(fields) > columns:
            crowded = rows, len(fields)
            break
        begins.append(start)
    last = begins[-len(starts) :] if len(starts) else []
    starts[: len(last)] = last
    return Outline(rows, names, columns, *header, crowded, open_quote, seen.isascii())


def csv_cells(text, starts, columns):
    spans = np.empty((len(starts), len(columns), 2), np.int64)
    for row, start in enumerate(starts):
        _, stop, fields = next(iter(lines(text[start:])))
        for place, column in enumerate(columns):
            span = fields[column] if column < len(fields) else (stop, stop)
            spans[row, place] = (start + span[0], start + span[1]) if span else (-1, -1)
    return spans


def csv_numbers(text, spans, values):
    for row, cells in enumerate(spans):
        for column, (start, stop) in enumerate(cells):
            cell = text[start:stop] if 0 <= start <= stop else b"?"
            found = _NUMBER.fullmatch(cell)
            if not found:
                return False
            digits, decimals = (found[1] + found[2]).lstrip(b"0"), len(found[2])
            exponent = (int(found[3][1:]) if found[3] else 0) - decimals
            if not found[1] + found[2] or len(digits) > 19 or decimals > 27 or abs(exponent) > 27:
                return False
            values[row, column] = int(cell) if cell.strip(b"+-").isdigit() else float(cell)
    return True


def csv_times(text, spans, times):
    kind, between = NEITHER, None
    for row, (start, stop) in enumerate(spans):
        cell = text[start:stop] if 0 <= start <= stop else b"?"
        this = next((kind for kind, form in _TIMES.items() if re.fullmatch(form, cell)), NEITHER)
        if this == WHOLE:
            if len(cell.lstrip(b"+-")) > 18:
                return NEITHER
            times[row] = int(cell)
        elif this:
            try:
                at = pd.Timestamp(cell.decode())
            except ValueError:
                return NEITHER
            if not 1678 <= at.year <= 2261:
                return NEITHER
            times[row] = (at - pd.Timestamp(0)) // pd.Timedelta(seconds=1)
        if row == 0:
            kind, between = this, cell[10:11]
        if not this or this != kind or (kind > DATE and cell[10:11] != between):
            return NEITHER
    return kind
