"""The door for programs of the same machine: files and pixels in sealed memfds over a Unix socket.

A request is a message with a descriptor (``memfd_wire.py``) and takes the way of every other one through
``server/routes.py``; only its body need not be sent. A client is never trusted with more than its own
request: what it shares is looked at before it is mapped (``mapped.py``), and closed by a thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from pipelines.core.errors import BadRequest, Overloaded, ServeError, TooLarge, Unauthorized
from server import encode
from server.clock import ready, within
from server.closer import Closer
from server.doors import PADDLEX
from server.exchange import INLINE_BYTES
from server.grpc_port import Calls, NoCalls
from server.images import check_pixels
from server.mapped import MappedFile, is_sealed, map_sealed, sealed_bytes
from server.memfd_wire import PIECE, Head, Message, answer_head, read_head, receive
from server.uploads import Upload

if TYPE_CHECKING:
    from server.admission import Permit
    from server.config import Config
    from server.exchange import Exchange
    from server.routes import Routes
    from server.work import Ground

#: Connections of a worker; the next is refused.
MAX_CONNECTIONS = 256
#: Idle connections are closed after this, as HTTP's.
IDLE_S = 75.0
#: Connections taken before anything else has its turn, and the pause when the system has no descriptor left.
_ACCEPTS, _PAUSE_S = 16, 0.5
_CREDENTIALS = struct.Struct("iII")  # struct ucred of unix(7)

_log = logging.getLogger(__name__)


class Incoming(NamedTuple):
    """What the routes ask of a request beside its body."""

    ip: str
    headers: dict[str, str]


class MemfdDoor:
    """The connections of one worker.

    Args:
        listen: bound and listening.
        routes: answer.
        ground: limits, metrics and threads.
        uids: users who may ask.
    """

    def __init__(self, listen: socket.socket, routes: Routes, ground: Ground, uids: frozenset[int]) -> None:
        self._listen, self._routes, self._ground, self._uids = listen, routes, ground, uids
        self._patience_s = ground.limits.body_timeout_ms / 1000
        self._closer = Closer()
        self._connections: set[asyncio.Task[None]] = set()
        self._busy: set[asyncio.Task[None] | None] = set()
        self._stopping = False

    # --- life

    async def start(self) -> None:
        """Let clients in."""
        self._listen.setblocking(False)
        asyncio.get_running_loop().add_reader(self._listen, self._accept)

    async def stop(self, seconds: float) -> int:
        """Let nobody in, and finish what is inside in time; returns how many were cut off."""
        self._stopping = True
        asyncio.get_running_loop().remove_reader(self._listen)
        self._listen.close()
        for connection in self._connections - self._busy:
            connection.cancel()
        if self._connections:
            await asyncio.wait(self._connections, timeout=seconds)
        left = len(self._connections)
        for connection in self._connections:
            connection.cancel()
        self._closer.end()
        if left:
            _log.warning("%d connections with memfds cut off: not finished in time", left)
        return left

    def _accept(self) -> None:
        for _ in range(_ACCEPTS):
            try:
                client, _ = self._listen.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:  # no descriptor is left: it would be told again at once
                loop = asyncio.get_running_loop()
                loop.remove_reader(self._listen)
                loop.call_later(_PAUSE_S, self._resume)
                return
            self.take(client)

    def _resume(self) -> None:
        if not self._stopping:
            asyncio.get_running_loop().add_reader(self._listen, self._accept)

    def take(self, client: socket.socket) -> None:
        """Serve a connection, or refuse it; it is closed here."""
        client.setblocking(False)
        credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        uid = _CREDENTIALS.unpack(credentials)[1]
        if uid not in self._uids:
            _refuse(client, Unauthorized(f"The user {uid} may not ask here (--memfd_uids)"))
        elif len(self._connections) >= MAX_CONNECTIONS or self._closer.is_behind:
            _refuse(client, Overloaded())
        else:
            connection = asyncio.get_running_loop().create_task(self._converse(client, uid))
            self._connections.add(connection)
            connection.add_done_callback(self._connections.discard)

    # --- one connection

    async def _converse(self, client: socket.socket, uid: int) -> None:
        """Requests, one after another, until the client leaves, errs or is idle for too long."""
        patience_s, task = self._patience_s, asyncio.current_task()
        try:
            while not self._stopping:
                message = await _next(client, patience_s)
                self._busy.add(task)
                try:
                    goes_on = await self._attend(client, uid, message)
                finally:
                    for fd in message.fds:
                        self._closer.drop(fd)
                    self._busy.discard(task)
                if not goes_on or self._routes.draining:
                    return
                patience_s = IDLE_S
        # The client has gone. A task that ended cancelled would keep its frames until they are collected.
        except (OSError, asyncio.TimeoutError, asyncio.CancelledError):
            return
        except Exception:
            _log.exception("a connection with memfds failed")
        finally:
            client.close()

    async def _attend(self, client: socket.socket, uid: int, message: Message) -> bool:
        """Answer a message; whether another may follow."""
        if not message.content:
            return False
        try:
            head, fd = _read(message)
        except BadRequest as fault:
            await self._send(client, *_fault(fault))
            return False
        endpoint = self._routes.endpoints.get(head.path)
        if endpoint is None:
            await self._send(client, *_envelope(404, "Not Found"))
            return True
        mapped: list[MappedFile] = []
        body = partial(self._receive, head, fd, mapped)
        incoming = Incoming(f"uid {uid}", head.headers)
        try:
            with _watched(client):
                response = await self._routes.answer(endpoint, incoming, PADDLEX, body)
        finally:
            while mapped:  # no name of this frame may keep one
                self._closer.drop(mapped.pop())
        headers = {**response.headers, "Content-Type": str(response.content_type)}
        await self._send(client, response.status, headers, response.body or b"")
        return True

    async def _receive(
        self, head: Head, fd: int, mapped: list[MappedFile], exchange: Exchange, permit: Permit
    ) -> bytes | Upload:
        """The body of a request that has been let in. Raises ServeError."""
        limits, nbytes = self._ground.limits, sealed_bytes(fd)
        kind = "image/*" if head.pixels else head.headers.get("content-type", "")
        upload = PADDLEX.upload(exchange.endpoint, {"content-type": kind}, head.query)
        if upload is not None and type(upload) is not Upload:
            raise BadRequest("A memfd holds a file, pixels or JSON, and no form")
        if head.pixels:
            height, width = head.pixels
            check_pixels(width, height, limits.max_pixels)
            if nbytes != 3 * height * width:
                raise BadRequest(f"The memfd has {nbytes} bytes; {height} x {width} pixels have 3 each")
        elif nbytes > limits.max_body_bytes:
            raise TooLarge(f"The memfd is larger than {limits.max_body_bytes} bytes")
        permit.hold(nbytes)
        data = map_sealed(fd, nbytes)
        mapped.append(data)
        self._ground.metrics.add("worker_received_bytes", nbytes)
        exchange.received(nbytes)
        if upload is None:  # JSON is taken apart as bytes: base64 in it is decoded anyway
            if nbytes > INLINE_BYTES:
                return await self._ground.dispatcher.in_thread([], b"".join, [data])
            return b"".join([data])
        upload.data, upload.nbytes, upload.size = data, nbytes, head.pixels or (0, 0)
        return upload

    async def _send(self, client: socket.socket, status: int, headers: dict[str, str], body: bytes) -> None:
        """An answer, in the time that a request has too. Raises OSError or TimeoutError."""
        await within(self._patience_s, _send(client, status, headers, body))


def open_memfd(fd: int, config: Config, routes: Routes, ground: Ground) -> Calls:
    """The door of this worker; ``fd`` is its listening socket, -1 where there is none."""
    if fd < 0:
        return NoCalls()
    uids = frozenset({os.geteuid(), 0, *config.access.memfd_uids})
    return MemfdDoor(socket.socket(fileno=fd), routes, ground, uids)


def _read(message: Message) -> tuple[Head, int]:
    """The head of a request and its one descriptor. Raises BadRequest."""
    if message.cut or len(message.fds) != 1:
        raise BadRequest("A request is one message of at most 64 KiB with one memfd")
    head = read_head(message.content)
    (fd,) = message.fds
    if not is_sealed(fd):
        raise BadRequest("What was sent is no memfd sealed with F_SEAL_SHRINK, F_SEAL_GROW and F_SEAL_WRITE")
    return head, fd


@contextlib.contextmanager
def _watched(client: socket.socket) -> Any:
    """Cancel this task when the client hangs up, or sends more before it has its answer."""
    loop, task, fd = asyncio.get_running_loop(), asyncio.current_task(), client.fileno()

    def stop() -> None:
        loop.remove_reader(fd)
        if task is not None:
            task.cancel()

    loop.add_reader(fd, stop)
    try:
        yield
    finally:
        loop.remove_reader(fd)


async def _next(client: socket.socket, seconds: float) -> Message:
    """The next message. Raises OSError or TimeoutError."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            return receive(client)
        except BlockingIOError:  # only waiting is timed: a message with descriptors is never lost
            await within(seconds, ready(loop.add_reader, loop.remove_reader, client.fileno()))


