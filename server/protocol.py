"""One HTTP connection: Sanic's, with what it leaves out.

A header has to be complete in time however slowly it drips in; a client may shut down its sending side
and still gets its answer; a chunked body may end in trailers; answers that never left are counted. What
another server in front of this one could read as another request than we do is refused (RFC 9112, 11.2).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import select
from typing import Any, NoReturn, cast

from sanic import Request
from sanic.exceptions import BadRequest, RequestCancelled, SanicException
from sanic.http import Http, Stage
from sanic.http.http1 import HTTP_CONTINUE
from sanic.response import HTTPResponse
from sanic.server import HttpProtocol

from server.clock import within

#: How often it is looked whether a client that sends no more is still there.
_PROBE_S = 0.1
#: After a refusal in the middle of a body: how long and how much more is read, so that the client sees
#: the answer before the connection closes.
_LINGER_S = 2.0
_LINGER_BYTES = 1 << 30
#: Bytes of all trailers of one body together, as of a header.
_TRAILER_BYTES = 8192
#: Longest line of a chunk's size and extensions, with the line end before it.
_CHUNK_HEADER_BYTES = 256
#: The line end before a chunk's size, and one digit; the digit of the last chunk.
_SHORTEST_CHUNK, _ZERO = 3, ord("0")
_LAST_CHUNK = re.compile(rb"\r\n0+[ \t]*(;[^\r\n]*)?")
#: A header as RFC 9112 writes it: no space before a colon, no folded line, no line end but CR LF.
_HEAD = re.compile(
    rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [\x21-\x7e]+ HTTP/1\.[01](\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*)*"
)
#: A length or coding that begins with anything but a letter or digit: Sanic strips all that Unicode calls
#: white space, so that a vertical tab would hide ``chunked`` from others and not from us.
_ODD_FRAMING = re.compile(rb"\r\n(?:content-length|transfer-encoding):(?![ \t]*[0-9A-Za-z])", re.IGNORECASE)
_LENGTH, _CHUNK_SIZE = re.compile(r"[0-9]{1,18}[ \t]*"), re.compile(r"[0-9A-Fa-f]{1,15}[ \t]*")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*")


#: The class itself: Sanic declares no types for this method.
_HTTP: Any = Http


class Connection(Http):
    """Sanic's reading and writing of HTTP/1, stricter in its grammar, except that it takes trailers.

    Sanic refuses trailers with 400, because bytes left behind could be read as the next request. Here they
    are taken away, and only what has the form of a header field is a trailer.
    """

    async def http1_request_header(self) -> None:
        """Sanic's; then the same bytes by the letter of the grammar. Raises Sanic's BadRequest."""
        await _HTTP.http1_request_header(self)
        request = self.request
        headers: Any = request.headers
        chunked = "transfer-encoding" in headers
        if (
            not _HEAD.fullmatch(request.head)
            or _ODD_FRAMING.search(request.head)
            or len(headers.getall("host", ())) > 1
            or (chunked and request.version == "1.0")
        ):
            self.keep_alive, self.request_body = False, None
            raise BadRequest("Bad Request")
        self.head_only = request.method == "HEAD"  # Sanic's is "hEaD" as well, whose client waits for a body

    @staticmethod
    def _safe_int(value: str, base: int = 10) -> int:
        """A length or the size of a chunk: digits only, where int() would take 0x10 and other scripts."""
        if not (_LENGTH if base == 10 else _CHUNK_SIZE).fullmatch(value):
            raise ValueError
        return int(value, base)

    async def read(self) -> bytes | None:
        """The next piece of the body; None at its end. Raises Sanic's BadRequest or PayloadTooLarge."""
        kind: Any = self.request_body
        if kind == "chunked" and not self.request_bytes_left:
            if self.expecting_continue:  # now, so that the first chunk is looked at like all others
                self.expecting_continue = False
                await self._send(HTTP_CONTINUE)
            buffer = self.recv_buffer
            while (end := buffer.find(b"\r\n", _SHORTEST_CHUNK, _CHUNK_HEADER_BYTES)) < 0:
                if len(buffer) >= _CHUNK_HEADER_BYTES:
                    self._refuse_chunk()
                await self._receive_more()
            line = buffer[2:end]
            if buffer[:2] != b"\r\n" or b"\n" in line or b"\r" in line:
                self._refuse_chunk()
            if buffer[2] == _ZERO:  # once a body: there may be a million chunks
                await self._drop_trailers()
        piece: bytes | None = await Http.read(self)
        return piece

    async def _drop_trailers(self) -> None:
        """When the last chunk is next: cut out what is between its header and the empty line that ends it."""
        buffer = self.recv_buffer
        end = buffer.find(b"\r\n", _SHORTEST_CHUNK)
        if not _LAST_CHUNK.fullmatch(bytes(buffer[:end])):
            return
        start = end + 2
        while (end := buffer.find(b"\r\n\r\n", start - 2)) < 0:
            if len(buffer) - start > _TRAILER_BYTES:
                self._refuse_chunk()
            await self._receive_more()
        lines = bytes(buffer[start:end]).split(b"\r\n") if end > start else []
        if end - start > _TRAILER_BYTES or not all(map(_TRAILER.fullmatch, lines)):
            self._refuse_chunk()
        if lines:
            del buffer[start : end + 2]

    def _refuse_chunk(self) -> NoReturn:
        self.keep_alive = False
        raise BadRequest("Bad chunked encoding")


