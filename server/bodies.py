"""Bytes in: the bodies of requests, counted while they come and before they are kept."""

from __future__ import annotations

import asyncio
from typing import Any

from pipelines.core.errors import RequestTimeout, TooLarge
from server.admission import Permit
from server.clock import within
from server.exchange import INLINE_BYTES
from server.uploads import Upload
from server.work import Ground

#: Chunks read from one connection before others have their turn: received ones come without waiting.
_CHUNKS_AT_ONCE = 256


class Bodies:
    """Reads the bodies of one worker's requests.

    Args:
        ground: limits, metrics and threads.
    """

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._max_bytes = ground.limits.max_body_bytes
        self._timeout_s = ground.limits.body_timeout_ms / 1000

    async def receive(self, request: Any, permit: Permit, upload: Upload | None) -> bytes | Upload:
        """The body of one of Sanic's requests; ``upload`` takes what is not JSON.

        Raises TooLarge, RequestTimeout, Overloaded or BadRequest.
        """
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self._max_bytes:
            raise self._too_large()
        try:
            body = await within(self._timeout_s, self._read(request.stream, permit, upload))
        except asyncio.TimeoutError:
            raise RequestTimeout from None
        # With reading paused (Sanic's buffer was full) a client that hangs up would go unnoticed.
        if request.transport is not None:
            request.transport.resume_reading()
        self._ground.metrics.add("worker_received_bytes", len(body))
        return body

    async def _read(self, stream: Any, permit: Permit, upload: Upload | None) -> bytes | Upload:
        pieces: list[bytes] = [] if upload is None else upload.pieces
        take = pieces.append if upload is None else upload.take
        size = chunks = 0
        while (chunk := await stream.read()) is not None:
            size += len(chunk)
            if size > self._max_bytes:
                raise self._too_large()
            permit.hold(len(chunk))
            take(chunk)
            chunks += 1
            if not chunks % _CHUNKS_AT_ONCE:
                await asyncio.sleep(0)
        if upload is None:
            return await self._joined(pieces, size)
        upload.end()
        upload.data, upload.nbytes = await self._joined(pieces, size), size
        return upload

    async def _joined(self, pieces: list[bytes], size: int) -> bytes:
        if size > INLINE_BYTES:
            return await self._ground.dispatcher.in_thread([], _joined, pieces)
        body = b"".join(pieces)
        pieces.clear()
        return body

    def _too_large(self) -> TooLarge:
        return TooLarge(f"The request body is larger than {self._max_bytes} bytes")


def _joined(pieces: list[bytes]) -> bytes:
    """The body; ``pieces`` are let go of one by one, because that alone takes long for a large body."""
    body = b"".join(pieces)
    while pieces:
        pieces.pop()
    return body