async def _send(client: socket.socket, status: int, headers: dict[str, str], body: bytes) -> None:
    loop, view = asyncio.get_running_loop(), memoryview(body)
    pieces = [view[start : start + PIECE] for start in range(0, len(view), PIECE)]
    messages: list[bytes | memoryview] = [answer_head(status, headers, len(view)), *pieces]
    for piece in messages:
        while True:
            try:
                client.send(piece, socket.MSG_NOSIGNAL)
                break
            except BlockingIOError:
                await ready(loop.add_writer, loop.remove_writer, client.fileno())


def _envelope(status: int, text: str) -> tuple[int, dict[str, str], bytes]:
    """An answer to what reached no operation."""
    return status, {"Content-Type": "application/json"}, encode.message(str(uuid.uuid4()), status, text)


def _fault(fault: ServeError) -> tuple[int, dict[str, str], bytes]:
    status, headers, body = _envelope(fault.status, fault.message)
    return status, headers | encode.fault_headers(fault), body


def _refuse(client: socket.socket, fault: ServeError) -> None:
    """Say why, if the client takes it at once, and hang up."""
    status, headers, body = _fault(fault)
    with client, contextlib.suppress(OSError):
        client.send(answer_head(status, headers, len(body)), socket.MSG_NOSIGNAL)
        client.send(body, socket.MSG_NOSIGNAL)
