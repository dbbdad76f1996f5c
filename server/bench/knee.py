"""The knee: the highest rate at which a server answers in time, and keeps up.

Rates go up by steps until one is too high, then the gap is halved (in ratio). A rate is too high when less
than 99 % of what was sent is answered with 200 within the budget, or when the queue grows: in a short step a
server that is too slow still answers in time, only later and later. A step in which the generator itself was
late says nothing about the server.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from server.bench.figures import percentile
from server.bench.load import Run

#: Share of the requests that a rate may fail, or answer too late.
MAY_MISS = 0.01
#: Growth of the queue, as a share of what arrives, at which a server does not keep up.
MAY_GROW = 0.05
#: Share of the budget that the generator may be late by, at the 99th percentile; more than its timer's grain.
MAY_BE_LATE, GRAIN_MS = 0.05, 2.0

Verdict = Literal["kept", "late", "grows", "generator late"]


class Row(msgspec.Struct, frozen=True):
    """One step. Times are milliseconds; latencies count from the scheduled time.

    Attributes:
        rate: requests per second that were asked for.
        seconds: length of the arrivals.
        sent: requests; ``failed``: not answered with 200; ``good``: answered with 200 within the budget.
        offered, goodput: requests and good answers per second of arrivals.
        p50_ms, p90_ms, p99_ms: of the answers with 200; None where there are none.
        growth: how much faster requests came than answers, as a share of what came (see :func:`growth`).
        late_p99_ms: how late the generator sent.
        verdict: ``kept``; ``late``: too few in time; ``grows``: the queue does; ``generator late``: nothing
            is said of the server.
        latencies_ms: of the answers with 200, in the order in which the requests were due.
    """

    rate: float
    seconds: float
    sent: int
    failed: int
    good: int
    offered: float
    goodput: float
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    growth: float
    late_p99_ms: float
    verdict: Verdict
    latencies_ms: tuple[float, ...]


class Search(msgspec.Struct, frozen=True):
    """How the knee is looked for.

    Attributes:
        start: first rate, requests per second.
        seconds: for all steps together; the last one may outlast it by the time that its answers take.
        step_s: length of one step's arrivals.
        factor: from one rate to the next on the way up.
        precision: the gap between the last good rate and the first bad one, as a share, that is fine enough.
    """

    start: float
    seconds: float
    step_s: float
    factor: float = 1.5
    precision: float = 0.05


class Knee(msgspec.Struct, frozen=True):
    """What a search has found.

    Attributes:
        rate: highest that was kept; None: not even the lowest.
        above: lowest that was not; None: none was tried.
        limit: why not that one.
        rows: all steps in their order.
    """

    rate: float | None
    above: float | None
    limit: Verdict | Literal["time"]
    rows: tuple[Row, ...]

    @property
    def row(self) -> Row | None:
        """The step at the knee."""
        return next((row for row in self.rows if row.rate == self.rate), None)


def row_of(rate: float, seconds: float, run: Run, budget_ms: float) -> Row:
    """The figures of one run with arrivals of ``seconds`` at ``rate``, judged by ``budget_ms``."""
    due = sorted(
        (answer.end_s - answer.latency_s, 1e3 * answer.latency_s)
        for answer in run.answers
        if answer.status == 200
    )
    latencies = [latency for _, latency in due]
    good, sent = sum(latency <= budget_ms for latency in latencies), len(run.answers)
    late_ms = percentile([1e3 * answer.late_s for answer in run.answers], 99)
    grown = growth(latencies, seconds)
    return Row(
        rate=rate, seconds=seconds, sent=sent, failed=run.failed, good=good,
        offered=sent / seconds, goodput=good / seconds,
        p50_ms=_known(percentile(latencies, 50)), p90_ms=_known(percentile(latencies, 90)),
        p99_ms=_known(percentile(latencies, 99)), growth=grown, late_p99_ms=late_ms,
        verdict=_verdict(good / sent, grown, late_ms, budget_ms),
        latencies_ms=tuple(round(latency, 3) for latency in latencies),
    )  # fmt: skip


def _verdict(in_time: float, grown: float, late_ms: float, budget_ms: float) -> Verdict:
    if late_ms > max(GRAIN_MS, MAY_BE_LATE * budget_ms):
        return "generator late"
    if in_time < 1 - MAY_MISS:
        return "late"
    return "grows" if grown > MAY_GROW else "kept"


def growth(latencies_ms: Sequence[float], seconds: float) -> float:
    """By what share arrivals exceed what a server can do, from latencies in order of arrival.

    While a server is too slow by this share, whoever comes a second later waits that part of a second longer.
    Between the middles of the two halves of a step lies half of its length; medians do not mind a pause.
    """
    middle = len(latencies_ms) // 2
    if middle < 1:
        return 0.0
    first, second = (percentile(half, 50) for half in (latencies_ms[:middle], latencies_ms[middle:]))
    return (second - first) / 1e3 / (seconds / 2)


def find_knee(
    measure: Callable[[float, float], Row], search: Search, clock: Callable[[], float] = time.monotonic
) -> Knee:
    """Look for the knee.

    Args:
        measure: loads the server with a rate for so many seconds.
        search: where to begin, and for how long.
        clock: seconds.
    """
    rows: list[Row] = []
    low: float | None = None
    high: Row | None = None
    end = clock() + search.seconds
    while clock() + search.step_s <= end and not _close(low, high, search.precision):
        row = measure(_next_rate(low, high, search), search.step_s)
        rows.append(row)
        if row.verdict == "kept":
            low = row.rate
        else:
            high = row
    return Knee(low, high.rate if high else None, high.verdict if high else "time", tuple(rows))


def _next_rate(low: float | None, high: Row | None, search: Search) -> float:
    if high is None:
        return search.start if low is None else low * search.factor
    return high.rate / search.factor**2 if low is None else math.sqrt(low * high.rate)


def _close(low: float | None, high: Row | None, precision: float) -> bool:
    return low is not None and high is not None and high.rate / low <= 1 + precision


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
