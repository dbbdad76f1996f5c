"""Times single answers of a loaded server from a process that does nothing else.

A load generator that keeps hundreds of answers apart is late in noticing each of them by milliseconds. Here
every client is a thread that blocks on its own connection: it measures the server's time and a wake-up.

Started by :func:`probing`; it reads ready-made requests from stdin, connects, says that it is ready, waits
until stdin ends, and at the end prints what it has seen.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

from .common import ROOT

CLIENTS = 8
#: Where that is allowed; the load generator may have the same core.
NICE = -10
#: An answer that takes longer has failed.
TIMEOUT_S = 60.0
_LENGTH = struct.Struct("<I")


class Seen(NamedTuple):
    """One answer: HTTP status, and seconds from sending its request to its last byte."""

    status: int
    seconds: float


class Probe:
    """A probe that is ready to begin; from :func:`probing`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def begin(self) -> None:
        """Let it send."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def seen(self) -> list[Seen]:
        """What it has seen; waits until it has ended."""
        assert self._process.stdout is not None
        found = [Seen(*each) for each in json.loads(self._process.stdout.read())]
        if self._process.wait():
            raise RuntimeError("the probe failed")
        return found


@contextlib.contextmanager
def probing(port: int, requests: Sequence[bytes], rate: float, seconds: float, seed: int) -> Iterator[Probe]:
    """Clients that send ``rate`` requests a second altogether, at Poisson times, for ``seconds``.

    One that still waits for an answer when the next request is due leaves that out.
    """
    command = [sys.executable, "-m", "benchmarks.probe", str(port), str(rate), str(seconds), str(seed)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdin is not None and process.stdout is not None
            for request in (*requests, b""):
                process.stdin.write(_LENGTH.pack(len(request)) + request)
            process.stdin.flush()
            if process.stdout.readline() != b"ready\n":
                raise RuntimeError("the probe did not start")
            yield Probe(process)
        finally:
            process.kill()


def _requests(source: BinaryIO) -> Iterator[bytes]:
    while length := _LENGTH.unpack(source.read(_LENGTH.size))[0]:
        yield source.read(length)


def _exchange(connection: socket.socket, request: bytes) -> int:
    """Status of one answer, read to its end."""
    connection.sendall(request)
    answer = b""
    while (end := answer.find(b"\r\n\r\n")) < 0:
        answer += _some(connection)
    head = answer[:end].decode("latin-1").lower()
    left = int(head.split("content-length: ")[1].split("\r\n")[0]) - (len(answer) - end - 4)
    while left > 0:
        left -= len(_some(connection))
    return int(head.split()[1])


def _some(connection: socket.socket) -> bytes:
    if piece := connection.recv(1 << 16):
        return piece
    raise ConnectionError("the server closed the connection")


def _client(
    connection: socket.socket,
    requests: Sequence[bytes],
    rate: float,
    until: float,
    seed: int,
    seen: list[Seen],
) -> None:
    generator, due = random.Random(seed), time.perf_counter()
    while (due := due + generator.expovariate(rate)) < until:
        pause = due - time.perf_counter()
        if pause < 0:
            continue
        time.sleep(pause)
        start = time.perf_counter()
        status = _exchange(connection, generator.choice(requests))
        seen.append(Seen(status, time.perf_counter() - start))


def main(port: int, rate: float, seconds: float, seed: int) -> None:
    """The probe itself."""
    requests, seen = list(_requests(sys.stdin.buffer)), list[Seen]()
    connections = [socket.create_connection(("127.0.0.1", port), TIMEOUT_S) for _ in range(CLIENTS)]
    for connection in connections:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with contextlib.suppress(PermissionError):
        os.nice(NICE)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.buffer.read()
    until = time.perf_counter() + seconds
    threads = [
        threading.Thread(target=_client, args=[each, requests, rate / CLIENTS, until, seed + number, seen])
        for number, each in enumerate(connections)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main(int(sys.argv[1]), *map(float, sys.argv[2:4]), int(sys.argv[4]))
