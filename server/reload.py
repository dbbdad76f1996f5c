"""Reading the configuration again while the server works: files, models, hashes may take minutes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import msgspec

from pipelines.core.errors import ConfigError
from server.config import Config

REFUSED = "the new configuration is refused, the old one stays"

_log = logging.getLogger(__name__)


class Reload:
    """One attempt, in a thread of its own.

    Args:
        read: makes the new configuration; raises ConfigError.
        current: what is served now.

    Attributes:
        config: the new configuration, with the old address: the socket stays. None until it is there.
        done: the attempt is over; without ``config`` it was refused, and one line said why.
    """

    def __init__(self, read: Callable[[], Config], current: Config) -> None:
        self._read, self._current = read, current
        self.config: Config | None = None
        self.done = False
        threading.Thread(target=self._run, name="reload", daemon=True).start()

    def __repr__(self) -> str:
        return f"<Reload {'done' if self.done else 'reading'}>"

    def _run(self) -> None:
        try:
            found = self._read()
            current = self._current
            if _address(found) != _address(current):
                _log.warning("the address stays what it is: a new one needs a new start")
            access = msgspec.structs.replace(
                found.access,
                unix_socket=current.access.unix_socket,
                unix_socket_mode=current.access.unix_socket_mode,
                memfd_socket=current.access.memfd_socket,
            )
            self.config = msgspec.structs.replace(found, host=current.host, port=current.port, access=access)
        except ConfigError as error:
            _log.error("%s: %s", REFUSED, " ".join(str(error).split()))
        except Exception:  # whatever it is, the server that runs goes on
            _log.exception(REFUSED)
        finally:
            self.done = True


def _address(config: Config) -> tuple[object, ...]:
    """What the socket was made of."""
    access = config.access
    return config.host, config.port, access.unix_socket, access.unix_socket_mode, access.memfd_socket
