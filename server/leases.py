"""One slot from taking to freeing, however its request ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any

from kernels.slots import Slots

_GONE = memoryview(b"")

#: Frees slots: (``release`` or ``withdraw``, slot, generation, what gets its answer on the loop).
Free = Callable[[Callable[[int, int], bool], int, int, Callable[[bool], None]], None]


class Lease:
    """A slot of this worker. A context manager: leaving it gives the slot back.

    Attributes:
        slot: its number.
        view: its data area; not to be used after the lease is closed.
        batch: it holds work of low priority.
        generation, answer: known once it is with a device; the answer is the length of the result record.
    """

    def __init__(self, slots: Slots, slot: int, forget: Callable[[Lease], None], free: Free) -> None:
        self._slots, self._forget, self._free = slots, forget, free
        self.slot, self.view, self.generation = slot, slots.data(slot), 0
        self.answer: asyncio.Future[int] | None = None
        self.closed = self.batch = False
        self._writers = 0
        self._done = False

    def __repr__(self) -> str:
        state = (
            "closed" if self.closed else "done" if self._done else "published" if self.answer else "writing"
        )
        return f"<Lease slot {self.slot} generation {self.generation}: {state}>"

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self, *, here: bool = False) -> None:
        """Give the slot back: now, or as soon as a thread or a device that still uses it has finished.

        A big slot is freed in a thread; with ``here`` on this one, so that it can be taken again at once.
        """
        if not self.closed:
            if here:
                self._free = _free_here
            self.closed = True
            self._settle()

    def finish(self, length: int) -> None:
        """The device has posted a result of ``length`` bytes."""
        self._done = True
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(length)
        self._settle()

    def keep_for(self, job: Future[Any]) -> None:
        """Keep the slot until ``job``, which a thread is running on it, has ended."""
        self._writers += 1
        loop = asyncio.get_running_loop()

        def ended(_job: Future[Any]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._release_writer)

        job.add_done_callback(ended)

    def _release_writer(self) -> None:
        self._writers -= 1
        self._settle()

    def _settle(self) -> None:
        if not self.closed or self._writers:
            return
        self.view = _GONE  # a finished request may linger in a cycle; the mapping must not
        slots = self._slots
        if self.answer is None:  # never handed over
            self._free(slots.release, self.slot, slots.generation(self.slot), _ignore)
        elif self._done:
            self._free(slots.release, self.slot, self.generation, _ignore)
        else:
            self._free(slots.withdraw, self.slot, self.generation, self._withdrawn)

    def _withdrawn(self, done: bool) -> None:
        if done:
            self._forget(self)
        elif not self._done:  # a device has it: it stays known until the device posts it
            self._slots.abandon(self.slot, self.generation)


def _free_here(
    edge: Callable[[int, int], bool], slot: int, generation: int, then: Callable[[bool], None]
) -> None:
    then(edge(slot, generation))


def _ignore(_done: bool) -> None:
    """Nobody waits for a slot to be free."""
