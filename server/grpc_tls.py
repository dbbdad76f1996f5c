"""The certificate of gRPC: that of HTTPS, and like it renewed while the server runs."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import grpc

from pipelines.core.errors import ConfigError
from server.tls import Certificate

_log = logging.getLogger(__name__)


class Pair:
    """A certificate chain and its key, as they are on disk at each handshake.

    Args:
        cert, key: PEM files. Raises ConfigError when they cannot be used.
    """

    def __init__(self, cert: str, key: str) -> None:
        self._cert, self._key = Path(cert), Path(key)
        self._lock = threading.Lock()
        self._stamp = self._stamps()
        self._first = self._read()

    def credentials(self) -> Any:
        """What the server takes; it asks at each handshake whether there is something new."""
        return grpc.dynamic_ssl_server_credentials(self._first, self._renewed)

    def _renewed(self) -> Any:
        """The pair if it has changed, else None. Any thread. What cannot be used changes nothing."""
        with self._lock:
            stamp = self._stamps()
            if stamp == self._stamp:
                return None
            self._stamp = stamp
            try:
                return self._read()
            except (ConfigError, OSError) as fault:
                _log.error("the TLS certificate of gRPC stays as it was: %s", fault)
                return None

    def _stamps(self) -> tuple[tuple[int, int, int], ...]:
        found = []
        for path in (self._cert, self._key):
            try:
                stat = path.stat()
            except OSError:
                found.append((0, 0, 0))
            else:
                found.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
        return tuple(found)

    def _read(self) -> Any:
        Certificate(str(self._cert), str(self._key))  # says whether they belong together
        try:
            return grpc.ssl_server_certificate_configuration(
                [(self._key.read_bytes(), self._cert.read_bytes())]
            )
        except OSError as error:
            raise ConfigError(f"cannot use the TLS certificate in {self._cert}: {error.strerror}") from error
