"""What clients that hang up leave to those who stay, at full load.

    python -m benchmarks.leaving

Sixteen clients in a closed loop keep two devices (an engine that sleeps) busy. Then half of them close their
connections in the middle of their requests; then as many others come, who hang up after a while and ask
again, all the time. The figure is what the half that stays gets in each case. Work of clients that have left
is taken back: in the second case those who stay get all there is, in the third more than in the first.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import time
from typing import Any

from . import load, overload
from .common import parser, report, table

#: Clients that stay, and as many that leave.
HALF = 8
#: How long those wait who keep hanging up: less than an answer takes, with 16 items of 35 ms on two devices.
PATIENCE_S = 0.1
#: Times as much as before, at least: once half has closed, and beside those who keep hanging up.
TARGET_CLOSED, TARGET_LEAVING = 1.8, 1.0


class Stayers:
    """Clients in a closed loop. Attributes: ``ends``: when each of their answers was there; ``faults``."""

    def __init__(self, port: int, requests: list[bytes]) -> None:
        self._port, self._requests = port, requests
        self._over = False
        self.ends: list[float] = []
        self.faults = 0

    async def run(self, first: int) -> None:
        client = load.Client("127.0.0.1", self._port)
        try:
            while not self._over:
                status, _ = await client.send(self._requests[first % len(self._requests)])
                self.faults += status != 200
                self.ends.append(time.perf_counter())
        finally:
            client.close()

    def stop(self) -> None:
        self._over = True

    async def rate(self, seconds: float) -> float:
        """Answers a second from now on, for so long."""
        before, began = len(self.ends), time.perf_counter()
        await asyncio.sleep(seconds)
        return (len(self.ends) - before) / (time.perf_counter() - began)


async def leave_again_and_again(port: int, request: bytes) -> None:
    """Ask, hang up before the answer can come, ask again; until cancelled."""
    while True:
        with contextlib.suppress(ConnectionError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(request)
                await asyncio.sleep(PATIENCE_S)
            finally:
                writer.transport.abort()


async def measure(target: overload.Target, seconds: float) -> dict[str, Any]:
    """Answers a second of those who stay, in the three cases."""
    stay = Stayers(target.port, target.requests)
    others = Stayers(target.port, target.requests)
    staying = [asyncio.create_task(stay.run(number)) for number in range(HALF)]
    closing = [asyncio.create_task(others.run(number)) for number in range(HALF)]
    await stay.rate(1.0)
    together = await stay.rate(seconds)
    for client in closing:  # ends its connection wherever it is
        client.cancel()
    closed = await stay.rate(seconds)
    leavers = [
        asyncio.create_task(
            leave_again_and_again(target.port, target.requests[number % len(target.requests)])
        )
        for number in range(HALF)
    ]
    await stay.rate(1.0)
    beside = await stay.rate(seconds)
    for leaver in leavers:
        leaver.cancel()
    stay.stop()
    await asyncio.gather(*staying)
    await asyncio.gather(*closing, *leavers, return_exceptions=True)
    return {"together": together, "closed": closed, "leaving": beside, "faults": stay.faults}


def run(options: argparse.Namespace) -> dict[str, Any]:
    with overload.fake(0) as target:
        return asyncio.run(measure(target, options.seconds))


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--seconds", type=float, default=10.0, help="length of each case")
    made.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    options = made.parse_args()
    if options.quick:
        options.seconds = 1.5
    row = run(options)
    shown = {
        "all stay": row["together"],
        "half have closed": row["closed"],
        "half keep hanging up": row["leaving"],
    }
    print(table(("case", "answers/s of those who stay"), list(shown.items())))
    print(f"{row['closed'] / row['together']:.2f} and {row['leaving'] / row['together']:.2f} times as much")
    report("leaving", row, options=vars(options), path=options.json)
    bad = (
        row["faults"]
        or row["closed"] < TARGET_CLOSED * row["together"]
        or row["leaving"] < TARGET_LEAVING * row["together"]
    )
    sys.exit(1 if bad and options.check else 0)


if __name__ == "__main__":
    main()
