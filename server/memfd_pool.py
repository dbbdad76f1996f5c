"""Connections of a client to the socket of ``--memfd_socket``, kept between requests."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Iterator

#: As many as httpx keeps.
_MAX_IDLE = 20


class Pool:
    """Connections to one socket; may be used by many threads.

    Args:
        path: of the socket.
    """

    def __init__(self, path: str) -> None:
        self._path, self._room = path, _MAX_IDLE
        self._idle: list[socket.socket] = []

    @contextlib.contextmanager
    def connection(self) -> Iterator[socket.socket]:
        """One for a request; kept when that ends well. Raises OSError."""
        client = self._kept() or _connected(self._path)
        try:
            yield client
        except BaseException:
            client.close()
            raise
        if len(self._idle) < self._room:
            self._idle.append(client)
        else:
            client.close()

    def _kept(self) -> socket.socket | None:
        """The last one that the server has not closed meanwhile."""
        while True:
            try:
                client = self._idle.pop()
            except IndexError:
                return None
            if not readable(client, 0):
                return client
            client.close()

    def close(self) -> None:
        """Close those that are kept, and keep no more."""
        self._room = 0
        while self._idle:
            self._idle.pop().close()


def _connected(path: str) -> socket.socket:
    """A new connection, at once or not at all. Raises OSError."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    try:
        client.connect(path)
    except OSError:
        client.close()
        raise
    return client


def readable(client: socket.socket, seconds: float) -> bool:
    """Whether there is something to read, or an end, within so long."""
    poll = select.poll()  # select() takes no descriptor above 1023
    poll.register(client, select.POLLIN)
    return bool(poll.poll(1000 * seconds))
