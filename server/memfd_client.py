"""The client's side of ``--memfd_socket``: transports of httpx that lend a body where others send it.

::

    httpx.Client(transport=MemfdTransport("/run/x.sock")).post("http://x/ocr", content=png, headers=…)

The body goes into a sealed memfd; pixels, which httpx does not know, come in ``extensions={PIXELS: …}``. The
rest is as over HTTP: requests, answers and errors are httpx's, connections are kept, and the time to read is
that of the whole answer. The messages are those of ``memfd_wire.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Generator, Iterator
from urllib.parse import unquote, urlsplit

import httpx

from server.clock import ready, within
from server.mapped import SEALS
from server.memfd_pool import Pool, readable
from server.memfd_wire import PIECE

#: Name of the extension of a request that has a C-contiguous memoryview, uint8 ``[height, width, 3]``.
PIXELS = "pixels"
#: As many connections at once as httpx's own; a server takes more (``memfd_door.py``).
_MAX_CONNECTIONS = 100
#: Longer bodies are written by a thread where a loop would wait for them.
_INLINE_BYTES = 256 << 10
#: Where nobody has set a time; poll(2) takes no more than twice as much.
_FOREVER_S = 1e6
#: What belongs to a connection of HTTP, or promises what this one cannot do.
_OF_HTTP = frozenset({"host", "connection", "content-length", "transfer-encoding", "accept-encoding"})

_Steps = Generator[None, None, httpx.Response]


def is_memfd(url: str) -> bool:
    """Whether ``url`` is that of a socket for memfds."""
    return url.startswith("memfd:")


def socket_of(url: str) -> str:
    """The path in ``memfd:///run/x.sock``. Raises ValueError."""
    parts = urlsplit(url)
    if parts.netloc or not parts.path.startswith("/") or parts.query or parts.fragment:
        raise ValueError(f"{url} is not memfd:// and an absolute path")
    return unquote(parts.path)


class MemfdTransport(httpx.BaseTransport):
    """For ``httpx.Client``; one may be used by many threads.

    Args:
        path: of the socket.
    """

    def __init__(self, path: str) -> None:
        self._pool = Pool(path)
        self._places = threading.BoundedSemaphore(_MAX_CONNECTIONS)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Ask and wait. Raises httpx.TransportError."""
        end = _end(request)
        if not self._places.acquire(timeout=_left(end)):
            raise httpx.PoolTimeout("all connections are busy", request=request)
        try:
            request.read()
            with _told(request), _lent(_shared(_body(request))) as fd, self._pool.connection() as client:
                steps = _converse(client, request, fd)
                while (answer := _step(steps)) is None:
                    _wait(client, end, request)
                return answer
        finally:
            self._places.release()

    def close(self) -> None:
        """Close the connections that are kept."""
        self._pool.close()


class AsyncMemfdTransport(httpx.AsyncBaseTransport):
    """For ``httpx.AsyncClient``. Arguments as of :class:`MemfdTransport`."""

    def __init__(self, path: str) -> None:
        self._pool = Pool(path)
        self._places = asyncio.Semaphore(_MAX_CONNECTIONS)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """As :meth:`MemfdTransport.handle_request`."""
        end = _end(request)
        try:
            await within(_left(end), self._places.acquire())
        except asyncio.TimeoutError:
            raise httpx.PoolTimeout("all connections are busy", request=request) from None
        try:
            await request.aread()
            lent = _body(request)
            with _told(request), _lent(await _shared_aside(lent)) as fd, self._pool.connection() as client:
                steps = _converse(client, request, fd)
                while (answer := _step(steps)) is None:
                    await _wait_async(client, end, request)
                return answer
        finally:
            self._places.release()

    async def aclose(self) -> None:
        """As :meth:`MemfdTransport.close`."""
        self._pool.close()


# --- one request


def _converse(client: socket.socket, request: httpx.Request, fd: int) -> _Steps:
    """Ask, and take the answer; yields where it has to come first. Raises OSError, httpx.TransportError."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # an answer may lie there: a refusal
        socket.send_fds(client, [_head(request)], [fd])
    try:
        about = json.loads((yield from _receive(client, request)))
        status, headers, nbytes = int(about["status"]), dict(about["headers"]), int(about["bytes"])
    except (ValueError, KeyError, TypeError):
        raise _no_answer(request) from None
    pieces: list[bytes] = []
    while nbytes > 0:
        pieces.append((yield from _receive(client, request)))
        nbytes -= len(pieces[-1])
    if nbytes:
        raise _no_answer(request)
    return httpx.Response(status, headers=headers, content=b"".join(pieces), request=request)


