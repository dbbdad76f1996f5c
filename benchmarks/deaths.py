"""Kills and stops processes of a running server at random, one after another, and notes what that may cost.

A device's death may cost nothing; a worker's what is on the connections that it held at that moment; a render
child's the one document that it had.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from tests.harness import POLICY, RECOVERY_S

ROLES = ("worker", "device", "render")
#: The server's option in these runs.
RENDER_TIMEOUT_MS = 5000
#: How long a process takes to stop after it has been told.
_STOP_S = 5.0
#: When a stopped process has been noticed and killed: by its heartbeat, a render child by its time.
_NOTICED_S = max(POLICY.heartbeat_ns / 1e9, RENDER_TIMEOUT_MS / 1e3)


class Deaths:
    """What was killed so far. One at a time: the next is chosen when everybody is back.

    Attributes:
        counts: deaths by kind of process.
        cut: local ports of the clients that the last dead worker had.
        spoilt: documents that may still be answered with a fault.
        back_s: seconds until all processes served again, after each SIGKILL of a worker or device.
        slow: deaths after which somebody was not back in time.
    """

    def __init__(self, server: Any, every_s: float, seed: int) -> None:
        self._server, self._every_s = server, every_s
        self._random = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.cut: set[int] = set()
        self.spoilt = 0
        self.back_s: list[float] = []
        self.slow: list[str] = []

    async def run(self, is_over: Callable[[], bool]) -> None:
        """Until ``is_over()`` or somebody does not come back; everybody is back at the end."""
        while not self.slow:
            await asyncio.sleep(self._every_s * (0.5 + self._random.random()))
            if is_over():
                return
            await self._one(self._random.choice(ROLES), self._random.choice((signal.SIGKILL, signal.SIGSTOP)))

    async def _one(self, role: str, number: signal.Signals) -> None:
        victims = self._renders() if role == "render" else self._server.pids(role)
        if not victims:  # no document is being rendered just now
            return
        victim = self._random.choice(victims)
        if role == "worker":
            await self._freeze(victim)
            self.cut = clients_of(victim, self._server.port)
        self.spoilt += role == "render"
        try:
            os.kill(victim, number)
        except ProcessLookupError:  # a render child ends by itself
            self.spoilt -= 1
            return
        self.counts[role] += 1
        began = time.perf_counter()
        give_up = began + _NOTICED_S + RECOVERY_S
        while psutil.pid_exists(victim) or not self._server.all_ready():
            if time.perf_counter() > give_up:
                self.slow.append(f"{number.name} of a {role}")
                return
            await asyncio.sleep(0.02)
        if role != "render" and number is signal.SIGKILL:
            self.back_s.append(time.perf_counter() - began)

    def _renders(self) -> list[int]:
        found = []
        for worker in self._server.pids("worker"):
            try:
                found += [child.pid for child in psutil.Process(worker).children()]
            except psutil.NoSuchProcess:
                continue
        return found

    async def _freeze(self, pid: int) -> None:
        """Stop a process, so that nothing changes between looking at its connections and its death."""
        os.kill(pid, signal.SIGSTOP)
        give_up = time.perf_counter() + _STOP_S
        while time.perf_counter() < give_up:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T":
                return
            await asyncio.sleep(0.001)
        raise RuntimeError(f"process {pid} does not stop")


def clients_of(pid: int, port: int) -> set[int]:
    """Local ports of those who are connected to a process that listens on ``port``."""
    found = psutil.Process(pid).net_connections("tcp")
    return {each.raddr.port for each in found if each.raddr and each.laddr.port == port}
