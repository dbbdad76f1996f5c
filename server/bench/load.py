"""Load on an HTTP server: closed loop (so many clients) and open loop (arrivals at given times).

Both send a fixed sequence of ready-made requests over keep-alive connections and keep every
answer, which is looked at after the clock has stopped. Latency of the open loop counts from
the time a request was *due*, so a server that stalls pays for everybody who had to wait, and
so does a generator that is late: it says by how much.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import random
import ssl
import time
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import uvloop

from server.bench.connection import Connection, Lost

T = TypeVar("T")

#: An answer that takes longer has failed; the slowest peer needs about 30 s at 16 clients.
TIMEOUT_S = 300.0
#: Timers of libuv have whole milliseconds. What is due within half of one is sent at once: waiting would
#: make it late, or keep a core busy that the server may need.
_GRAIN_S = 0.0005
#: A server may close a connection that has been idle for so long just while the next request is sent.
_IDLE_S = 1.0


class Answer(NamedTuple):
    """One request's fate. Times are seconds; ``start_s`` and ``end_s`` are ``perf_counter`` readings.

    ``status`` is 0 when the connection failed. ``latency_s`` counts from sending in a closed
    loop, and from the scheduled time in an open loop.
    """

    index: int  # type: ignore[assignment]  # it hides tuple.index
    status: int
    start_s: float
    end_s: float
    latency_s: float
    body: bytes

    @property
    def late_s(self) -> float:
        """How long after its scheduled time it was sent."""
        return self.latency_s - (self.end_s - self.start_s)


class Run(NamedTuple):
    """All answers of one loop in order of completion, and its wall time in seconds."""

    answers: list[Answer]
    wall_s: float

    @property
    def latencies_ms(self) -> list[float]:
        """Latency of every answer that succeeded."""
        return [answer.latency_s * 1e3 for answer in self.answers if answer.status == 200]

    @property
    def failed(self) -> int:
        """Answers that are not 200."""
        return sum(answer.status != 200 for answer in self.answers)

    @property
    def rps(self) -> float:
        """Successful answers per second of wall time."""
        return (len(self.answers) - self.failed) / self.wall_s


def request_bytes(
    host: str, port: int, path: str, body: bytes, media: str = "application/json", headers: Sequence[str] = ()
) -> bytes:
    """A whole POST; ``headers`` are further lines, ``Name: value``."""
    named = f"[{host}]" if ":" in host else host
    lines = (
        f"POST {path} HTTP/1.1", f"Host: {named}:{port}", f"Content-Type: {media}",
        f"Content-Length: {len(body)}", "Connection: keep-alive", *headers, "", "",
    )  # fmt: skip
    return "\r\n".join(lines).encode("latin-1") + body


class Client:
    """One keep-alive connection. Connects again after a failure, and when the server has closed an idle one.

    Args:
        host, port: where to.
        tls: settings of HTTPS, or None.
        timeout_s: an answer that takes longer has failed.
    """

    def __init__(
        self, host: str, port: int, tls: ssl.SSLContext | None = None, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._address, self._tls, self._timeout_s = (host, port), tls, timeout_s
        self._connection: Connection | None = None
        self._used_s = 0.0

    @property
    def connected(self) -> bool:
        """Whether the next request goes over the connection of the last."""
        return self._connection is not None and self._connection.is_open

    async def send(self, request: bytes) -> tuple[int, bytes]:
        """Status and body; status 0, and the reason, when the connection failed or timed out."""
        try:
            return await self._exchange(request)
        except (OSError, asyncio.TimeoutError, ValueError) as error:
            self.close()
            return 0, repr(error).encode()

    async def _exchange(self, request: bytes) -> tuple[int, bytes]:
        idle = self.connected and time.perf_counter() - self._used_s > _IDLE_S
        try:
            answer = await (await self._connected()).send(request, self._timeout_s)
        except Lost as lost:
            if not idle or lost.began:
                raise
            self.close()
            answer = await (await self._connected()).send(request, self._timeout_s)
        self._used_s = time.perf_counter()
        return answer

    async def _connected(self) -> Connection:
        if self._connection is None or not self._connection.is_open:
            self.close()
            making = asyncio.get_running_loop().create_connection(Connection, *self._address, ssl=self._tls)
            _, made = await asyncio.wait_for(making, self._timeout_s)
            self._connection = made
            return made
        return self._connection

    def another(self) -> Client:
        """One more, to the same server."""
        return Client(*self._address, self._tls, self._timeout_s)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


async def _timed(client: Client, index: int, request: bytes, due_s: float | None, keep: bool) -> Answer:
    start = time.perf_counter()
    status, body = await client.send(request)
    end = time.perf_counter()
    counted_from = start if due_s is None else min(start, due_s)
    return Answer(index, status, start, end, end - counted_from, body if keep or status != 200 else b"")


async def _closed(clients: Sequence[Client], requests: Sequence[bytes], order: Sequence[int]) -> Run:
    waiting, answers = iter(order), []

    async def one_client(client: Client) -> None:
        for index in waiting:
            answers.append(await _timed(client, index, requests[index], None, keep=True))
        client.close()

    start = time.perf_counter()
    await asyncio.gather(*map(one_client, clients))
    return Run(answers, time.perf_counter() - start)


async def _open(
    first: Client, requests: Sequence[bytes], order: Sequence[int], due_s: Sequence[float], keep: bool
) -> Run:
    idle, answers = [first], list[Answer]()
    tasks = set[asyncio.Task[None]]()

    async def one_request(index: int, due: float) -> None:
        client = idle.pop() if idle else first.another()
        answers.append(await _timed(client, index, requests[index], due, keep))
        idle.append(client)

    start = time.perf_counter()
    for index, due in zip(order, due_s, strict=True):
        while (pause := start + due - time.perf_counter()) > _GRAIN_S:
            await asyncio.sleep(pause)
        task = asyncio.create_task(one_request(index, start + due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        await asyncio.sleep(0)  # it is sent now, also where the next ones are overdue
    await asyncio.gather(*tasks)
    wall = time.perf_counter() - start
    for client in idle:
        client.close()
    return Run(answers, wall)


def _measured(loop: Coroutine[Any, Any, T]) -> T:
    """Run it without garbage collections, whose pauses would be measured as the server's."""
    collects = gc.isenabled()
    gc.disable()
    try:
        return uvloop.run(loop)
    finally:
        if collects:
            gc.enable()


