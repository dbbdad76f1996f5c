"""OCR served end to end: this server against PaddleX's own serving, same images, same weights, same run.

    python -m benchmarks.bench_ocr                        everything, 80 minutes on two cores
    python -m benchmarks.bench_ocr --budget-minutes 20 --rounds 1    the same with fewer requests
    python -m benchmarks.bench_ocr --quick                does it work? figures mean nothing
    python -m benchmarks.bench_ocr --peers all            RapidOCR and OCR libraries too (ocr_peers.py)

Builds PaddleX's environment on first use, renders the image set, checks that all servers read the
same texts, then loads one server at a time: closed loop (``--clients``) and open loop (Poisson
arrivals, latency from the scheduled time). Every round visits all servers, every second round in
reverse, so that a drifting machine favours nobody. PP-OCRv4 mobile, ``visualize`` false.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from . import bench_engine, compare, load, ocr_peers, pages, peers, process
from .common import ROOT, parser, report, summary

#: The level whose tail is compared; it gets ``--requests``, every other one ``--other-requests``.
TAIL_CLIENTS = 8
#: Offered load of the open loop, as a share of a closed-loop throughput.
OPEN_SHARE = 0.7
#: Order of a round; the fastest peer comes first because the common open-loop rate follows from it.
ORDER = (
    peers.PADDLEX_ONNX, peers.OPENVINO, peers.AUTO, peers.PADDLEX_DEFAULT, peers.ONNXRUNTIME, peers.PADDLE,
)  # fmt: skip
#: How a time budget is shared: slow servers get more, so that all send about as many requests.
WEIGHTS = {peers.PADDLEX_DEFAULT: 3.0, peers.PADDLEX_ONNX: 2.0, peers.PADDLE: 1.5}
#: Measured passes of an OCR library over the images.
LIBRARY_PASSES = 3
#: Whose texts those of the peers beside PaddleX are compared with: the same files in f32.
REFERENCE = "ours v6 onnxruntime"
#: Passes over the images of the bare engine, per form and round.
BARE_PASSES = 3
#: Clients of each warm-up pass: alone, as all cores work for one request, and together, so that both forms
#: of the engines of each device meet most shapes.
WARM_CLIENTS = (1, 4)


class Cell:
    """One server at one load: answers of all rounds."""

    def __init__(self, server: str, loop: str, level: float) -> None:
        self.server, self.loop, self.level = server, loop, level
        self.latencies_ms: list[float] = []
        self.sent = self.failed = self.wrong = 0
        self.wall_s = self.cpu_s = self.others = self.steal = 0.0
        self.peak_pss = 0

    def add(self, run: load.Run, usage: process.Usage, expected: Sequence[list[str]]) -> None:
        """Add one round. An answer is wrong when its texts differ from ``expected`` of its image."""
        self.latencies_ms += run.latencies_ms
        self.sent += len(run.answers)
        self.failed += run.failed
        good = [answer for answer in run.answers if answer.status == 200]
        self.wrong += sum(load.texts(answer.body) != expected[answer.index] for answer in good)
        self.wall_s += run.wall_s
        self.cpu_s += usage.cpu_s
        self.peak_pss = max(self.peak_pss, usage.peak_pss)
        self.others, self.steal = max(self.others, usage.others), max(self.steal, usage.steal)

    @property
    def rps(self) -> float:
        return (self.sent - self.failed) / self.wall_s if self.wall_s else 0.0

    def row(self) -> dict[str, Any]:
        """Figures of this cell, as they are printed and written."""
        return {
            "server": self.server,
            "loop": self.loop,
            "level": self.level,
            "sent": self.sent,
            "failed": self.failed,
            "wrong": self.wrong,
            "rps": self.rps,
            "latency_ms": summary(self.latencies_ms),
            "cpu_s_per_request": self.cpu_s / max(1, self.sent - self.failed),
            "peak_pss_mib": self.peak_pss / 2**20,
            "others_cores": self.others,
            "steal_cores": self.steal,
        }


class Bench:
    """State of one run of the benchmark."""

    def __init__(self, options: argparse.Namespace, servers: dict[str, peers.Server] | None = None) -> None:
        self.options = options
        self.servers = servers or peers.standard(options.peers_dir)
        # The first sheets are the small ones.
        self.images = pages.render_all(peers.font())[: 3 if options.quick else None]
        self.bodies = [load.ocr_body(image) for image in self.images]
        self.cells: dict[tuple[str, str, float], Cell] = {}
        self.texts: dict[str, list[list[str]]] = {}
        self.startup_s: dict[str, list[float]] = {}
        self.errors: dict[str, str] = {}
        self.bare: list[dict[str, float]] = []
        self.end_s = time.monotonic() + 60 * (options.budget_minutes or 1e6)

    def run(self) -> None:
        """All rounds. A server that does not come up is noted and left out."""
        order = ORDER if peers.PADDLEX_ONNX in self.servers else tuple(self.servers)
        names = [name for name in order if not self.options.only or name in self.options.only]
        rounds = [names[:: -1 if number % 2 else 1] for number in range(self.options.rounds)]
        visits = [(number, name) for number, order in enumerate(rounds) for name in order]
        for place, (number, name) in enumerate(visits):
            if name in self.errors:
                continue
            weights = [WEIGHTS.get(other, 1.0) for _, other in visits[place:]]
            slice_s = (self.end_s - time.monotonic()) * weights[0] / sum(weights)
            try:
                self._visit(name, last=number == len(rounds) - 1, until_s=time.monotonic() + slice_s)
                if name == peers.OPENVINO and not self.options.no_bare:
                    self._bare()
            except RuntimeError as error:
                self.errors[name] = str(error)
                print(f"{name}: {error}", flush=True)

    def _visit(self, name: str, *, last: bool, until_s: float) -> None:
        """One server in one round: start, warm up, all closed loops, in the last round the open ones."""
        server, port = self.servers[name], process.free_port()
        if server.prepare and name not in self.startup_s:
            subprocess.run(server.prepare, check=True, cwd=ROOT)
        log = self.options.peers_dir / "logs" / f"{name.replace(' ', '-')}.log"
        with process.running(server.on(port), port, log, ready_path=server.ready_path, env=server.env) as (
            pid,
            took,
        ):
            self.startup_s.setdefault(name, []).append(took)
            requests = [load.request_bytes("127.0.0.1", port, "/ocr", body) for body in self.bodies]
            rate = self._warm(name, port, requests)
            print(f"{name}: ready in {took:.1f} s, about {rate:.2f} requests/s", flush=True)
            plan = [("closed", clients, _weight(clients)) for clients in self.options.clients]
            plan += [("open own", 0, 1.0), ("open common", 0, 1.0)] * (last and not self.options.no_open)
            for place, (kind, clients, share) in enumerate(plan):
                seconds = (until_s - time.monotonic()) * share / sum(entry[2] for entry in plan[place:])
                level = float(clients) if kind == "closed" else self._open_rate(name, kind == "open common")
                if level:
                    cell = self._cell(name, kind.split()[0], level)
                    count = self._count(cell, level if cell.loop == "open" else rate, seconds)
                    self._load(cell, pid, port, requests, count)

    def _bare(self) -> None:
        """The engine with no server, right beside the row it is compared with."""
        passes = 1 if self.options.quick else BARE_PASSES
        self.bare.append(bench_engine.measure("openvino", "tight", passes, self.images))
        print(f"  bare engine: {self.bare[-1]['ceiling']:.2f} images/s", flush=True)

    def _cell(self, *key: Any) -> Cell:
        return self.cells.setdefault(key, Cell(*key))

    def _warm(self, name: str, port: int, requests: Sequence[bytes]) -> float:
        """Unmeasured passes over all images; notes the texts. Returns requests per second of the last."""
        for clients in WARM_CLIENTS:
            order = load.sequence(len(requests), len(requests), seed=clients)
            run = load.closed_loop("127.0.0.1", port, requests, order, clients)
            if run.failed:
                broken = next(answer for answer in run.answers if answer.status != 200)
                raise RuntimeError(f"status {broken.status} while warming up: {broken.body[:300]!r}")
        ordered = sorted(run.answers, key=lambda answer: answer.index)
        self.texts.setdefault(name, [load.texts(answer.body) for answer in ordered])
        return run.rps

    def _count(self, cell: Cell, rate: float, seconds: float) -> int:
        """Requests of a cell in this round: what was asked for, less when the time does not allow it.

        Whole passes over the images, so that every cell has the same mix of work.
        """
        kinds = len(self.bodies)
        if self.options.quick:
            return max(kinds, math.ceil(cell.level))
        tail = cell.loop == "closed" and cell.level == TAIL_CLIENTS
        asked = self.options.requests if tail else self.options.other_requests
        asked /= 1 if cell.loop == "open" else self.options.rounds
        least = math.ceil(cell.level / kinds) if cell.loop == "closed" else 1
        return kinds * min(math.ceil(asked / kinds), max(least, int(rate * seconds / kinds)))

    def _open_rate(self, name: str, common: bool) -> float:
        """Own share of own throughput, or everybody's share of the fastest peer's. 0: do not run."""
        own, fastest = self._throughput(name), self._throughput(peers.PADDLEX_ONNX)
        if not common:
            return round(OPEN_SHARE * own, 3)
        if name == peers.PADDLEX_ONNX or OPEN_SHARE * fastest > 0.95 * own:
            return 0.0  # measured already, or more than this server can do: its queue would only grow
        return round(OPEN_SHARE * fastest, 3)

    def _throughput(self, name: str) -> float:
        closed = [
            cell.rps for (server, loop, _), cell in self.cells.items() if (server, loop) == (name, "closed")
        ]
        return max(closed, default=0.0)

    def _load(self, cell: Cell, pid: int, port: int, requests: Sequence[bytes], count: int) -> None:
        order = load.sequence(count, len(requests), seed=count)
        with process.Meter(pid) as meter:
            if cell.loop == "closed":
                run = load.closed_loop("127.0.0.1", port, requests, order, int(cell.level))
            else:
                run = load.open_loop("127.0.0.1", port, requests, order, cell.level, seed=count)
        cell.add(run, meter.usage, self.texts[cell.server])
        print(f"  {compare.one_line(cell.row())}", flush=True)


def _weight(clients: int) -> float:
    return 3.0 if clients == TAIL_CLIENTS else 1.0


def _clients(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _options() -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument("--budget-minutes", type=float, help="fit everything into this time by sending less")
    options.add_argument("--requests", type=int, default=507, help=f"at {TAIL_CLIENTS} clients, per server")
    options.add_argument("--other-requests", type=int, default=104, help="at each other level, per server")
    options.add_argument("--clients", type=_clients, default=[1, 2, 4, 8, 16], metavar="N,N,...")
    options.add_argument("--rounds", type=int, default=2, help="starts of each server")
    options.add_argument("--only", action="append", metavar="ROW", help="only this server (repeatable)")
    options.add_argument("--no-bare", action="store_true", help="leave the bare engine out")
    options.add_argument("--no-open", action="store_true", help="leave the open loop out")
    options.add_argument(
        "--peers", choices=("paddlex", "all"), default="paddlex",
        help="all: afterwards RapidOCR behind FastAPI too, and OCR libraries on one core (PP-OCRv6 small)",
    )  # fmt: skip
    options.add_argument(
        "--peers-dir",
        type=Path,
        default=peers.DEFAULT_FOLDER,
        metavar="DIR",
        help="for environments and logs",
    )
    found = options.parse_args()
    if found.quick:
        found.rounds = 1
    return found


def rows(bench: Bench) -> Iterator[dict[str, Any]]:
    """All cells, PaddleX first, closed before open, by level."""
    places = {name: place for place, name in enumerate(bench.servers)}
    for cell in sorted(bench.cells.values(), key=lambda c: (c.loop, c.level, places[c.server])):
        yield cell.row()


def _others(options: argparse.Namespace) -> tuple[Bench, dict[str, Any]]:
    """Peers beside PaddleX: what is served, and libraries. Printed, and for the report."""
    bench = Bench(options, ocr_peers.servers(options.peers_dir))
    bench.run()
    passes = 1 if options.quick else LIBRARY_PASSES
    libraries = list(ocr_peers.libraries(options.peers_dir, bench.images, passes))
    found = list(rows(bench))
    print("\n" + compare.report_text(found, {}, [], bench.startup_s))
    print("\n" + ocr_peers.report_text(libraries))
    reference = bench.texts.get(REFERENCE)
    texts = {name: ocr_peers.agreement(each, reference) for name, each in bench.texts.items() if reference}
    return bench, {"served": found, "libraries": libraries, "agreement": texts}


def main() -> None:
    options = _options()
    bench = Bench(options)
    bench.run()
    others, more = _others(options) if options.peers == "all" else (None, None)
    found = list(rows(bench))
    agreement = compare.agreement(bench.texts)
    kept = compare.kept_characters(bench.texts)
    ceiling = statistics.mean(bare["ceiling"] for bare in bench.bare) if bench.bare else None
    targets = compare.targets(found, ceiling, kept)
    print("\n" + compare.report_text(found, agreement, targets, bench.startup_s))
    report(
        "ocr", found, options=vars(options), path=options.json, agreement=agreement, targets=targets,
        startup_s=bench.startup_s, bare=bench.bare, errors=bench.errors,
        peers=peers.paddlex_versions(options.peers_dir),
        lines=[len(texts) for texts in next(iter(bench.texts.values()), [])], others=more,
    )  # fmt: skip
    if errors := [*bench.errors, *(others.errors if others else ())]:
        raise SystemExit(f"not measured: {', '.join(errors)}")


if __name__ == "__main__":
    main()
