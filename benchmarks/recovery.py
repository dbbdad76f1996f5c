"""How long faults are felt, and what they cost, under load: the figures behind tests/fault.

    python -m benchmarks.recovery                 each fault five times

OCR on fake engines, two workers, two devices, six clients in a closed loop that check every answer; patience
with silent processes is that of the defaults. ``lost`` are requests without their right answer, wherever they
came from; for a dead worker those may be as many as the connections that it held, and no more.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from server.liveness import Policy
from tests.conditions import wait_for
from tests.fakes import fake_config
from tests.harness import Load, Server

from .common import parser, percentile, report, table
from .deaths import clients_of

#: Between answers of ``/health/ready`` for who watches it.
POLL_S = 0.02
LIMIT_S = 60.0
#: Seconds until a frozen process shows in ``/health/ready``.
TARGET_UNREADY_S = 2.0


class Felt(NamedTuple):
    """One fault: seconds until it was over; requests lost, and how many may be."""

    seconds: float
    lost: int
    allowed: int = 0


def _since(began: float, condition: Callable[[], Any], what: str) -> float:
    wait_for(condition, LIMIT_S, what)
    return time.monotonic() - began


def _back(server: Any, gone: set[int]) -> Callable[[], bool]:
    def back() -> bool:
        return server.all_ready() and not gone & {*server.pids("worker"), *server.pids("device")}

    return back


def killed(server: Any, role: str, count: int) -> Felt:
    """SIGKILL for some processes; over when as many serve again."""
    victims = server.pids(role)[:count]
    with Load(server) as load:
        held = sum(len(clients_of(pid, server.port)) for pid in victims) if role == "worker" else 0
        began = time.monotonic()
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        took = _since(began, _back(server, set(victims)), "they are back")
        load.wait_more(6)
    return Felt(took, len(load.faults) + len(load.wrong), held)


def device(server: Any) -> Felt:
    return killed(server, "device", 1)


def all_devices(server: Any) -> Felt:
    return killed(server, "device", 2)


def worker(server: Any) -> Felt:
    return killed(server, "worker", 1)


def _frozen(server: Any, over: Callable[[int], Callable[[], bool]]) -> Felt:
    (victim, *_) = server.pids("device")
    with Load(server) as load:
        began = time.monotonic()
        os.kill(victim, signal.SIGSTOP)
        took = _since(began, over(victim), "it is over")
        wait_for(_back(server, {victim}), LIMIT_S, "it is replaced")
        load.wait_more(6)
    return Felt(took, len(load.faults) + len(load.wrong))


def frozen_is_seen(server: Any) -> Felt:
    """SIGSTOP for a device; over when ``/health/ready`` says so."""

    def seen() -> bool:
        time.sleep(POLL_S)
        return not server.is_ready()

    return _frozen(server, lambda _: seen)


def frozen_is_replaced(server: Any) -> Felt:
    """SIGSTOP for a device; over when another one serves in its place."""
    return _frozen(server, lambda victim: _back(server, {victim}))


def sighup(server: Any) -> Felt:
    """SIGHUP with the same configuration; over when every process is a new one."""
    old = {*server.pids("worker"), *server.pids("device")}
    with Load(server, retry=True) as load:
        began = time.monotonic()
        server.process.send_signal(signal.SIGHUP)
        took = _since(began, _back(server, old), "all are replaced")
        load.wait_more(6)
    return Felt(took, len(load.faults) + len(load.wrong))


def sigterm(server: Any) -> Felt:
    """SIGTERM, with clients that stop when ``/health/ready`` says so; over when the server has ended."""
    with Load(server) as load:
        load.wait_more(6)
        server.remember()
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        while server.is_ready():
            time.sleep(POLL_S)
        load.stop()
    server.process.wait(LIMIT_S)
    return Felt(time.monotonic() - began, len(load.faults) + len(load.wrong))


FAULTS = {
    "kill -9 of a device": device,
    "kill -9 of all devices": all_devices,
    "kill -9 of a worker": worker,
    "a device stopped: seen by /health/ready": frozen_is_seen,
    "a device stopped: replaced": frozen_is_replaced,
    "SIGHUP, same configuration": sighup,
}


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """All faults on one server, and at last the end of it."""
    felt: dict[str, list[Felt]] = {}
    with tempfile.TemporaryDirectory() as folder:
        config = fake_config(Path(folder, "models"), workers=2, config={"drain_grace_ms": 2000})
        with Server(config, folder, Policy()) as server:
            server.wait_ready(LIMIT_S)
            for name, fault in FAULTS.items():
                felt[name] = [fault(server) for _ in range(options.rounds)]
            server.wait_ready(LIMIT_S)
            felt["SIGTERM, 2 s of grace: ended"] = [sigterm(server)]
    return [
        {
            "fault": name,
            "times": len(each),
            "p50_s": percentile([one.seconds for one in each], 50),
            "max_s": max(one.seconds for one in each),
            "lost": sum(one.lost for one in each),
            "allowed": sum(one.allowed for one in each),
        }
        for name, each in felt.items()
    ]


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--check", action="store_true", help="exit 1 when a promise is broken")
    options = made.parse_args()
    if options.quick:
        options.rounds = 1
    rows = run(options)
    shown = ("fault", "times", "p50_s", "max_s", "lost", "allowed")
    print(table(shown, [[row[name] for name in shown] for row in rows]))
    report("recovery", rows, options=vars(options), path=options.json)
    bad = any(row["lost"] > row["allowed"] for row in rows)
    bad = bad or any(row["max_s"] > TARGET_UNREADY_S for row in rows if "health" in row["fault"])
    sys.exit(1 if options.check and bad else 0)


if __name__ == "__main__":
    main()