def closed_loop(
    host: str, port: int, requests: Sequence[bytes], order: Sequence[int], clients: int,
    tls: ssl.SSLContext | None = None, timeout_s: float = TIMEOUT_S,
) -> Run:  # fmt: skip
    """Send ``requests[i]`` for every i of ``order`` with ``clients`` clients that never pause."""
    every = [Client(host, port, tls, timeout_s) for _ in range(clients)]
    return _measured(_closed(every, requests, order))


def open_loop(
    host: str, port: int, requests: Sequence[bytes], order: Sequence[int], rate: float, seed: int
) -> Run:
    """Send ``requests[i]`` for every i of ``order`` at Poisson arrivals of ``rate`` per second.

    A new connection is opened whenever all are busy, so no arrival waits for a client.
    """
    return timed_loop(
        Client(host, port), requests, order, list(itertools.islice(arrivals(rate, seed), len(order)))
    )


def timed_loop(
    client: Client, requests: Sequence[bytes], order: Sequence[int], due_s: Sequence[float], keep: bool = True
) -> Run:
    """Send ``requests[i]`` for every i of ``order``, each at its time of ``due_s``, seconds from the start.

    Args:
        client: the first; further ones to the same server follow.
        requests: whole requests.
        order: which of them come.
        due_s: when; ascending.
        keep: whether bodies of successful answers are kept.
    """
    return _measured(_open(client, requests, order, due_s, keep))


def arrivals(rate: float, seed: int) -> Iterator[float]:
    """Times of a Poisson process of ``rate`` per second, without end."""
    generator = random.Random(seed)  # noqa: S311 - no secret
    return itertools.accumulate(generator.expovariate(rate) for _ in itertools.count())


def sequence(count: int, kinds: int, seed: int) -> list[int]:
    """``count`` indexes below ``kinds``: whole shuffled passes, so that every image comes equally often."""
    generator = random.Random(seed)  # noqa: S311 - no secret
    order: list[int] = []
    while len(order) < count:
        order.extend(generator.sample(range(kinds), kinds))
    return order[:count]
