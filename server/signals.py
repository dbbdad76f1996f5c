"""Signals as a list of numbers that the supervisor's loop works through."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Signals:
    """Collects signals while it is entered; ``fd`` becomes readable when one has come.

    Handlers only append a number: what a signal means is decided in the loop.
    Main thread only.
    """

    def __init__(self) -> None:
        self._pending: list[signal.Signals] = []
        self._before: dict[signal.Signals, Any] = {}
        self._fd_before = -1
        self.fd, self._write_fd = -1, -1

    def __enter__(self) -> Signals:
        self.fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before = {number: signal.signal(number, self._handle) for number in HANDLED}
        self._fd_before = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        return self

    def __exit__(self, *exc_info: object) -> None:
        signal.set_wakeup_fd(self._fd_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self.fd)
        os.close(self._write_fd)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._pending.append(signal.Signals(number))

    def send(self, number: signal.Signals) -> None:
        """What a handler does; for tests."""
        self._pending.append(number)
        os.write(self._write_fd, b"\0")

    def take(self) -> Iterator[signal.Signals]:
        """Signals that have come since the last call, in order."""
        try:
            while os.read(self.fd, 64):
                continue
        except BlockingIOError:
            pass
        while self._pending:
            yield self._pending.pop(0)
