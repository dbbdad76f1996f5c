"""Replicas behind a load balancer, simulated; and how far the model of one replica is from a measured one.

    python -m benchmarks.simulate                   replicas, balancers, loads; how many replicas a rate needs
    python -m benchmarks.simulate --measure FILE    measures one server, 100 seconds, and checks the model

A replica is a server with two devices: one queue, first come first served. Its model has two numbers, both
measured: what a request takes alone (all cores work on it) and how many requests a second it does at most.
What a request takes while the other device works follows from the latter; which of the two it takes, and
whether it waits first, is decided as the server decides it. Requests differ as they do alone.
HTTP and decoding are inside these times. Arrivals are a Poisson process.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.bench.command import Load
from server.bench.load import closed_loop, sequence, timed_loop
from server.bench.requests import choose_path, files_for, subject
from server.bench.target import own_server, target
from server.whole_runs import BUSY, KEPT

from . import process
from .common import ROOT, parser, percentile, report, table

RESULTS = ROOT / "benchmarks" / "results"
MEASURED, OCR = RESULTS / "open-loop.json", RESULTS / "ocr.json"
#: Of the latter: what the model is held against, too; the first is what replicas are planned with.
SERVERS = ("ours openvino", "ours onnxruntime")
DEVICES = 2
POLICIES = ("random", "round robin", "two choices", "least connections")
#: No replica is planned to be busier: queues above it need longer to fill than a run lasts.
MOST_LOAD = 0.9
REPLICAS = (1, 2, 10, 100, 1000)
LOADS = (0.5, 0.7, 0.8, 0.9)
#: Requests a run, at least, and at each replica; and the share that is not counted while the queues fill.
REQUESTS, REQUESTS_EACH, FILLING = 50_000, 200, 0.3
#: Shares of the capacity at which one server is measured, and for how long each.
SHARES, STEP_S = (0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), 11.0
#: Requests that are sent one by one, how far apart, in latencies, and how long an answer is waited for. One
#: that finds everything idle takes longer than one that follows another.
ALONE, APART, PATIENCE_S = 100, 4.0, 60.0
#: From here on an all-core run is faster than one on a share.
FASTER = 1.01
#: Images per second that are wanted, and budgets in seconds, by pipeline.
PLANS = {"object_detection": ((10, 100, 1000), (0.1, 0.2, 0.5)), "OCR": ((1, 10, 100), (8.0, 15.0, 30.0))}
QUANTILES = (50, 90, 99)


class Replica(NamedTuple):
    """One server's model.

    Attributes:
        alone_s: what single requests take alone, ``[n]``; drawn from with replacement.
        capacity: requests per second at most.
    """

    alone_s: NDArray[np.float64]
    capacity: float

    @property
    def slower(self) -> float:
        """How many times as long a request takes while the other device works."""
        return DEVICES / self.capacity / float(self.alone_s.mean())


def chooser(policy: str, waiting: NDArray[np.int64], count: int, seed: int) -> Callable[[], int]:
    """What picks replicas for ``count`` requests. ``waiting``: requests at each replica, kept up to date."""
    draws, replicas = np.random.default_rng(seed), len(waiting)
    if policy == "random":
        return iter(draws.integers(0, replicas, count).tolist()).__next__
    if policy == "round robin":
        return itertools.cycle(range(replicas)).__next__
    if policy == "least connections":
        return lambda: int(waiting.argmin())
    pairs = iter(draws.integers(0, replicas, (count, 2)).tolist())

    def two_choices() -> int:
        one, other = next(pairs)
        return one if waiting[one] <= waiting[other] else other

    return two_choices


class Server:
    """One replica at work: what its devices do about all-core runs (``server/whole_runs.py``).

    Args:
        slower: how many times as long a request takes on a share; nobody waits where that is no longer.
    """

    def __init__(self, slower: float) -> None:
        self._slower, self._whole_until = slower, 0.0
        self._devices = [_Device() for _ in range(DEVICES)]

    def serve(self, now: float, alone_s: float) -> float:
        """When a request of ``now``, which takes ``alone_s`` on all cores, is done; in order of arrival."""
        device = min(self._devices, key=lambda each: each.free_at)
        start = claimed = max(now, device.free_at)
        own_s = alone_s * self._slower
        waits = self._slower > FASTER and start < self._whole_until <= start + own_s
        if waits:
            start = self._whole_until
        is_alone = all(each.free_at <= start for each in self._devices if each is not device)
        whole = is_alone and not (waits and device.is_busy(claimed))
        end = start + (alone_s if whole else own_s)
        if whole:
            self._whole_until = end
        device.serve(claimed, end)
        return end


class _Device:
    """One device: when it is free, and how much of its time with the last items it was not."""

    def __init__(self) -> None:
        self.free_at = self._busy_s = self._idle_s = 0.0

    def is_busy(self, claimed: float) -> bool:
        """Whether it is rarely idle, as it takes an item."""
        idle_s = self._idle_s + claimed - self.free_at
        return self._busy_s > BUSY * (self._busy_s + idle_s)

    def serve(self, claimed: float, end: float) -> None:
        """Take an item and be done with it."""
        self._idle_s = KEPT * (self._idle_s + claimed - self.free_at)
        self._busy_s = KEPT * (self._busy_s + end - claimed)
        self.free_at = end


def simulate(replica: Replica, replicas: int, load: float, policy: str, seed: int = 1) -> NDArray[np.float64]:
    """Latencies in seconds at ``load``, a share of the capacity of all, once the queues have filled."""
    random, count = np.random.default_rng(seed), max(REQUESTS, REQUESTS_EACH * replicas)
    due = np.cumsum(random.exponential(1 / (load * replicas * replica.capacity), count)).tolist()
    alone = random.choice(replica.alone_s, count).tolist()
    waiting = np.zeros(replicas, np.int64)
    choose, slower = chooser(policy, waiting, count, seed + 1), replica.slower
    servers = [Server(slower) for _ in range(replicas)]
    leaving: list[tuple[float, int]] = []
    latencies = np.empty(count)
    for number, (now, takes) in enumerate(zip(due, alone, strict=True)):
        while leaving and leaving[0][0] <= now:
            waiting[heapq.heappop(leaving)[1]] -= 1
        at = choose()
        end = servers[at].serve(now, takes)
        heapq.heappush(leaving, (end, at))
        waiting[at] += 1
        latencies[number] = end - now
    return latencies[int(FILLING * count) :]


def measure(pipeline: str, step_s: float) -> dict[str, Any]:
    """One server, closed and open loop: what the model is made of, and what it is held against."""
    options = ("--pipeline", pipeline, "--device", f"cpu:{DEVICES}")
    with tempfile.TemporaryDirectory() as folder, own_server(options, Path(folder, "log")) as url:
        server = target(url)
        path = choose_path(server.routes(), None)
        files, words = files_for(path, None, options)
        asked = subject(path, files, {}, words)
        load, requests = Load(server, asked, 1000.0), server.requests(asked)
        load.warm_up()

        def closed(count: int, clients: int) -> Any:
            order = sequence(count, len(requests), seed=count)
            return closed_loop(server.host, server.port, requests, order, clients)

        apart_s = APART * percentile(closed(20, 1).latencies_ms, 50) / 1e3
        due = [number * apart_s for number in range(ALONE)]
        order = sequence(ALONE, len(requests), seed=1)
        alone = timed_loop(server.client(PATIENCE_S), requests, order, due, keep=False)
        capacity = closed(max(50, round(3 * closed(50, 8).rps)), 8).rps
        rows = [_step(load, share * capacity, step_s, seed) for seed, share in enumerate(SHARES, 1)]
    return {
        "pipeline": pipeline,
        "files": words,
        "alone_ms": [round(each, 3) for each in alone.latencies_ms],
        "capacity": capacity,
        "rows": rows,
    }


def _step(load: Load, rate: float, seconds: float, seed: int) -> dict[str, Any]:
    """One rate, and the cores that other processes used meanwhile: a row with more than 0.1 says little."""
    host, own, began = process.HostCpu.read(), process.cpu_s(os.getpid()), time.perf_counter()
    row = load.step(rate, seconds, seed)
    busy = process.HostCpu.read().busy_s - host.busy_s - (process.cpu_s(os.getpid()) - own)
    named = {name: getattr(row, name) for name in row.__struct_fields__ if name != "latencies_ms"}
    return named | {"others_cores": max(0.0, busy / (time.perf_counter() - began))}


def replica_of(measured: Mapping[str, Any]) -> Replica:
    """The model of a measured server."""
    return Replica(np.array(measured["alone_ms"]) / 1e3, measured["capacity"])


def errors(replica: Replica, points: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Model against measurement, a row a rate: milliseconds, and the model's error as a share.

    ``points``: of each rate ``offered``, ``others_cores`` and the percentiles that were measured.
    """
    rows = []
    for point in points:
        load = point["offered"] / replica.capacity
        found = 1e3 * simulate(replica, 1, load, "random")
        one: dict[str, Any] = {"load": load, "others": point.get("others_cores")}
        for q in QUANTILES:
            value, seen = float(np.percentile(found, q)), point[f"p{q}_ms"]
            one |= {f"p{q}_ms": seen, f"model_p{q}_ms": value, f"error_p{q}": value / seen - 1}
        rows.append(one)
    return rows


