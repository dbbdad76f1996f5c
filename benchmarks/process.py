"""A server under test as a process tree: start, wait until it answers, CPU and memory, stop."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

_TICK = os.sysconf("SC_CLK_TCK")


_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _end_with_parent() -> None:
    """In the child: be terminated when the benchmark ends, however it ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tree(pid: int) -> list[int]:
    """``pid`` and all its living descendants."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found.extend(int(child) for child in (task / "children").read_text().split())
    return found


def cpu_s(pid: int) -> float:
    """User and system seconds of the tree, with those of its reaped descendants."""
    total = 0
    for member in tree(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15]))
    return total / _TICK


def pss_bytes(pid: int) -> int:
    """Proportional set size of the tree: shared pages are counted once."""
    total = 0
    for member in tree(pid):
        with contextlib.suppress(OSError, ProcessLookupError):
            for line in Path(f"/proc/{member}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


class HostCpu(NamedTuple):
    """Counters of /proc/stat in seconds since boot: time at work and time stolen by the hypervisor."""

    busy_s: float
    steal_s: float

    @classmethod
    def read(cls) -> HostCpu:
        user, nice, system, _idle, _iowait, irq, softirq, steal, *_ = map(
            int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
        )
        return cls((user + nice + system + irq + softirq) / _TICK, steal / _TICK)


class Usage(NamedTuple):
    """What a server used while a block ran.

    ``cpu_s``: of its tree; ``peak_pss``: bytes, sampled; ``others``: cores that neither the
    server nor this process kept busy; ``steal``: cores the hypervisor took away.
    """

    cpu_s: float
    peak_pss: int
    others: float
    steal: float


class Meter:
    """Measures a server's tree while it is entered; ``usage`` is set at exit.

    Memory is sampled every ``period_s``: reading it costs the kernel a walk over the
    server's page tables, some milliseconds per GiB.
    """

    def __init__(self, pid: int, period_s: float = 2.0) -> None:
        self._pid, self._period_s = pid, period_s
        self._done = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self.samples: list[tuple[float, int]] = []

    def __enter__(self) -> Meter:
        self._start = (time.perf_counter(), cpu_s(self._pid), time.process_time(), HostCpu.read())
        self._sampler.start()
        return self

    def _sample(self) -> None:
        while True:
            self.samples.append((time.perf_counter(), pss_bytes(self._pid)))
            if self._done.wait(self._period_s):
                return

    def __exit__(self, *_: object) -> None:
        host, own, tree_s, now = HostCpu.read(), time.process_time(), cpu_s(self._pid), time.perf_counter()
        self._done.set()
        self._sampler.join()
        began, tree_before, own_before, host_before = self._start
        wall, used = now - began, tree_s - tree_before
        rest = host.busy_s - host_before.busy_s - used - (own - own_before)
        self.samples.append((now, pss_bytes(self._pid)))
        self.usage = Usage(
            cpu_s=used,
            peak_pss=max(sample for _, sample in self.samples),
            others=max(0.0, rest / wall),
            steal=(host.steal_s - host_before.steal_s) / wall,
        )


def _answers(port: int, path: str) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        return connection.makefile("rb").readline().split()[1:2] == [b"200"]


def wait_ready(server: subprocess.Popen[bytes], port: int, path: str, limit_s: float) -> float:
    """Seconds until ``path`` answers 200. Raises RuntimeError when the server ends or the limit passes."""
    start = time.perf_counter()
    while time.perf_counter() - start < limit_s:
        if server.poll() is not None:
            raise RuntimeError(f"the server ended with status {server.returncode} before it was ready")
        with contextlib.suppress(OSError):
            if _answers(port, path):
                return time.perf_counter() - start
        time.sleep(0.05)
    raise RuntimeError(f"no answer on {path} within {limit_s:.0f} s")


@contextlib.contextmanager
def running(
    command: Sequence[str],
    port: int,
    log: Path,
    *,
    ready_path: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    limit_s: float = 180,
) -> Iterator[tuple[int, float]]:
    """Start ``command``, wait for it, give (pid, start-up seconds), stop it and everything it started.

    Raises RuntimeError, with the end of its log, when it does not come up.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as sink:
        server = subprocess.Popen(
            command,
            stdout=sink,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            preexec_fn=_end_with_parent,  # noqa: PLW1509 - this process has no other thread yet
        )
    try:
        try:
            took = wait_ready(server, port, ready_path, limit_s)
        except RuntimeError as error:
            tail = log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{' '.join(command)}: {error}\n{tail}") from error
        yield server.pid, took
    finally:
        stop(server)


def stop(server: subprocess.Popen[bytes], limit_s: float = 20) -> None:
    """SIGTERM, then SIGKILL to what is left of the tree: at once when the server has ended, else late.

    LitServe ends without its workers.
    """
    members = tree(server.pid) if server.poll() is None else []
    if members:
        server.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(limit_s)
    server.kill()
    for pid in members[1:]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    server.wait(limit_s)
