"""One HTTP/1.1 connection of the load generator: as little work per request as Python allows.

asyncio's streams take 0.2 ms of CPU a request, which a server on the same cores would be short of.
"""

from __future__ import annotations

import asyncio
from typing import cast


class Lost(ConnectionError):
    """The server has closed the connection; ``began``: after a part of the answer."""

    def __init__(self, began: bool) -> None:
        super().__init__("the server closed the connection")
        self.began = began


class Connection(asyncio.Protocol):
    """Sends one request after the other. What it cannot read ends it."""

    def __init__(self) -> None:
        self.is_open = False
        self._received = bytearray()
        self._start, self._whole = 0, 0
        self._status, self._last = 0, False
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    async def send(self, request: bytes, timeout_s: float) -> tuple[int, bytes]:
        """Status and body. Raises Lost, TimeoutError, and ValueError for what is no answer with a length."""
        loop = asyncio.get_running_loop()
        self._answer = loop.create_future()
        limit = loop.call_later(timeout_s, self._fail, TimeoutError(f"no answer within {timeout_s:g} s"))
        try:
            self._transport.write(request)
            return await self._answer
        except BaseException:
            self.close()  # also when nobody waits any more: the next request must not get this answer
            raise
        finally:
            limit.cancel()
            self._answer = None

    def close(self) -> None:
        """Close it, whatever is under way."""
        if self.is_open:
            self.is_open = False
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport, self.is_open = cast(asyncio.Transport, transport), True

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self.is_open = False
        self._fail(Lost(began=bool(self._received)))

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        if self._answer is None or self._answer.done():
            self.close()  # a 408 for a connection that sends nothing, say: what follows is not ours
            return
        self._received += data
        try:
            if self._whole or self._read_head():
                self._read_body(self._answer)
        except (ValueError, KeyError) as error:
            self._fail(ValueError(f"no HTTP answer with a length: {error!r}"))

    def _read_head(self) -> bool:
        """Whether the header is there; then the length of it all is known. Raises ValueError, KeyError."""
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return False
        first, *lines = self._received[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        version, _, rest = first.partition(" ")
        length = int(headers["content-length"])
        if not version.startswith("HTTP/1.") or length < 0:
            raise ValueError(first)
        self._status, self._last = int(rest[:3]), headers.get("connection", "").lower() == "close"
        self._start, self._whole = end + 4, end + 4 + length
        return True

    def _read_body(self, answer: asyncio.Future[tuple[int, bytes]]) -> None:
        if len(self._received) < self._whole:
            return
        body, rest = bytes(self._received[self._start : self._whole]), len(self._received) - self._whole
        self._received, self._whole = bytearray(), 0
        if self._last or rest:
            self.close()
        answer.set_result((self._status, body))

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self.close()
