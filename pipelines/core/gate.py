"""A bound on how much is asked of a service at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .errors import Overloaded


class Gate:
    """So many at once, so many in line, no more.

    Args:
        running: calls at once.
        waiting: calls in line before Overloaded is raised.
    """

    def __init__(self, running: int, waiting: int) -> None:
        self._free = asyncio.Semaphore(running)
        self._line, self._waiting = waiting, 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn and take it. Raises Overloaded."""
        if self._free.locked() and self._waiting >= self._line:
            raise Overloaded("Too many requests wait for the language model; try again later")
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._free.release()
