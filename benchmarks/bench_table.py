"""Table recognition served end to end against PaddleX's own serving: same pages, same weights, same run.

    python -m benchmarks.bench_table --no-steps --json benchmarks/results/table.json     served, 4 minutes
    python -m benchmarks.bench_table --no-served --json benchmarks/results/table-steps.json   one process
    python -m benchmarks.bench_table --quick                                 does it work?

Served: PaddleX with its default engine and on ONNX Runtime, this server on ONNX Runtime and on OpenVINO, one
after the other, at 4 clients in a closed loop, ``visualize`` false. One YAML: PaddleX's values, PicoDet
(CDLA), SLANet_plus, PP-OCRv4 mobile, upright pages. In one process (``table_steps.py``): how
much of the time for a page with a table of 40 x 12 cells is not an engine's, and the structure step
against its bare engine, with one table and with several in a run.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from . import load, peers, process, table_steps, tables
from .common import parser, report, summary, table

#: Rows of the standard comparison, in the order of their visits.
SERVERS = (peers.PADDLEX_ONNX, peers.OPENVINO, peers.PADDLEX_DEFAULT, peers.ONNXRUNTIME)
#: Ruled, half ruled, with spans and tilted; 24 to 60 cells.
PAGES = ("grid-6x4", "grid-10x5", "lines-12x5", "spans-10x6", "tilted-grid-12x5")
#: Clients of the unmeasured passes, alone and together.
WARM = (1, 4)
#: Measured passes over the pages at least.
PASSES = 2
PATH = "/table-recognition"


def server(name: str, options: argparse.Namespace) -> peers.Server:
    document, label = peers.table_document(), f"table {name}"
    if name == peers.PADDLEX_DEFAULT:
        return peers.paddlex_server(options.peers, label, document)
    if name == peers.PADDLEX_ONNX:
        return peers.paddlex_server(options.peers, label, document, "--engine", "onnxruntime")
    engine = name.removeprefix("ours ")
    return peers.our_server(options.peers, label, document, "--engine", engine, "--padding", "tight")


def tables_of(body: bytes) -> list[str]:
    """The HTML of every table of an answer, page after page."""
    pages = orjson.loads(body)["result"]["tableRecResults"]
    return [found["pred_html"] for page in pages for found in page["prunedResult"]["table_res_list"]]


class Visit:
    """One server: start, warm up, every number of clients.

    Attributes:
        html: tables of each page, as they were answered without load.
    """

    def __init__(self, name: str, options: argparse.Namespace, bodies: Sequence[bytes]) -> None:
        self.name, self._options, self._bodies = name, options, bodies
        self._server = server(name, options)
        self.html: list[list[str]] = []

    def run(self) -> Iterator[dict[str, Any]]:
        """A pass alone and one together, then the rows. Raises RuntimeError when nothing comes up or out."""
        port, found = process.free_port(), self._server
        log = self._options.peers / "logs" / f"table-{self.name.replace(' ', '-')}.log"
        with process.running(found.on(port), port, log, ready_path=found.ready_path, env=found.env) as (
            pid,
            _,
        ):
            requests = [load.request_bytes("127.0.0.1", port, PATH, body) for body in self._bodies]
            rates = [self._warm(port, requests, clients) for clients in WARM]
            for clients in self._options.clients:
                passes = max(PASSES, int(rates[-1] * self._options.seconds / len(requests)))
                yield self._row(pid, port, requests, clients, passes)

    def _warm(self, port: int, requests: Sequence[bytes], clients: int) -> float:
        run = self._pass(port, requests, clients, 1)
        if run.failed:
            broken = next(answer for answer in run.answers if answer.status != 200)
            raise RuntimeError(f"status {broken.status}: {broken.body[:200].decode(errors='replace')}")
        first = {answer.index: tables_of(answer.body) for answer in run.answers}
        self.html = self.html or [first[index] for index in range(len(requests))]
        return run.rps

    def _pass(self, port: int, requests: Sequence[bytes], clients: int, passes: int) -> load.Run:
        order = load.sequence(passes * len(requests), len(requests), seed=clients + passes)
        return load.closed_loop("127.0.0.1", port, requests, order, clients)

    def _row(
        self, pid: int, port: int, requests: Sequence[bytes], clients: int, passes: int
    ) -> dict[str, Any]:
        with process.Meter(pid) as meter:
            run = self._pass(port, requests, clients, passes)
        good = [answer for answer in run.answers if answer.status == 200]
        row = {
            "server": self.name, "clients": clients, "sent": len(run.answers), "failed": run.failed,
            "wrong": sum(tables_of(answer.body) != self.html[answer.index] for answer in good),
            "rps": run.rps, "latency_ms": summary(run.latencies_ms),
            "cpu_s_per_request": meter.usage.cpu_s / max(1, len(good)),
            "others_cores": meter.usage.others, "peak_pss_mib": meter.usage.peak_pss / 2**20,
        }  # fmt: skip
        print(f"  {self.name}, {clients} clients: {run.rps:.2f}/s, {run.failed} failed", flush=True)
        return row


def served(options: argparse.Namespace) -> dict[str, Any]:
    """Rows of all servers, tables answered alike, and what could not be measured."""
    font, sheets = peers.font(), {sheet.name: sheet for sheet in tables.SHEETS}
    names = PAGES[:2] if options.quick else PAGES
    bodies = [load.ocr_body(tables.png(tables.render(sheets[name], font))) for name in names]
    rows, errors, html = [], {}, {}
    for name in SERVERS:
        visit = Visit(name, options, bodies)
        try:
            rows.extend(visit.run())  # keeps what was measured before a failure
        except RuntimeError as error:
            errors[name] = str(error)
            print(f"{name}: {error}", flush=True)
        html[name] = visit.html
    return {"rows": rows, "errors": errors, "agreement": agreement(html), "pages": names}


def agreement(html: dict[str, list[list[str]]]) -> dict[str, str]:
    """For each server, how many of the cells of PaddleX on ONNX Runtime it has, spaces aside."""
    theirs, found = _cells(html[peers.PADDLEX_ONNX]), {}
    for name, pages in html.items():
        ours = _cells(pages)
        equal = sum(map(str.__eq__, ours, theirs)) if len(ours) == len(theirs) else 0
        found[name] = f"{equal} of {len(theirs)}"
    return found


def _cells(pages: Sequence[Sequence[str]]) -> list[str]:
    """What stands in front of each ``</td>``. No text of these pages needs an escape."""
    return [cell.replace(" ", "") for page in pages for html in page for cell in html.split("</td>")]


def print_served(found: dict[str, Any]) -> None:
    rates = {(row["server"], row["clients"]): row["rps"] for row in found["rows"]}

    def ratio(row: dict[str, Any], peer: str) -> float:
        return row["rps"] / rates.get((peer, row["clients"]), math.nan)

    print("\n" + table(
        (
            "server", "clients", "sent", "req/s", "p50 ms", "p99 ms", "CPU-s/req", "PSS MiB", "bad",
            "× default", "× onnxruntime", "others",
        ),
        [
            (
                row["server"], row["clients"], row["sent"], row["rps"], row["latency_ms"].get("p50"),
                row["latency_ms"].get("p99"), row["cpu_s_per_request"], row["peak_pss_mib"],
                row["failed"] + row["wrong"], ratio(row, peers.PADDLEX_DEFAULT),
                ratio(row, peers.PADDLEX_ONNX), row["others_cores"],
            )
            for row in found["rows"]
        ],
    ))  # fmt: skip
    print(f"\ncells as on {peers.PADDLEX_ONNX}: {found['agreement']}")


def steps(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that is measured in this process."""
    repeats = 1 if options.quick else 3
    configurations = [(engine, n) for engine in ("onnxruntime", "openvino") for n in (1, process.cores())]
    outside = [table_steps.outside(engine, n, repeats) for engine, n in configurations]
    print("\n" + table(list(outside[0]), [row.values() for row in outside]))
    rows = [row for config in configurations for row in table_steps.structure(*config, 5 * repeats)]
    print("\n" + table(list(rows[0]), [row.values() for row in rows]))
    return {"outside": outside, "structure": rows}


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--clients", type=lambda text: [int(n) for n in text.split(",")], default=[4])
    options.add_argument("--seconds", type=float, default=25.0, help="of each cell, about")
    options.add_argument("--no-served", action="store_true", help="start no servers")
    options.add_argument("--no-steps", action="store_true", help="leave out what runs in one process")
    options.add_argument("--peers", type=Path, default=peers.DEFAULT_FOLDER, help="folder of PaddleX")
    found = options.parse_args()
    if found.quick:
        found.seconds = 0.1
    began, results, extra = time.monotonic(), {}, {}
    if not found.no_served:
        results["served"] = served(found)
        print_served(results["served"])
        extra["peers"] = peers.paddlex_versions(found.peers)
    if not found.no_steps:
        results["steps"] = steps(found)
    minutes = (time.monotonic() - began) / 60
    report("table", results, options=vars(found), path=found.json, minutes=minutes, **extra)


if __name__ == "__main__":
    main()
