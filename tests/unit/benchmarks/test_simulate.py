"""The simulated queues are those of the books, and balancers come in the order that they must."""

import numpy as np
import pytest

from benchmarks import simulate
from benchmarks.simulate import DEVICES, Replica, replicas_for

MEAN_S = 0.05


@pytest.fixture
def memoryless():
    """Exponential service, as long beside another request as alone: M/M/2."""
    alone = np.random.default_rng(2).exponential(MEAN_S, 200_000)
    return Replica(alone, DEVICES / float(alone.mean()))


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_one_replica_is_the_queue_of_the_books(memoryless, load, monkeypatch):
    """Time in M/M/2: S / (1 - load^2) (Kleinrock 1975, section 3.4)."""
    monkeypatch.setattr(simulate, "REQUESTS", 50_000)
    mean = simulate.simulate(memoryless, 1, load, "random").mean()
    assert mean == pytest.approx(MEAN_S / (1 - load**2), rel=0.05)


def test_random_balancing_leaves_each_replica_its_own_queue(memoryless, monkeypatch):
    monkeypatch.setattr(simulate, "REQUESTS", 16_000)
    mean = simulate.simulate(memoryless, 20, 0.7, "random").mean()
    assert mean == pytest.approx(MEAN_S / (1 - 0.7**2), rel=0.1)


def test_who_knows_more_waits_less(memoryless, monkeypatch):
    monkeypatch.setattr(simulate, "REQUESTS", 12_000)
    p99 = [
        np.percentile(simulate.simulate(memoryless, 50, 0.8, policy), 99)
        for policy in ("random", "round robin", "two choices", "least connections")
    ]
    assert p99 == sorted(p99, reverse=True)
    assert p99[0] > 1.1 * p99[1] > 1.2 * p99[2]


def test_requests_take_longer_beside_others(monkeypatch):
    replica = Replica(np.full(10, MEAN_S), 20.0)
    assert replica.slower == pytest.approx(2.0)
    monkeypatch.setattr(simulate, "REQUESTS", 1000)
    light = simulate.simulate(replica, 1, 0.001, "random")
    assert np.percentile(light, 50) == pytest.approx(MEAN_S)


def test_a_model_of_percentiles_has_their_mean():
    latency = {"min": 150.0, "p50": 600.0, "p90": 2500.0, "max": 3100.0, "mean": 950.0}
    rows = [
        {"server": "s", "loop": "closed", "level": level, "latency_ms": latency, "rps": 1.2}
        for level in (1.0, 8.0)
    ]
    replica = simulate.of_summary(rows, "s")
    assert replica.alone_s.mean() == pytest.approx(0.95)
    assert replica.slower == pytest.approx(2 / 1.2 / 0.95)
    assert np.percentile(replica.alone_s, 90) / np.percentile(replica.alone_s, 50) == pytest.approx(
        2500 / 600, rel=0.02
    )


def test_replicas_for_a_rate_are_the_fewest(memoryless, monkeypatch):
    monkeypatch.setattr(simulate, "REQUESTS", 6_000)
    budget, rate = 6 * MEAN_S, 5 * memoryless.capacity
    count = replicas_for(memoryless, rate, budget)
    p99 = [
        np.percentile(
            simulate.simulate(memoryless, each, rate / memoryless.capacity / each, "two choices"), 99
        )
        for each in (count, count - 1)
    ]
    assert p99[0] <= budget < p99[1]
    assert replicas_for(memoryless, memoryless.capacity / 2, MEAN_S) is None  # below a request's own time
