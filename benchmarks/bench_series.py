"""Time-series pipelines served end to end, against PaddleX's own serving: same CSVs, same weights, same run.

    python -m benchmarks.bench_series --paddle-models DIR --json benchmarks/results/series.json  3 minutes
    python -m benchmarks.bench_series --quick                                                    does it work?

CSVs of 1,000 rows (100 for the classifier, which takes no more) of 5 to 20 KB, pictures off, 1 and 8 clients
in a closed loop that costs about 0.05 ms a request (``epoll_load.py``). PaddleX runs these models in Paddle's
format only, so its row needs ``--paddle-models DIR``: the same weights with ``scaler.pkl``, which
``tools/weights/time_series.py`` writes. Every answer is compared with PaddleX's, or else the first server's.
"""

from __future__ import annotations

import argparse
import base64
import csv
import io
import math
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from pipelines.core.models import resolve
from pipelines.core.registry import find_pipeline, load_pipeline

from . import epoll_load, load, peers, process
from .common import parser, report, summary, table

PADDLEX = "paddlex"
OURS = {"ours onnxruntime": "onnxruntime", "ours openvino": "openvino"}
ENVIRONMENT = "paddlex-ts"
#: Different CSVs of a subject, and decimals to which numbers have to agree.
SERIES, DECIMALS = 8, 3
#: Unmeasured requests of each number of clients.
WARM = 40
#: Targets of the project: throughput over PaddleX's at the most clients, and median latency of one client.
TARGET_RATIO, TARGET_P50_MS = 20.0, 5.0


class Subject(NamedTuple):
    """One pipeline: its model here and in PaddleX's table of names, and how a CSV is made of a seed."""

    submodule: str
    model: str
    model_name: str
    make: Callable[[np.random.Generator], str]


def rows_of(header: str, times: Sequence[object], values: np.ndarray) -> str:
    """A CSV with four decimals."""
    lines = [f"{t},{','.join(f'{value:.4f}' for value in row)}" for t, row in zip(times, values, strict=True)]
    return "\n".join([header, *lines, ""])


def forecast_csv(random: np.random.Generator) -> str:
    """1,000 weeks that rise and swing by the year."""
    weeks = np.arange(1000)
    level = 320 + weeks / 25 + 3 * np.sin(weeks * 2 * math.pi / 52.2) + random.normal(0, 0.3, 1000)
    days = [date(1980, 1, 6) + timedelta(weeks=int(week)) for week in weeks]
    return rows_of("date,co2", days, level[:, np.newaxis])


def anomaly_csv(random: np.random.Generator) -> str:
    """1,000 beats, with a bump in the last ones."""
    level = 70 + 12 * np.sin(np.arange(1000) / 6) + random.normal(0, 0.5, 1000)
    level[-40:-34] += 25
    return rows_of("timestamp,value", range(5000, 6000), level[:, np.newaxis])


def classification_csv(random: np.random.Generator) -> str:
    """100 rows of six sensors."""
    speed, size = random.uniform(0.05, 1.1), random.uniform(0.5, 9.0)
    values = size * np.sin(speed * np.arange(100)[:, np.newaxis] + np.arange(6)) + np.arange(6) / 5
    return rows_of("time," + ",".join(f"dim_{k}" for k in range(6)), range(100), values)


SUBJECTS = {
    "ts_forecast": Subject("TSForecast", "ts_forecast_dlinear_co2", "DLinear", forecast_csv),
    "ts_anomaly_detection": Subject(
        "TSAnomalyDetection", "ts_anomaly_autoencoder_ucr135", "AutoEncoder_ad", anomaly_csv
    ),
    "ts_classification": Subject(
        "TSClassification", "ts_classification_basicmotions", "TimesNet_cls", classification_csv
    ),
}


def servers(name: str, options: argparse.Namespace) -> Iterator[tuple[str, peers.Server]]:
    """Row label and server."""
    subject, work = SUBJECTS[name], options.peers

    def document(folder: str) -> dict[str, Any]:
        model = {"module_name": name, "model_name": subject.model_name, "model_dir": folder}
        return {"pipeline_name": name, "SubModules": {subject.submodule: model}}

    if options.paddle_models:
        folder = str((options.paddle_models / subject.model).absolute())
        yield (
            PADDLEX,
            peers.paddlex_server(work, f"{name} paddlex", document(folder), environment=ENVIRONMENT),
        )
    for label, engine in OURS.items():
        own = document(resolve(subject.model).directory)
        yield label, peers.our_server(work, f"{name} {engine}", own, "--engine", engine)


def gist(body: bytes) -> list[list[str]]:
    """What an answer says, with numbers rounded."""
    found = orjson.loads(body)["result"]
    if "label" in found:
        return [[found["label"], f"{found['score']:.{DECIMALS}f}"]]
    first, *rows = csv.reader(io.StringIO(base64.b64decode(found["csv"]).decode()))
    return [first, *([row[0], *(f"{float(cell):.{DECIMALS}f}" for cell in row[1:])] for row in rows)]


def close(one: list[list[str]], other: list[list[str]]) -> bool:
    """Equal, but for the last decimal of numbers behind the first cell."""
    if one == other:
        return True
    if [row[0] for row in one] != [row[0] for row in other] or one[0] != other[0]:
        return False
    numbers = [np.array([row[1:] for row in side[1:]], np.float64) for side in (one, other)]
    return bool(numbers[0].shape == numbers[1].shape and np.abs(numbers[0] - numbers[1]).max() < 2e-3)