def opened(rows: Sequence[Mapping[str, Any]], server: str) -> Iterator[dict[str, Any]]:
    """The open loops of a server in a comparison of servers, for :func:`errors`."""
    for row in rows:
        if row["server"] == server and row["loop"] == "open":
            latency = {f"p{q}_ms": row["latency_ms"][f"p{q}"] for q in QUANTILES}
            yield {"offered": row["level"], "others_cores": row["others_cores"]} | latency


def balancers(replica: Replica) -> list[dict[str, Any]]:
    """p99 of every balancer, number of replicas and load, over a request's p99 alone."""
    alone = float(np.percentile(replica.alone_s, 99))
    rows = []
    for load, replicas in itertools.product(LOADS, REPLICAS):
        one: dict[str, Any] = {"load": load, "replicas": replicas}
        for policy in POLICIES:
            if replicas == 1 and policy != POLICIES[0]:
                one[policy] = one[POLICIES[0]]  # there is nothing to choose
                continue
            p99 = np.percentile(simulate(replica, replicas, load, policy), 99)
            one[policy] = float(p99) / alone
        rows.append(one)
    return rows


def replicas_for(replica: Replica, rate: float, budget_s: float, policy: str = "two choices") -> int | None:
    """Fewest replicas whose p99 at ``rate`` per second is within ``budget_s``; None: no number is enough.

    The p99 falls with their number; the interval is halved.
    """
    low = max(1, math.ceil(rate / replica.capacity / MOST_LOAD))

    def enough(count: int) -> bool:
        found = simulate(replica, count, rate / replica.capacity / count, policy)
        return float(np.percentile(found, 99)) <= budget_s

    high = low
    while not enough(high):
        low, high = high + 1, 2 * high
        if high > max(64, 4096 * rate / replica.capacity):
            return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return high


