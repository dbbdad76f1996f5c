"""When things do not go well for the client: gone, late, refused, or the server is leaving."""

import contextlib
import json
import os
import signal
import socket
import threading
import time

import pytest

from kernels.segment import READY
from kernels.slots import CLAIMED, FREE
from kernels.slots import READY as WAITING
from server.config import Limits
from tests.conditions import wait_for
from tests.fakes import SLOW_MS, body, fake_config, page
from tests.harness import Server, exchange


@pytest.fixture(scope="module")
def options():
    return {"devices": 1, "window": 1, "limits": Limits(max_queue_ms=400)}


SLOW = body(page(1, fault="slow"))
GOOD = body(page(2))


def send(server, content, reset=False):
    """A connection on which a request has been sent and nothing read."""
    client = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    if reset:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.sendall(b"POST /ocr HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
    return client


def with_devices(server):
    return server.slots.count(WAITING) + server.slots.count(CLAIMED)


@pytest.mark.usefixtures("clean")
class TestGone:
    """The client has closed its connection."""

    @pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
    def test_what_waits_is_taken_back_and_what_runs_is_dropped(self, server, reset):
        gone, abandoned = server.counter("worker_client_gone"), server.counter("device_abandoned")
        running = send(server, SLOW, reset)
        wait_for(lambda: server.slots.count(CLAIMED) == 1)
        waiting = send(server, SLOW, reset)
        wait_for(lambda: server.slots.count(WAITING) == 1)
        waiting.close()
        wait_for(lambda: server.slots.count(WAITING) == 0, SLOW_MS / 1000)
        assert server.slots.count(CLAIMED) == 1
        running.close()
        wait_for(lambda: server.counter("worker_client_gone") == gone + 2)
        # its detector run cannot be stopped, but nothing is run for it afterwards
        wait_for(lambda: server.slots.count(FREE) == server.segment.slots)
        assert server.counter("device_abandoned") == abandoned + 1
        started = time.perf_counter()
        assert server.post(GOOD)[0] == 200
        assert time.perf_counter() - started < SLOW_MS / 1000

    def test_also_when_more_was_sent_than_is_read_at_once(self, server):
        """Sanic stops reading when its buffer is full, and would not see the end of the connection."""
        gone = server.counter("worker_client_gone")
        blocker = send(server, SLOW)
        wait_for(lambda: server.slots.count(CLAIMED) == 1)
        padded = GOOD[:-1] + b', "padding": "' + b"x" * (3 << 20) + b'"}'
        waiting = send(server, padded)
        wait_for(lambda: server.slots.count(WAITING) == 1)
        waiting.close()
        wait_for(lambda: server.counter("worker_client_gone") == gone + 1, SLOW_MS / 1000)
        blocker.close()


@pytest.mark.usefixtures("clean")
class TestLate:
    """The deadline passes."""

    def test_in_the_queue(self, server):
        blocker = send(server, SLOW)
        wait_for(lambda: server.slots.count(CLAIMED) == 1)
        started = time.perf_counter()
        status, answer = server.post(GOOD, headers={"X-Request-Timeout-Ms": "150"})
        assert time.perf_counter() - started < 1.0
        assert (status, answer["errorCode"]) == (504, 504)
        assert answer["errorMsg"] == "The deadline of the request passed"
        blocker.close()

    def test_on_the_device(self, server):
        started = time.perf_counter()
        assert server.post(SLOW, headers={"X-Request-Timeout-Ms": "150"})[0] == 504
        assert time.perf_counter() - started < 1.0

    @pytest.mark.parametrize("value", ["0", "soon", "-5", "1.5"])
    def test_a_timeout_that_is_none(self, server, value):
        status, answer = server.post(GOOD, headers={"X-Request-Timeout-Ms": value})
        assert status == 422
        assert "X-Request-Timeout-Ms" in answer["errorMsg"]


@pytest.mark.usefixtures("clean")
def test_overload_is_refused_at_once_and_ends_with_the_load(server):
    """Far more work than ``max_queue_ms``: some are served, the others are told when to come back."""
    large = body(page(5, lines=12))  # its estimated cost fills the queue within a few requests
    blocker = send(server, SLOW)
    wait_for(lambda: server.slots.count(CLAIMED) == 1)
    clients = [send(server, large) for _ in range(30)]
    answers = []

    def read(client):
        with contextlib.closing(client):
            answers.append(client.recv(65536))

    readers = [threading.Thread(target=read, args=[client]) for client in clients]
    for reader in readers:
        reader.start()
    wait_for(lambda: any(answer.startswith(b"HTTP/1.1 503") for answer in answers), SLOW_MS / 1000)
    quickest = 60.0
    for _ in range(10):
        started = time.perf_counter()
        with contextlib.closing(server.connect()) as connection:
            connection.request("POST", "/ocr", large)
            response = connection.getresponse()
            quickest = min(quickest, time.perf_counter() - started)
            answer = json.loads(response.read())
        assert (response.status, answer["errorCode"]) == (503, 503)
        assert int(response.headers["Retry-After"]) >= 1
        assert list(answer) == ["logId", "errorCode", "errorMsg"]
    assert quickest < 0.02  # a connection, a refusal; the server's own part is far below a millisecond
    for reader in readers:
        reader.join(60)
    statuses = {answer[9:12] for answer in answers}
    assert statuses == {b"200", b"503"}
    blocker.close()
    wait_for(lambda: with_devices(server) == 0)
    assert server.post(GOOD)[0] == 200


@pytest.mark.usefixtures("clean")
def test_too_many_bytes_at_once_are_refused(tmp_path):
    limits = Limits(max_decoded_bytes=3 << 20, max_body_bytes=2 << 20)
    with Server(fake_config(tmp_path / "models", devices=1, limits=limits), tmp_path) as small:
        small.wait_ready()
        half = b"POST /ocr HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n" + b"x" * 1_900_000
        holders = []
        for _ in range(2):  # together they hold more than a worker may
            client = socket.create_connection(("127.0.0.1", small.port), timeout=30)
            client.sendall(half)
            holders.append(client)
        refused = holders[1]
        assert refused.recv(12) == b"HTTP/1.1 503"
        for client in holders:
            client.close()
        wait_for(lambda: small.post(GOOD)[0] == 200)


def test_leaving_finishes_what_is_inside_and_takes_nothing_new(tmp_path):
    with Server(fake_config(tmp_path / "models", devices=1), tmp_path) as leaving:
        leaving.wait_ready()
        idle = leaving.connect()
        assert exchange(idle, GOOD)[0] == 200
        inside = send(leaving, SLOW)
        wait_for(lambda: leaving.slots.count(CLAIMED) == 1)
        leaving.remember()
        leaving.process.terminate()
        with contextlib.closing(inside):
            answer = inside.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in answer.split(b"\r\n\r\n")[0]
        assert idle.sock.recv(1) == b"", "an idle connection is closed"
        idle.close()
        with pytest.raises(OSError), contextlib.closing(send(leaving, GOOD)) as late:
            assert late.recv(1) == b""
            raise ConnectionResetError
        assert leaving.wait_exit() == 0


def test_ready_says_what_is_missing(tmp_path):
    with Server(fake_config(tmp_path / "models", devices=1), tmp_path) as server:
        server.wait_ready()

        def ready():
            with contextlib.closing(server.connect()) as connection:
                connection.request("GET", "/health/ready")
                response = connection.getresponse()
                return response.status, json.loads(response.read())

        assert ready()[0] == 200
        (pid,) = server.pids("device")
        os.kill(pid, signal.SIGKILL)
        _, answer = wait_for(lambda: (found := ready())[0] == 503 and found)
        assert answer["errorCode"] == 503
        assert "device-0 is" in answer["errorMsg"]
        wait_for(lambda: ready()[0] == 200)
        assert server.segment.device(0).state == READY
