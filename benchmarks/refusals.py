"""What a refusal costs the server itself: processor time of the worker, and time in the kernel's eyes.

    python -m benchmarks.refusals

One long page keeps the only device busy and more is not let in, so every request is refused; one client sends
them one after another. Processor time is the worker's, user and system; the other times are those of
``wire_times.py``, from the request's header to its answer. Other work on the machine makes both longer, the
latter by far.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from kernels.slots import CLAIMED
from server.config import Limits
from server.liveness import Policy
from tests.conditions import wait_for
from tests.fakes import body, fake_config, page
from tests.harness import Server

from . import epoll_load, load, process
from .common import parser, percentile, report, table
from .wire_times import Wire

#: Bytes of a body: a small request, a page, a photograph.
SIZES = (1_000, 30_000, 350_000)
#: The page that fills the queue takes so long; a device that computes that long is not hung.
PAGE_MS = 20_000
PATIENT = msgspec.structs.replace(Policy(), stage_floor_ns=60_000_000_000)


def rows_of(server: Any, count: int) -> Iterator[dict[str, Any]]:
    """Figures for each size."""
    (worker,) = server.pids("worker")
    for size in SIZES:
        request = load.request_bytes("127.0.0.1", server.port, "/ocr", b"x" * size)
        epoll_load.closed_loop("127.0.0.1", server.port, [request], [0] * 100, 1)
        before = process.cpu_s(worker)
        with Wire(server.port) as wire:
            run = epoll_load.closed_loop("127.0.0.1", server.port, [request], [0] * count, 1)
        used = process.cpu_s(worker) - before
        if {answer.status for answer in run.answers} != {503}:
            raise RuntimeError("not everything was refused: the machine is too slow for this")
        passed = [1e3 * each.seconds for each in wire.passed]
        yield {
            "bytes": size,
            "refused": len(run.answers),
            "cpu_ms": 1e3 * used / count,
            "p50_ms": percentile(passed, 50),
            "p99_ms": percentile(passed, 99),
        }


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Serve one page and refuse all others meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        limits = Limits(max_queue_ms=1)
        config = fake_config(Path(folder, "models"), devices=1, slow_ms=PAGE_MS, limits=limits)
        with Server(config, folder, PATIENT) as server:
            server.wait_ready(60.0)
            long = threading.Thread(
                target=server.post, args=[body(page(1, fault="slow"))], kwargs={"timeout": 60.0}
            )
            long.start()
            wait_for(lambda: server.slots.count(CLAIMED), 30.0, "the page is with the device")
            rows = list(rows_of(server, options.count))
            long.join()
    return rows


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--count", type=int, default=2000, help="refusals of each size")
    options = made.parse_args()
    if options.quick:
        options.count = 50
    rows = run(options)
    shown = ("bytes", "refused", "cpu_ms", "p50_ms", "p99_ms")
    print(table(shown, [[row[name] for name in shown] for row in rows]))
    report("refusals", rows, options=vars(options), path=options.json)


if __name__ == "__main__":
    main()
