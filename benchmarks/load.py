"""Load on an HTTP server: closed loop (so many clients) and open loop (Poisson arrivals).

Both send a fixed sequence of ready-made requests over keep-alive connections and keep every
answer, which is looked at after the clock has stopped. Latency of the open loop counts from
the time a request was *due*, so a server that stalls pays for everybody who had to wait.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import random
import time
from collections.abc import Sequence
from typing import NamedTuple

import orjson

#: An answer that takes longer has failed; the slowest peer needs about 30 s at 16 clients.
TIMEOUT_S = 300.0


class Answer(NamedTuple):
    """One request's fate. Times are seconds; ``start_s`` and ``end_s`` are ``perf_counter`` readings.

    ``status`` is 0 when the connection failed. ``latency_s`` counts from sending in a closed
    loop, and from the scheduled time in an open loop.
    """

    index: int
    status: int
    start_s: float
    end_s: float
    latency_s: float
    body: bytes


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


def request_bytes(host: str, port: int, path: str, body: bytes) -> bytes:
    """A whole POST of a JSON body."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: keep-alive\r\n\r\n"
    )
    return head.encode() + body


def ocr_body(image: bytes, **fields: object) -> bytes:
    """The body of a 3.x ``/ocr`` request without pictures."""
    document = {"file": base64.b64encode(image).decode(), "fileType": 1, "visualize": False, **fields}
    return orjson.dumps(document)


class Client:
    """One keep-alive connection. Reconnects after a failure."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, request: bytes) -> tuple[int, bytes]:
        """Status and body; status 0 when the connection failed or timed out."""
        try:
            return await asyncio.wait_for(self._exchange(request), TIMEOUT_S)
        except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError, ValueError) as error:
            self.close()
            return 0, repr(error).encode()

    async def _exchange(self, request: bytes) -> tuple[int, bytes]:
        if self._streams is not None and self._streams[0].at_eof():
            self.close()  # servers end idle connections, uvicorn after 5 s: that is no failure of theirs
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address, limit=1 << 22)
        reader, writer = self._streams
        writer.write(request)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, *lines = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection", "").lower() == "close":
            self.close()
        return int(status.split()[1]), body

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _timed(client: Client, index: int, request: bytes, due_s: float | None = None) -> Answer:
    start = time.perf_counter()
    status, body = await client.send(request)
    end = time.perf_counter()
    return Answer(index, status, start, end, end - (start if due_s is None else due_s), body)


async def _closed(host: str, port: int, requests: Sequence[bytes], order: Sequence[int], clients: int) -> Run:
    waiting, answers = iter(order), []

    async def one_client() -> None:
        client = Client(host, port)
        for index in waiting:
            answers.append(await _timed(client, index, requests[index]))
        client.close()

    start = time.perf_counter()
    await asyncio.gather(*(one_client() for _ in range(clients)))
    return Run(answers, time.perf_counter() - start)


async def _open(
    host: str, port: int, requests: Sequence[bytes], order: Sequence[int], due_s: Sequence[float]
) -> Run:
    idle: list[Client] = []
    answers: list[Answer] = []
    start = time.perf_counter()

    async def one_request(index: int, due: float) -> None:
        await asyncio.sleep(max(0.0, start + due - time.perf_counter()))
        client = idle.pop() if idle else Client(host, port)
        answers.append(await _timed(client, index, requests[index], start + due))
        idle.append(client)

    await asyncio.gather(*itertools.starmap(one_request, zip(order, due_s, strict=True)))
    wall = time.perf_counter() - start
    for client in idle:
        client.close()
    return Run(answers, wall)


def closed_loop(host: str, port: int, requests: Sequence[bytes], order: Sequence[int], clients: int) -> Run:
    """Send ``requests[i]`` for every i of ``order`` with ``clients`` clients that never pause."""
    return asyncio.run(_closed(host, port, requests, order, clients))


def open_loop(
    host: str, port: int, requests: Sequence[bytes], order: Sequence[int], rate: float, seed: int
) -> Run:
    """Send ``requests[i]`` for every i of ``order`` at Poisson arrivals of ``rate`` per second.

    A new connection is opened whenever all are busy, so no arrival waits for a client.
    """
    generator = random.Random(seed)
    due = list(itertools.accumulate(generator.expovariate(rate) for _ in order))
    return asyncio.run(_open(host, port, requests, order, due))


def sequence(count: int, kinds: int, seed: int) -> list[int]:
    """``count`` indexes below ``kinds``: whole shuffled passes, so that every image comes equally often."""
    generator = random.Random(seed)
    order: list[int] = []
    while len(order) < count:
        order.extend(generator.sample(range(kinds), kinds))
    return order[:count]


def texts(body: bytes) -> list[str]:
    """All recognised lines of a 3.x ``/ocr`` answer, page after page."""
    pages = orjson.loads(body)["result"]["ocrResults"]
    return [text for page in pages for text in page["prunedResult"]["rec_texts"]]
