"""Closing what clients have sent, where it can hold up nobody."""

from __future__ import annotations

import contextlib
import os
import queue
import threading

from server.mapped import MappedFile

#: Descriptors that wait to be closed; with more of them the closer is behind.
_MAX_WAITING = 64


class Closer:
    """Closes what clients have sent, in a thread of its own.

    A file system in user space can make close(2) wait as long as it likes, and giving back the memory of a
    large memfd takes long as well. What hangs here is one daemon thread, and :attr:`is_behind` says so.
    """

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[int | MappedFile | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="closer", daemon=True)
        self._thread.start()

    @property
    def is_behind(self) -> bool:
        """Whether too much waits to be closed."""
        return self._waiting.qsize() > _MAX_WAITING

    def drop(self, what: int | MappedFile) -> None:
        """Close a descriptor, or let go of a mapping: it ends with whoever uses it last."""
        self._waiting.put(what)

    def end(self) -> None:
        """End the thread once nothing waits any more."""
        self._waiting.put(None)

    def _run(self) -> None:
        while (what := self._waiting.get()) is not None:
            if isinstance(what, int):
                with contextlib.suppress(OSError):  # it is closed, whatever its file system says
                    os.close(what)
            del what
