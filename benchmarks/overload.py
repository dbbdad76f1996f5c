"""Overload: Poisson arrivals at multiples of the capacity against ``--latency_budget_ms``.

    python -m benchmarks.overload                              a fake engine with a fixed cost, two minutes
    python -m benchmarks.overload --real image_classification  a real model
    python -m benchmarks.overload --real OCR --budget-ms 3000

The generator has the last core for itself, the server all others (``--mixed``: both have all). The capacity
is what a closed loop of the same generator gets. Latency of what is served counts from the time a request was
due. Goodput is what was answered in time, over the capacity. Refusals are timed twice: in the kernel, from
the request's header to the answer (``wire_times.py``), and by clients of their own at a raised priority
(``probe.py``), which send a part of the load. The fake engine sleeps, so that its capacity does not depend on
what else the machine does.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from pipelines.core.registry import find_pipeline, load_pipeline
from server.config import Limits
from tests.fakes import body, fake_config, page
from tests.harness import Server

from . import image_subjects, load, pages, peers, process
from .common import parser, percentile, report, table
from .probe import Seen, probing
from .wire_times import Passed, Wire

FACTORS = (1.2, 2.0, 3.0)
#: One-thread time of the fake detector, and of each of its two recognitions.
FAKE_MS, LINE_MS, LINES = 30.0, 2.0, 2
#: Part of the capacity that the probe sends, of which it gets few answers: the rest is refused.
PROBED = 0.4
#: Sheets of the real OCR: small ones, so that a run holds many.
OCR_SHEETS = ("caption", "card", "sign")
#: Share of the budget that the load generator may be late by before a run says nothing about the server.
MOST_LAG = 0.05
#: The project's targets: share of the capacity, milliseconds to a refusal, growth of memory.
TARGET_GOODPUT, TARGET_REFUSAL_MS, TARGET_GROWTH = 0.95, 2.0, 0.02


class Target(NamedTuple):
    """A running server: supervisor, port, requests to send."""

    pid: int
    port: int
    requests: list[bytes]


def share_cores(mixed: bool) -> tuple[set[int], set[int]]:
    """Cores of the server, and of those who load it: the last one, where there are several."""
    cores = sorted(os.sched_getaffinity(0))
    if mixed or len(cores) == 1:
        return set(cores), set(cores)
    return set(cores[:-1]), {cores[-1]}


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


def real_subject(name: str) -> tuple[dict[str, Any], list[bytes]]:
    """Pipeline document and bodies of a real pipeline: ``OCR``, or one of ``image_subjects.py``."""
    if name == "OCR":
        font = peers.font()
        sheets = [pages.render(sheet, font) for sheet in pages.SHEETS if sheet.name in OCR_SHEETS]
        return peers.ocr_document(), [load.ocr_body(sheet) for sheet in sheets]
    pictures = [base64.b64encode(each).decode() for each in image_subjects.pictures(name)]
    return (
        image_subjects.SUBJECTS[name].document(),
        [orjson.dumps({"image": each, "visualize": False}) for each in pictures],
    )


@contextlib.contextmanager
def real(name: str, budget_ms: int) -> Iterator[Target]:
    """A real pipeline on ONNX Runtime, one process per core."""
    document, bodies = real_subject(name)
    path = load_pipeline(find_pipeline(document["pipeline_name"])).operations[0].path
    arguments = ("--engine", "onnxruntime", "--latency_budget_ms", str(budget_ms))
    with tempfile.TemporaryDirectory() as folder:
        server = peers.our_server(Path(folder), "overload", document, *arguments)
        port, log = process.free_port(), Path(folder, "log")
        with process.running(server.on(port), port, log, ready_path=server.ready_path) as (pid, _):
            yield Target(pid, port, [load.request_bytes("127.0.0.1", port, path, each) for each in bodies])


def row_of(
    factor: float,
    run: load.Run,
    seen: Sequence[Seen],
    wire: Sequence[Passed],
    capacity: float,
    budget_ms: int,
) -> dict[str, Any]:
    """Figures of one run, without its memory."""
    lags = [1e3 * answer.late_s for answer in run.answers]
    refusals = [1e3 * each.seconds for each in seen if each.status == 503]
    passed = [1e3 * each.seconds for each in wire if each.status == 503]
    served = run.latencies_ms + [1e3 * each.seconds for each in seen if each.status == 200]
    good = sum(latency <= budget_ms for latency in served)
    statuses = Counter(a.status for a in run.answers) + Counter(each.status for each in seen)
    return {
        "load": factor,
        "sent": len(run.answers) + len(seen),
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "p50_ms": percentile(served, 50),
        "p99_ms": percentile(served, 99),
        "goodput": good / run.wall_s / capacity,
        "refused": len(passed),
        "refusal_p50_ms": percentile(passed, 50),
        "refusal_p99_ms": percentile(passed, 99),
        "client_refused": len(refusals),
        "client_p50_ms": percentile(refusals, 50),
        "client_p99_ms": percentile(refusals, 99),
        "lag_p99_ms": percentile(lags, 99),
    }


def missed(rows: Sequence[Mapping[str, Any]], budget_ms: int) -> Iterator[str]:
    """Targets that were not reached."""
    for row in rows:
        at = f"at {row['load']} x capacity"
        if row["lag_p99_ms"] > MOST_LAG * budget_ms:
            yield f"the generator sent {row['lag_p99_ms']:.0f} ms late {at}: times there are its own"
        if row["p99_ms"] > budget_ms:
            yield f"p99 {row['p99_ms']:.0f} ms {at}"
        if row["goodput"] < TARGET_GOODPUT:
            yield f"goodput {row['goodput']:.1%} {at}"
        if not row["refusal_p99_ms"] <= TARGET_REFUSAL_MS:
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
        probed = PROBED * capacity
        order = load.sequence(int((factor - PROBED) * capacity * options.seconds), kinds, 5)
        with (
            probing(target.port, target.requests, probed, options.seconds, 9) as probe,
            Wire(target.port) as wire,
        ):
            probe.begin()
            rest = factor * capacity - probed
            run = load.open_loop("127.0.0.1", target.port, target.requests, order, rest, 6)
            row = row_of(factor, run, probe.seen(), wire.passed, capacity, options.budget_ms)
        rows.append(row | {"growth": process.pss_bytes(target.pid) / before - 1})
    return capacity, rows


def main() -> None:
    made = parser(__doc__)
    made.add_argument(
        "--real",
        choices=("OCR", *image_subjects.SUBJECTS),
        help="a real pipeline in place of the fake engine",
    )
    made.add_argument("--budget-ms", type=int, default=300)
    made.add_argument("--factors", type=float, nargs="+", default=FACTORS, help="multiples of the capacity")
    made.add_argument("--seconds", type=float, default=20.0, help="length of each run")
    made.add_argument("--clients", type=int, default=6, help="of the closed loop that finds the capacity")
    made.add_argument("--mixed", action="store_true", help="server and generator share all cores")
    made.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    options = made.parse_args()
    if options.quick:
        options.seconds = 3.0
    cores, own = share_cores(options.mixed)
    os.sched_setaffinity(0, cores)  # what is started now keeps them
    target_of = real(options.real, options.budget_ms) if options.real else fake(options.budget_ms)
    with target_of as target:
        os.sched_setaffinity(0, own)
        capacity, rows = measure(target, options)
    print(f"capacity {capacity:.1f} requests/s, budget {options.budget_ms} ms, server on cores {cores}")
    shown = (
        "load", "sent", "p50_ms", "p99_ms", "goodput", "refused", "refusal_p50_ms", "refusal_p99_ms",
        "client_p50_ms", "client_p99_ms", "lag_p99_ms", "growth",
    )  # fmt: skip
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