def planned(replica: Replica, rates: Sequence[float], budgets_s: Sequence[float]) -> list[dict[str, Any]]:
    """Replicas for these rates and budgets."""
    return [
        {"images/s": rate}
        | {f"p99 <= {budget:g} s": replicas_for(replica, rate, budget) for budget in budgets_s}
        for rate in rates
    ]


def of_summary(rows: Sequence[Mapping[str, Any]], server: str) -> Replica:
    """The model of a server of which a closed-loop benchmark has kept percentiles only, joined by lines."""
    level = {row["level"]: row for row in rows if row["server"] == server and row["loop"] == "closed"}
    alone = level[1.0]["latency_ms"]
    places = [alone[name] / 1e3 for name in ("min", "p50", "p90", "max")]
    drawn = np.interp(np.linspace(0, 1, 1000), [0, 0.5, 0.9, 1], places)
    return Replica(drawn * (alone["mean"] / 1e3 / drawn.mean()), level[8.0]["rps"])


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--measured", type=Path, default=MEASURED, help="what the model is made of")
    made.add_argument("--measure", type=Path, metavar="FILE", help="measure, and write that file")
    made.add_argument("--pipeline", default="object_detection", help="what is measured")
    options = made.parse_args()
    if options.measure:
        measured = measure(options.pipeline, 0.5 if options.quick else STEP_S)
        report("open-loop", measured.pop("rows"), options=_plain(options), path=options.measure, **measured)
        options.measured = options.measure
    measured = json.loads(options.measured.read_text())
    began, replica = time.perf_counter(), replica_of(measured)
    parts = {f"model against {measured['pipeline']}": errors(replica, measured["rows"])}
    if not options.quick and not options.measure:
        read = json.loads(OCR.read_text())["rows"]
        for server in SERVERS:
            parts[f"model against OCR, {server}"] = errors(of_summary(read, server), opened(read, server))
        ocr = of_summary(read, SERVERS[0])
        parts["balancers"] = balancers(replica)
        for name, each in ((measured["pipeline"], replica), ("OCR", ocr)):
            parts[f"replicas, {name}"] = planned(each, *PLANS[name])
    for name, rows in parts.items():
        print(f"{name}\n")
        print(table(list(rows[0]), [list(row.values()) for row in rows]) + "\n")
    alone = [1e3 * percentile(replica.alone_s.tolist(), q) for q in (50, 99)]
    print(
        f"alone {alone[0]:.1f} ms, p99 {alone[1]:.1f} ms; {replica.capacity:.1f}/s at most; "
        f"{replica.slower:.2f} times as long beside another; simulated in {time.perf_counter() - began:.0f} s"
    )
    report("simulate", parts, options=_plain(options), path=options.json)


def _plain(options: argparse.Namespace) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}


if __name__ == "__main__":
    main()
