"""Messages of gRPC calls while they come in: how many at once, for how long, and shared fairly among hosts.

A call that sends nothing looks like one that sends slowly, and holds a place as long. So that one host's
silent calls cannot keep everybody else out, a host gets no more than half of the places.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc

from pipelines.core.errors import BadRequest, RequestTimeout
from server.clock import within
from server.config import Limits


class Places:
    """Places for messages that are being read at the same time, on one event loop.

    Args:
        number: places of all hosts; one host has half of them, and at least one.
    """

    def __init__(self, number: int) -> None:
        self.share = max(1, number // 2)
        self._all = asyncio.Semaphore(number)
        self._hosts: dict[str, _Host] = {}

    def __len__(self) -> int:
        """Hosts that read or wait."""
        return len(self._hosts)

    async def read(self, context: Any, seconds: float) -> bytes:
        """The one message of a call, at most ``seconds`` after it was asked for.

        Raises:
            RequestTimeout: no place, or not all of the message, within that time.
            BadRequest: the call ended without a message.
        """
        try:
            content = await within(seconds, self._read(context))
        except asyncio.TimeoutError:
            raise RequestTimeout from None
        if content is grpc.aio.EOF:
            raise BadRequest("The call has no message")
        return bytes(content)

    async def _read(self, context: Any) -> Any:
        # Who waits for its own host's share waits outside, and takes nobody's turn.
        async with self._shared(host_of(context.peer())), self._all:
            return await context.read()

    @contextlib.asynccontextmanager
    async def _shared(self, name: str) -> AsyncIterator[None]:
        host = self._hosts.get(name)
        if host is None:
            host = self._hosts[name] = _Host(self.share)
        host.calls += 1
        try:
            async with host.places:
                yield
        finally:
            host.calls -= 1
            if not host.calls:
                del self._hosts[name]


class _Host:
    """Calls of one host that read or wait."""

    def __init__(self, share: int) -> None:
        self.calls, self.places = 0, asyncio.Semaphore(share)


def message_places(limits: Limits) -> int:
    """Messages that a worker reads at once: together they may be as large as all that it holds."""
    return max(1, limits.max_decoded_bytes // limits.max_body_bytes)


def host_of(peer: str) -> str:
    """``ipv4:10.0.0.1`` of ``ipv4:10.0.0.1:50000``, as gRPC writes a peer."""
    return peer.rpartition(":")[0]
