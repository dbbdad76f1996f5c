"""An answer in lines (``application/x-ndjson``): each page as soon as it is finished, then the envelope.

Sanic is used through the request alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from pipelines.core.errors import DeadlinePassed, ServeError
from server import encode
from server.clock import within
from server.config import Limits

NDJSON = "application/x-ndjson"
#: So that no proxy waits for the end before it passes anything on.
_HEADERS = {"X-Accel-Buffering": "no"}

#: Makes status and headers of an answer, of headers and a content type.
Head = Callable[[dict[str, str], str], Any]


def open_lines(request: Any, head: Head, limits: Limits) -> Lines | None:
    """What sends the lines that a request asks for with ``Accept``; None when it does not.

    HTTP/1.0 has no chunks, so nobody could tell an answer that is cut short from one that is complete.
    """
    accept = request.headers.get("accept", "")
    kinds = (part.partition(";")[0].strip().lower() for part in accept.split(","))
    if request.version == "1.0" or NDJSON not in kinds:
        return None
    return Lines(request, head, limits.body_timeout_ms / 1000)


class Lines:
    """Sends one line at a time; what a client has not taken yet is one line, and the system's own buffers.

    Args:
        request: Sanic's.
        head: called when the first line is there.
        patience_s: how long a client may take for a line.

    Attributes:
        count: pages that have been sent; nbytes: of all lines.
    """

    def __init__(self, request: Any, head: Head, patience_s: float) -> None:
        self._request, self._head, self._patience_s = request, head, patience_s
        self._turn = asyncio.Lock()
        self._answer: Any = None
        self.count = self.nbytes = 0

    @property
    def begun(self) -> bool:
        """Whether the answer is in lines: status and headers are settled."""
        return self._answer is not None

    async def page(self, line: bytes, left_s: float) -> None:
        """Send a page. Raises DeadlinePassed when the client does not take it in time."""
        try:
            await within(min(left_s, self._patience_s), self._send(line))
        except asyncio.TimeoutError:
            raise DeadlinePassed from None
        self.count += 1

    async def close(self, log_id: str, outcome: bytes | ServeError) -> ServeError | None:
        """Send the last line. The connection of a client that does not take it is cut.

        Args:
            log_id: goes with a fault.
            outcome: the line, or what went wrong after the first page.

        Returns:
            What went wrong, before or now.
        """
        fault = outcome if isinstance(outcome, ServeError) else None
        if isinstance(outcome, ServeError):
            outcome = encode.last_line(log_id, self.count, None, outcome)
        try:
            await within(self._patience_s, self._send(outcome, last=True))
        except asyncio.TimeoutError:
            if self._request.transport is not None:
                self._request.transport.abort()
            fault = fault or DeadlinePassed()
        return fault

    async def _send(self, line: bytes, last: bool = False) -> None:
        async with self._turn:
            if self._answer is None:
                self._answer = await self._request.respond(self._head(dict(_HEADERS), NDJSON))
            await self._answer.send(line, end_stream=last)
            self.nbytes += len(line)