def visit(
    name: str, label: str, server: peers.Server, known: list[list[list[str]]], options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """One server: start, warm up, every number of clients. Its first answers go to an empty ``known``."""
    port = process.free_port()
    path = load_pipeline(find_pipeline(name)).operations[0].path
    bodies = [SUBJECTS[name].make(np.random.default_rng(seed)).encode() for seed in range(SERIES)]
    requests = [
        load.request_bytes(
            "127.0.0.1",
            port,
            path,
            orjson.dumps({"csv": base64.b64encode(body).decode(), "visualize": False}),
        )
        for body in bodies
    ]

    def loop(count: int, clients: int) -> load.Run:
        order = load.sequence(count, SERIES, seed=count)
        run = epoll_load.closed_loop("127.0.0.1", port, requests, order, clients)
        if run.failed:
            broken = next(answer for answer in run.answers if answer.status != 200)
            raise RuntimeError(f"status {broken.status}: {broken.body[:200].decode(errors='replace')}")
        return run

    log = options.peers / "logs" / f"{name}-{label.replace(' ', '-')}.log"
    with process.running(server.on(port), port, log, ready_path=server.ready_path, env=server.env) as (
        pid,
        _,
    ):
        first = sorted(loop(SERIES, 1).answers, key=lambda answer: answer.index)
        known.extend([gist(answer.body) for answer in first] if not known else [])
        for clients in options.clients:
            loop(WARM, clients)
            rate = loop(WARM, clients).rps
            with process.Meter(pid) as meter:
                run = loop(max(2 * SERIES, int(rate * options.seconds)), clients)
            wrong = sum(not close(gist(answer.body), known[answer.index]) for answer in run.answers)
            row = {
                "subject": name, "server": label, "clients": clients,
                "sent": len(run.answers), "wrong": wrong,
                "rps": run.rps, "latency_ms": summary(run.latencies_ms),
                "cpu_ms_per_request": 1e3 * meter.usage.cpu_s / len(run.answers),
                "others_cores": meter.usage.others, "peak_pss_mib": meter.usage.peak_pss / 2**20,
            }  # fmt: skip
            print(
                f"  {label}, c={clients}: {run.rps:.1f}/s, p50 {row['latency_ms']['p50']:.2f} ms", flush=True
            )
            yield row


def over_paddlex(rows: Sequence[dict[str, Any]]) -> None:
    """Add the ratio of throughput to PaddleX's at the same load."""
    theirs = {(r["subject"], r["clients"]): r["rps"] for r in rows if r["server"] == PADDLEX}
    for row in rows:
        peer = theirs.get((row["subject"], row["clients"]))
        row["of_paddlex"] = row["rps"] / peer if peer else None


def missed(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Targets that a run did not reach."""
    for row in rows:
        name = f"{row['subject']}, {row['server']}"
        if row["server"] not in OURS:
            continue
        if row["clients"] == 1 and row["latency_ms"]["p50"] > TARGET_P50_MS:
            yield f"{name}: p50 {row['latency_ms']['p50']:.2f} ms at one client"
        if row["clients"] > 1 and (row["of_paddlex"] or TARGET_RATIO) < TARGET_RATIO:
            yield f"{name}: {row['of_paddlex']:.1f} x PaddleX at {row['clients']} clients"
        if row["wrong"]:
            yield f"{name}: {row['wrong']} answers are not PaddleX's"


def main() -> None:
    options = _options()
    started, rows = time.monotonic(), []
    for name in options.subject or SUBJECTS:
        print(f"{name}:", flush=True)
        known: list[list[list[str]]] = []
        for label, server in servers(name, options):
            rows.extend(visit(name, label, server, known, options))
    over_paddlex(rows)
    header = (
        "pipeline", "server", "clients", "req/s", "x PaddleX", "p50 ms", "p99 ms", "CPU ms",
        "wrong", "others",
    )  # fmt: skip
    shown = [
        (
            row["subject"], row["server"], row["clients"], row["rps"], row["of_paddlex"],
            row["latency_ms"]["p50"], row["latency_ms"]["p99"], row["cpu_ms_per_request"], row["wrong"],
            row["others_cores"],
        )
        for row in rows
    ]  # fmt: skip
    print("\n" + table(header, shown))
    versions = peers.paddlex_versions(options.peers, ENVIRONMENT) if options.paddle_models else None
    report(
        "series", rows, options=vars(options), path=options.json, peers=versions,
        minutes=(time.monotonic() - started) / 60,
    )  # fmt: skip
    faults = list(missed(rows))
    print("missed: " + "; ".join(faults) if faults else "no target missed")
    raise SystemExit(1 if faults and options.check else 0)


def _options() -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument("--subject", action="append", choices=SUBJECTS, help="only this one (repeatable)")
    options.add_argument("--clients", type=lambda text: [int(n) for n in text.split(",")], default=[1, 8])
    options.add_argument("--seconds", type=float, default=4.0, help="of each cell, about")
    options.add_argument("--paddle-models", type=Path, metavar="DIR", help="models in Paddle's format")
    options.add_argument("--peers", type=Path, default=peers.DEFAULT_FOLDER, help="folder of the peers")
    options.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    found = options.parse_args()
    if found.quick:
        found.seconds = 0.5
    return found


if __name__ == "__main__":
    main()
