"""Whether one server is slower than another, from blocks that were measured in turns.

Every pair of blocks gives one logarithm of a ratio. Two questions are asked of them, neither of which minds a
few disturbed blocks: how much slower is ``b`` (the mean of the middle half, with a bootstrap interval over
pairs), and is that more than chance (Wilcoxon's signed ranks). ``b`` is slower when the estimate exceeds the
threshold and both say that it is no chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import ConfigError
from server.bench.blocks import Blocks
from server.bench.figures import percentile
from server.bench.knee import Row

Metric = Literal["p50", "p90", "p99"]
#: Fewer pairs cannot be beyond chance: of six, all one way have a probability of 1/64.
LEAST_PAIRS = 6
#: One-sided probability of chance that is small enough, as of a 95 % interval.
CHANCE = 0.025
_RESAMPLES, _SEED = 10_000, 20_260_101
#: Pairs up to which ranks are counted out; above, the normal distribution is as good.
_EXACT_PAIRS = 50
#: Failed requests of ``b`` beyond those of ``a``, as a share, at which latencies do not matter any more.
_MAY_FAIL = 0.01


class Verdict(msgspec.Struct, frozen=True):
    """What was found. Changes are shares: 0.05 is 5 % slower.

    Attributes:
        change, low, high: estimate and 95 % interval.
        chance: probability of such ranks, one-sided, if both were equally fast.
        pairs: blocks of each side that counted.
        dropped: pairs in which the generator was late, or nothing was answered.
        failed_a, failed_b: shares of requests that failed.
        slower: ``b`` is, by more than the threshold.
        fails_more: ``b`` fails more requests, which makes its latencies worthless.
        undecided: not slower, but the interval has room for more than the threshold.
    """

    change: float
    low: float
    high: float
    chance: float
    pairs: int
    dropped: int
    failed_a: float
    failed_b: float
    slower: bool
    fails_more: bool
    undecided: bool


def compare(a: Blocks, b: Blocks, threshold: float, metric: Metric = "p50") -> Verdict:
    """Judge ``b`` against ``a``.

    Args:
        a: one side of a measurement.
        b: the other.
        threshold: what may be lost, as a share.
        metric: percentile of each block's latencies that is compared.

    Raises:
        ConfigError: they were not measured in turns, or too few blocks are left.
    """
    if a.session != b.session or len(a.rows) != len(b.rows):
        raise ConfigError("the two files are not of one measurement in turns (python -m server bench pair)")
    pairs = [pair for pair in zip(a.rows, b.rows, strict=True) if all(map(_counts, pair))]
    if len(pairs) < LEAST_PAIRS:
        raise ConfigError(
            f"{len(pairs)} pairs of blocks count ({len(a.rows) - len(pairs)} have a late generator, or no "
            f"answer), {LEAST_PAIRS} are needed"
        )
    ratios = np.array([math.log(_figure(right, metric) / _figure(left, metric)) for left, right in pairs])
    change, (low, high) = math.expm1(middle_mean(ratios)), map(math.expm1, interval(ratios))
    chance = signed_rank_chance(ratios)
    failed = [sum(row.failed for row in side.rows) / sum(row.sent for row in side.rows) for side in (a, b)]
    slower = change > threshold and low > 0 and chance < CHANCE
    return Verdict(
        change, low, high, chance, len(pairs), len(a.rows) - len(pairs), failed[0], failed[1],
        slower=slower, fails_more=failed[1] > failed[0] + _MAY_FAIL,
        undecided=not slower and high > threshold,
    )  # fmt: skip


def _counts(row: Row) -> bool:
    return row.verdict != "generator late" and bool(row.latencies_ms)


def _figure(row: Row, metric: Metric) -> float:
    return percentile(row.latencies_ms, float(metric[1:]))


def middle_mean(values: NDArray[Any]) -> float:
    """Mean of the middle half of ``[n]`` values (interquartile mean)."""
    return float(_middle_means(values[np.newaxis])[0])


def _middle_means(rows: NDArray[Any]) -> NDArray[Any]:
    """Of ``[k, n]``: one a row."""
    cut = rows.shape[1] // 4
    means: NDArray[Any] = np.sort(rows, axis=1)[:, cut : rows.shape[1] - cut].mean(axis=1)
    return means


def interval(values: NDArray[Any]) -> tuple[float, float]:
    """95 % percentile bootstrap interval of :func:`middle_mean` (Efron and Tibshirani 1993, chapter 13)."""
    chosen = np.random.default_rng(_SEED).integers(0, len(values), (_RESAMPLES, len(values)))
    low, high = np.quantile(_middle_means(values[chosen]), [CHANCE, 1 - CHANCE])
    return float(low), float(high)


def signed_rank_chance(values: Sequence[float] | NDArray[Any]) -> float:
    """Probability that so much of the rank sum of ``|value|`` is positive, if signs were a coin's.

    Wilcoxon's signed-rank test, one-sided; zeros are left out, ties share their mean rank.
    """
    kept = np.asarray([value for value in values if value != 0])
    if not len(kept):
        return 1.0
    size = np.abs(kept)
    ranks = np.array([np.mean(np.flatnonzero(np.sort(size) == one)) + 1 for one in size])
    positive = float(ranks[kept > 0].sum())
    if len(kept) <= _EXACT_PAIRS:
        return _exact(ranks, positive)
    mean, deviation = ranks.sum() / 2, math.sqrt((ranks**2).sum() / 4)
    return 0.5 * math.erfc((positive - 0.5 - mean) / deviation / math.sqrt(2))


def _exact(ranks: NDArray[Any], positive: float) -> float:
    """Share of all 2^n choices of signs whose positive ranks sum to ``positive`` or more."""
    doubled = np.rint(2 * ranks).astype(int)  # halves come from ties
    ways = np.zeros(doubled.sum() + 1)
    ways[0] = 1.0
    for rank in doubled:
        taken = np.concatenate([np.zeros(rank), ways[: len(ways) - rank]])
        ways = (ways + taken) / 2
    return float(ways[round(2 * positive) :].sum())