def _receive(client: socket.socket, request: httpx.Request) -> Generator[None, None, bytes]:
    """The next message. Raises as :func:`_converse`."""
    was_reset = False
    while True:
        try:
            message = client.recv(PIECE)
            break
        except BlockingIOError:
            yield
        except ConnectionResetError:  # told before what the server had said when it hung up
            if was_reset:
                raise
            was_reset = True
    if not message:
        raise httpx.RemoteProtocolError("the server hung up without an answer", request=request)
    return message


def _no_answer(request: httpx.Request) -> httpx.RemoteProtocolError:
    return httpx.RemoteProtocolError("this is no answer of a pipeline server", request=request)


def _head(request: httpx.Request) -> bytes:
    head = {
        "path": request.url.path,
        "query": request.url.query.decode("ascii"),
        "headers": {name: value for name, value in request.headers.items() if name not in _OF_HTTP},
    }
    pixels = request.extensions.get(PIXELS)
    return json.dumps(head if pixels is None else head | {"pixels": pixels.shape[:2]}).encode()


def _body(request: httpx.Request) -> bytes | memoryview:
    pixels: memoryview | None = request.extensions.get(PIXELS)
    return request.content if pixels is None else pixels.cast("B")


# --- memfds


def _shared(data: bytes | memoryview) -> int:
    """A sealed memfd with these bytes, which the caller closes. Raises OSError."""
    fd = os.memfd_create("request", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(fd, left) :]
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


async def _shared_aside(data: bytes | memoryview) -> int:
    """The same; the loop does not wait for much of it."""
    if len(data) <= _INLINE_BYTES:
        return _shared(data)
    writing = asyncio.get_running_loop().run_in_executor(None, _shared, data)
    try:
        return await asyncio.shield(writing)
    except asyncio.CancelledError:
        writing.add_done_callback(lambda done: None if done.exception() else os.close(done.result()))
        raise


@contextlib.contextmanager
def _lent(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


# --- the system


@contextlib.contextmanager
def _told(request: httpx.Request) -> Iterator[None]:
    """What the system says, as httpx tells it."""
    try:
        yield
    except OSError as fault:
        raise httpx.NetworkError(str(fault), request=request) from fault


def _end(request: httpx.Request) -> float:
    """When the time for an answer is over, on the clock of :func:`_left`."""
    seconds = request.extensions.get("timeout", {}).get("read")
    return time.monotonic() + (_FOREVER_S if seconds is None else seconds)


def _left(end: float) -> float:
    return max(0.0, end - time.monotonic())


def _step(steps: _Steps) -> httpx.Response | None:
    """The answer, or None where the conversation waits."""
    try:
        next(steps)
    except StopIteration as end:
        answer: httpx.Response = end.value
        return answer
    return None


def _wait(client: socket.socket, end: float, request: httpx.Request) -> None:
    if not readable(client, _left(end)):
        raise httpx.ReadTimeout("no answer in time", request=request)


async def _wait_async(client: socket.socket, end: float, request: httpx.Request) -> None:
    loop = asyncio.get_running_loop()
    try:
        await within(_left(end), ready(loop.add_reader, loop.remove_reader, client.fileno()))
    except asyncio.TimeoutError:
        raise httpx.ReadTimeout("no answer in time", request=request) from None
