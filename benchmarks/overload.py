"""Overload: Poisson arrivals at multiples of the capacity against ``--latency_budget_ms``.

    python -m benchmarks.overload                  a fake engine with a fixed cost, two minutes
    python -m benchmarks.overload --real           image classification with a real model

The capacity is what a closed loop gets. Latency of what is served counts from the time a request was due,
that of a refusal from the time it was sent. Goodput is what was answered in time, over the capacity.
The fake engine sleeps, so that its capacity does not depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import gc
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from server.config import Limits
from tests.fakes import body, fake_config, page
from tests.harness import Server

from . import load, peers, process
from .common import parser, percentile, report, table

FACTORS = (1.2, 2.0, 3.0)
#: One-thread time of the fake detector, and of each of its two recognitions.
FAKE_MS, LINE_MS, LINES = 30.0, 2.0, 2
#: Share of the budget that the load generator may be late by before a run says nothing about the server.
MOST_LAG = 0.05
#: The project's targets: share of the capacity, milliseconds to a refusal, growth of memory.
TARGET_GOODPUT, TARGET_REFUSAL_MS, TARGET_GROWTH = 0.95, 2.0, 0.02


class Target(NamedTuple):
    """A running server: supervisor, port, requests to send."""

    pid: int
    port: int
    requests: list[bytes]


@contextlib.contextmanager
def fake(budget_ms: int) -> Iterator[Target]:
    """OCR on fake engines, two devices."""
    with tempfile.TemporaryDirectory() as folder:
        config = fake_config(
            Path(folder, "models"), detection_ms=FAKE_MS, recognition_ms=LINE_MS, window=1,
            limits=Limits(latency_budget_ms=budget_ms),
        )  # fmt: skip
        with Server(config, folder) as server:
            server.wait_ready()
            bodies = [body(page(seed, LINES)) for seed in range(8)]
            requests = [load.request_bytes("127.0.0.1", server.port, "/ocr", each) for each in bodies]
            yield Target(server.process.pid, server.port, requests)


@contextlib.contextmanager
def real(budget_ms: int) -> Iterator[Target]:
    """Image classification, one process per core."""
    from . import bench_classification as cls

    directory = cls.resolve(cls.MODEL, stream=sys.stderr).directory
    module = {"module_name": "image_classification", "model_name": cls.MODEL, "model_dir": directory}
    document = {"pipeline_name": "image_classification", "SubModules": {"ImageClassification": module}}
    arguments = ("--engine", "onnxruntime", "--latency_budget_ms", str(budget_ms))
    with tempfile.TemporaryDirectory() as folder:
        server = peers.our_server(Path(folder), "overload", document, *arguments)
        port, log = process.free_port(), Path(folder, "log")
        with process.running(server.on(port), port, log, ready_path=server.ready_path) as (pid, _):
            pictures = [base64.b64encode(cls.photograph(seed)).decode() for seed in range(8)]
            bodies = [orjson.dumps({"image": picture, "visualize": False}) for picture in pictures]
            path = "/image-classification"
            yield Target(pid, port, [load.request_bytes("127.0.0.1", port, path, each) for each in bodies])


def row_of(factor: float, run: load.Run, capacity: float, budget_ms: int, growth: float) -> dict[str, Any]:
    """Figures of one run."""
    lags = [1e3 * (a.latency_s - (a.end_s - a.start_s)) for a in run.answers]
    refusals = [1e3 * (a.end_s - a.start_s) for a in run.answers if a.status == 503]
    good = sum(latency <= budget_ms for latency in run.latencies_ms)
    return {
        "load": factor,
        "sent": len(run.answers),
        "statuses": {
            str(status): count for status, count in sorted(Counter(a.status for a in run.answers).items())
        },
        "p50_ms": percentile(run.latencies_ms, 50),
        "p99_ms": percentile(run.latencies_ms, 99),
        "goodput": good / run.wall_s / capacity,
        "refusal_p99_ms": percentile(refusals, 99),
        "lag_p99_ms": percentile(lags, 99),
        "growth": growth,
    }


def missed(rows: Sequence[dict[str, Any]], budget_ms: int) -> Iterator[str]:
    """Targets that were not reached."""
    for row in rows:
        at = f"at {row['load']} x capacity"
        if row["lag_p99_ms"] > MOST_LAG * budget_ms:
            yield f"the generator sent {row['lag_p99_ms']:.0f} ms late {at}: times there are its own"
        if row["p99_ms"] > budget_ms:
            yield f"p99 {row['p99_ms']:.0f} ms {at}"
        if row["goodput"] < TARGET_GOODPUT:
            yield f"goodput {row['goodput']:.1%} {at}"
        if row["refusal_p99_ms"] > TARGET_REFUSAL_MS:
            yield f"p99 of refusals {row['refusal_p99_ms']:.1f} ms {at}"
        if row["growth"] > TARGET_GROWTH:
            yield f"memory grew by {row['growth']:.1%} {at}"
        if set(row["statuses"]) - {"200", "503"}:
            yield f"statuses {row['statuses']} {at}"


def measure(target: Target, options: argparse.Namespace) -> tuple[float, list[dict[str, Any]]]:
    """Capacity (answers per second), and a row per factor."""
    kinds = len(target.requests)

    def closed(count: int, seed: int) -> load.Run:
        order = load.sequence(count, kinds, seed)
        return load.closed_loop("127.0.0.1", target.port, target.requests, order, options.clients)

    rate = closed(options.clients * 8, 1).rps
    capacity = percentile([closed(int(rate * options.seconds / 4) + 1, seed).rps for seed in (2, 3, 4)], 50)
    # What a first crowd of connections takes stays: it is no growth.
    order = load.sequence(int(capacity * options.seconds), kinds, 7)
    load.open_loop("127.0.0.1", target.port, target.requests, order, max(options.factors) * capacity, 8)
    rows = []
    for factor in options.factors:
        before = process.pss_bytes(target.pid)
        order = load.sequence(int(factor * capacity * options.seconds), kinds, 5)
        run = load.open_loop("127.0.0.1", target.port, target.requests, order, factor * capacity, 6)
        growth = process.pss_bytes(target.pid) / before - 1
        rows.append(row_of(factor, run, capacity, options.budget_ms, growth))
    return capacity, rows


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--real", action="store_true", help="image classification instead of the fake engine")
    made.add_argument("--budget-ms", type=int, default=300)
    made.add_argument("--factors", type=float, nargs="+", default=FACTORS, help="multiples of the capacity")
    made.add_argument("--seconds", type=float, default=20.0, help="length of each run")
    made.add_argument("--clients", type=int, default=6, help="of the closed loop that finds the capacity")
    made.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    options = made.parse_args()
    if options.quick:
        options.seconds = 3.0
    gc.disable()  # this process's pauses would be measured as the server's
    with (real if options.real else fake)(options.budget_ms) as target:
        capacity, rows = measure(target, options)
    print(f"capacity {capacity:.1f} requests/s, budget {options.budget_ms} ms")
    shown = ("load", "sent", "p50_ms", "p99_ms", "goodput", "refusal_p99_ms", "lag_p99_ms", "growth")
    print(table(shown, [[row[name] for name in shown] for row in rows]))
    for row in rows:
        print(f"  {row['load']} x: {row['statuses']}")
    faults = list(missed(rows, options.budget_ms))
    report("overload", rows, options=vars(options), path=options.json, capacity=capacity)
    if faults:
        print("missed: " + "; ".join(faults))
    raise SystemExit(1 if faults and options.check else 0)


if __name__ == "__main__":
    main()
