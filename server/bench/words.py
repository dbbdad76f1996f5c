"""Results in words and tables, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from server.bench.compare import Verdict
from server.bench.knee import Knee, Row

#: Below so many requests a nearest-rank p99 is their maximum.
_FEW = 100
_HEADINGS = (
    "offered/s",
    "goodput/s",
    "sent",
    "failed",
    "p50 ms",
    "p90 ms",
    "p99 ms",
    "growth",
    "sent late",
    "",
)
_LIMITS = {
    "late": "too few were answered in time",
    "grows": "the queue grew",
    "generator late": "the load generator fell behind: give it a machine of its own",
    "time": "the time was over before a rate was too high: --seconds gives more",
}


def cells(row: Row) -> tuple[str, ...]:
    """A row of the table."""
    times = (_ms(time) for time in (row.p50_ms, row.p90_ms, row.p99_ms))
    return (
        f"{row.offered:.4g}", f"{row.goodput:.4g}", str(row.sent), str(row.failed), *times,
        f"{row.growth:+.1%}", f"{row.late_p99_ms:.1f} ms", row.verdict,
    )  # fmt: skip


def headings() -> tuple[str, ...]:
    """Of :func:`cells`."""
    return _HEADINGS


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """Steps as a table, in order of their rates."""
    every = [_HEADINGS, *(cells(row) for row in sorted(rows, key=lambda row: row.rate))]
    widths = [max(len(line[place]) for line in every) for place in range(len(_HEADINGS))]
    for line in every:
        numbers = (cell.rjust(width) for cell, width in zip(line[:-1], widths[:-1], strict=True))
        yield f"  {'  '.join(numbers)}  {line[-1]}".rstrip()


def knee_words(knee: Knee, budget_ms: float) -> Iterator[str]:
    """The result in one or two lines."""
    row = knee.row
    if row is None:
        yield f"no rate was kept within {budget_ms:g} ms: {_LIMITS[knee.limit]}"
        return
    above = f"; at {knee.above:.4g} {_LIMITS[knee.limit]}" if knee.above else f"; {_LIMITS['time']}"
    yield f"knee: {row.rate:.4g} requests/s within {budget_ms:g} ms (p99 {_ms(row.p99_ms)} ms){above}"
    if row.sent < _FEW:
        yield f"the p99 of {row.sent} requests is their maximum: --seconds gives more"


def verdict_words(verdict: Verdict, threshold: float) -> Iterator[str]:
    """The result of a comparison."""
    left_out = f" ({verdict.dropped} left out)" if verdict.dropped else ""
    yield (
        f"time of b against a: {verdict.change:+.2%}, "
        f"95 % interval {verdict.low:+.2%} to {verdict.high:+.2%}, "
        f"signed ranks p = {verdict.chance:.2g}, {verdict.pairs} pairs of blocks{left_out}"
    )
    if verdict.failed_a or verdict.failed_b:
        yield f"failed: {verdict.failed_a:.2%} of a, {verdict.failed_b:.2%} of b"
    if verdict.fails_more:
        yield "b fails more requests than a"
    if verdict.slower:
        yield f"b is slower by more than {threshold:.1%}"
    elif verdict.undecided:
        yield f"not shown to be slower, but {threshold:.1%} lies inside the interval: more blocks decide it"
    else:
        yield f"b is not slower by {threshold:.1%}"


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"