#: The class itself: Sanic declares no types for its methods.
_SANIC: Any = HttpProtocol


class Protocol(HttpProtocol):
    """The connection as the event loop sees it."""

    HTTP_CLASS = Connection
    __slots__ = ("_no_more", "_probed")

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._no_more = False  # the client has shut down its sending side, or is gone
        self._probed = False

    def connection_made(self, transport: Any) -> None:
        """Sanic's, and any byte that waits to be sent pauses writing: so it is known at the end."""
        _SANIC.connection_made(self, transport)
        # uvloop's TLS pauses at as many bytes as the limit, its plain connections above it.
        transport.set_write_buffer_limits(high=int(transport.get_extra_info("sslcontext") is not None))

    def data_received(self, data: bytes) -> None:
        """Sanic restarts the clock with every byte; within a header it must not."""
        since, connection = self._time, self.http  # None until its task has run
        super().data_received(data)
        if connection is not None and connection.stage is Stage.REQUEST:
            self._time = since

    def eof_received(self) -> bool:
        """The client sends no more. Returns whether the connection stays: it does while a request is inside.

        One that has closed looks just like one that waits for its answer.
        """
        if self._no_more:
            return True
        connection, transport = self.http, cast("Any", self.transport)
        idle = (connection is None or connection.stage is Stage.IDLE) and not self.recv_buffer
        if idle or transport.get_extra_info("sslcontext") is not None:  # TLS is never half closed
            return False
        self._no_more = True
        self._data_received.set()
        self.loop.call_later(_PROBE_S, self._probe)
        return True

    def _probe(self) -> None:
        """Find out whether the client is still there, and end the connection when it is not.

        Whoever has closed answers data with a reset; the data is an interim response, which every client
        of HTTP/1.1 must bear.
        """
        connection = self.http
        if connection is None or self.transport is None or self.transport.is_closing():
            return
        poller = select.poll()
        poller.register(self.transport.get_extra_info("socket").fileno(), 0)
        if poller.poll(0):  # nothing is read any more that would tell
            _SANIC.abort(self)
            return
        if not self._probed and connection.stage is Stage.HANDLER and connection.request.version == "1.1":
            self._probed, connection.expecting_continue = True, False
            self.transport.write(HTTP_CONTINUE)
        self.loop.call_later(_PROBE_S, self._probe)

    async def receive_more(self) -> None:
        """Wait for more bytes. When none can come, what waits to be sent is sent and the connection ends."""
        if self._no_more:
            self.close()
            self._data_received.clear()
            await self._data_received.wait()  # until the end of the connection cancels this
        await _SANIC.receive_more(self)

    async def send(self, data: bytes) -> None:
        """Sanic's; counts what it can no longer send."""
        try:
            await self._can_write.wait()
            if self.transport is None:  # the connection has ended meanwhile
                raise RequestCancelled
            await _SANIC.send(self, data)
        except RequestCancelled:
            self.app.ctx.count_unsent()
            raise

    def connection_lost(self, exc: Exception | None) -> None:
        """Sanic's; counts an answer of which a part was still waiting to be sent."""
        if not self._can_write.is_set():
            self.app.ctx.count_unsent()
        _SANIC.connection_lost(self, exc)


def stream_of(request: Request) -> Any:
    """Sanic's HTTP/1 object of this connection, whose base class declares none of what it can do."""
    return request.stream


async def answer_and_hang_up(request: Request, response: HTTPResponse) -> None:
    """Send a refusal while the client still sends, then read on for a while before the connection closes.

    Closing with unread data makes the kernel reset the connection, and the
    client may lose the answer.
    """
    stream = stream_of(request)
    stream.keep_alive = False
    waits, stream.expecting_continue = stream.expecting_continue, False
    sent: Any = await request.respond(response)
    await sent.send(end_stream=True)

    async def read_on() -> None:
        left = _LINGER_BYTES
        while left > 0 and (chunk := await stream.read()) is not None:
            left -= len(chunk)

    if not waits:  # else the client has sent nothing yet, and now never will
        with contextlib.suppress(asyncio.TimeoutError, SanicException):
            await within(_LINGER_S, read_on())
    stream.request_body = None  # Sanic would wait for the rest
