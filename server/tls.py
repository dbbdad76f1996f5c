"""The certificate of HTTPS: one context for the life of a process, renewed in place."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from pipelines.core.errors import ConfigError

_log = logging.getLogger(__name__)


class Certificate:
    """A certificate chain and its key, as they are on disk now.

    Args:
        cert, key: PEM files; the key has no password. Raises ConfigError when they cannot be used.

    Attributes:
        context: for the server; new connections get what was read last, others go on as they are.
    """

    def __init__(self, cert: str, key: str) -> None:
        self._files = Path(cert), Path(key)
        self._stamp: tuple[int, ...] = ()
        self.context = self._fresh()
        self._stamp = self._stamps()

    def refresh(self) -> None:
        """Read both files again if one has changed. A pair that cannot be used changes nothing."""
        try:
            stamp = self._stamps()
            if stamp == self._stamp:
                return
            self._stamp = stamp
            self._fresh()  # a certificate whose key has not come yet must not get into the one in use
            self._load(self.context)
        except (ConfigError, OSError, ssl.SSLError) as fault:
            _log.error("the TLS certificate stays as it was: %s", fault)
        else:
            _log.info("new TLS certificate")

    def _stamps(self) -> tuple[int, ...]:
        found: list[int] = []
        for path in self._files:
            try:
                stat = path.stat()
                found += (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino)
            except OSError:
                found.append(-1)
        return tuple(found)

    def _fresh(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            self._load(context)
        except (OSError, ssl.SSLError, ValueError) as fault:
            reason = getattr(fault, "reason", None) or getattr(fault, "strerror", None) or "no PEM"
            files = " and ".join(map(str, self._files))
            raise ConfigError(f"cannot use the TLS certificate in {files}: {reason}") from None
        return context

    def _load(self, context: ssl.SSLContext) -> None:
        # Without a password to give OpenSSL would ask the terminal for one.
        context.load_cert_chain(*self._files, password=lambda: "")
