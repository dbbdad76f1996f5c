"""The font that pictures are drawn with."""

from __future__ import annotations

import threading
import time

from pipelines.core.errors import ConfigError

#: A font that cannot be had is asked for again only after this: each attempt may wait for a network.
_RETRY_S = 600.0


class Font:
    """Path of the font for drawing, fetched on first use; a failure is remembered for a while."""

    def __init__(self, cache_dir: str) -> None:
        self._cache_dir = cache_dir
        self._lock = threading.Lock()
        self._path = ""
        self._fault: ConfigError | None = None
        self._retry_at = 0.0

    def __call__(self) -> str:
        """The path. Any thread. Raises ConfigError."""
        from pipelines.core.models import ModelStore  # noqa: PLC0415 - only when pictures are drawn

        with self._lock:
            if self._path:
                return self._path
            if self._fault is not None and time.monotonic() < self._retry_at:
                raise self._fault
            try:
                self._path = ModelStore(self._cache_dir or None).font()
            except ConfigError as fault:
                self._fault, self._retry_at = fault, time.monotonic() + _RETRY_S
                raise
            return self._path
