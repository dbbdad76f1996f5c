"""A closed loop that costs the machine little: one thread, epoll, ready-made requests.

``load.py`` does more, with an event loop and a task per client; what that takes on the server's cores would
be measured too where a request costs the server little. Here it is about 0.05 ms for a body of 75 KB.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator, Sequence

from .load import TIMEOUT_S, Answer, Run

_CHUNK = 1 << 18


class _Connection:
    """One client: sends a request, collects its answer."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.index = -1
        self.started = 0.0
        self._left = memoryview(b"")
        self._received = b""
        self._expected = 0

    def start(self, index: int, request: bytes) -> bool:
        """Send; False while a part could not be sent yet."""
        self.index, self._left, self._received, self._expected = index, memoryview(request), b"", 0
        self.started = time.perf_counter()
        return self.send()

    def send(self) -> bool:
        """Send on; whether all is sent."""
        try:
            while self._left:
                self._left = self._left[self.socket.send(self._left) :]
        except BlockingIOError:
            return False
        return True

    def receive(self) -> tuple[int, bytes] | None:
        """Status and body once the answer is whole. Raises ConnectionError when there is none."""
        part = self.socket.recv(_CHUNK)
        if not part:
            raise ConnectionError("the server closed the connection")
        self._received += part
        head = self._received.find(b"\r\n\r\n") + 4
        if not self._expected and head > 3:
            start = self._received.lower().index(b"\r\ncontent-length:", 0, head) + 17
            self._expected = head + int(self._received[start : self._received.index(b"\r\n", start)])
        if not self._expected or len(self._received) < self._expected:
            return None
        return int(self._received[9:12]), self._received[head:]


def closed_loop(host: str, port: int, requests: Sequence[bytes], order: Sequence[int], clients: int) -> Run:
    """Send ``requests[i]`` for every i of ``order`` with ``clients`` clients that never pause.

    Raises ConnectionError when the server gives a connection up, TimeoutError when nothing is answered.
    """
    poller, answers, waiting = select.epoll(), [], iter(order)
    connections = {}
    for _ in range(clients):
        connection = _Connection(host, port)
        connections[connection.socket.fileno()] = connection
        poller.register(connection.socket, select.EPOLLIN)
    begin = time.perf_counter()
    for connection in connections.values():
        _next(poller, connection, requests, waiting)
    while len(answers) < len(order):
        events = poller.poll(TIMEOUT_S)
        if not events:
            raise TimeoutError(f"no answer within {TIMEOUT_S:.0f} s")
        for number, event in events:
            connection = connections[number]
            if event & select.EPOLLOUT and connection.send():
                poller.modify(number, select.EPOLLIN)
            if event & ~select.EPOLLOUT:
                found = connection.receive()
                if found is not None:
                    end = time.perf_counter()
                    took = end - connection.started
                    answers.append(
                        Answer(connection.index, found[0], connection.started, end, took, found[1])
                    )
                    _next(poller, connection, requests, waiting)
    wall = time.perf_counter() - begin
    poller.close()
    for connection in connections.values():
        connection.socket.close()
    return Run(answers, wall)


def _next(
    poller: select.epoll, connection: _Connection, requests: Sequence[bytes], waiting: Iterator[int]
) -> None:
    """The connection's next request, if there is one left."""
    index = next(waiting, None)
    if index is not None and not connection.start(index, requests[index]):
        poller.modify(connection.socket, select.EPOLLIN | select.EPOLLOUT)
