"""Files and pixels in sealed memfds: what is taken, what is refused, and that no descriptor is left."""

import asyncio
import base64
import fcntl
import json
import os
import socket
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipelines.core.errors import BadRequest
from server import memfd_door
from server.closer import Closer
from server.config import Limits
from server.csv_size import check_csv
from server.headers import read_header
from server.images import decode_into
from server.mapped import SEALS, is_sealed, map_sealed, sealed_bytes
from server.memfd_door import MemfdDoor
from server.memfd_wire import MAX_HEAD, read_head
from server.work import fingerprint
from tests.conditions import wait_for
from tests.standin import StandIn
from tests.unit.server.test_routes import PICTURE, PNG, Site, answer, memory

__all__ = ["memory"]

pytestmark = pytest.mark.usefixtures("no_leaks")
RAW = PICTURE.tobytes()
PIXELS = {"path": "/toy", "pixels": [4, 6]}


def sealed(content, seals=SEALS):
    fd = os.memfd_create("test", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.write(fd, content)
    if seals:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


class Shared(Site):
    """A worker's side whose door for memfds takes the other end of :meth:`connect`'s socket."""

    uids = frozenset({os.geteuid()})

    door = None
    taken = 0

    def __exit__(self, *exc_info):
        if self.door:
            self.call(self.door.stop(5))
        super().__exit__(*exc_info)

    def open(self, address=""):
        listen = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listen.bind(address)  # "": an abstract name of the kernel's choice
        listen.listen()
        self.address = listen.getsockname()
        self.door = self.call(self._door(listen))
        return self

    async def _door(self, listen):
        door = MemfdDoor(listen, self.routes, self.ground, self.uids)
        await door.start()
        take = door.take
        door.take = lambda client: (self._count(), take(client))
        return door

    def _count(self):
        self.taken += 1

    def call(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def connect(self):
        client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        client.settimeout(20)
        client.connect(self.address)
        return client


@pytest.fixture
def site(memory):
    with StandIn(memory, answer), Shared(memory, body_timeout_ms=5000, max_pixels=1000) as made:
        made.open()
        yield made


def send(client, head, *fds):
    head = head if isinstance(head, bytes) else json.dumps(head).encode()
    socket.send_fds(client, [head], fds) if fds else client.send(head)


def receive(client):
    """(head, body), or None at the end of the connection."""
    head = client.recv(MAX_HEAD)
    if not head:
        return None
    head, body = json.loads(head), b""
    while len(body) < head["bytes"]:
        piece = client.recv(MAX_HEAD)
        assert piece, "the answer is cut"
        body += piece
    return head, json.loads(body)


def ask(site, head, content=RAW, client=None):
    fd = content if isinstance(content, int) else sealed(content)
    try:
        with client or site.connect() as connection:
            send(connection, head, fd)
            return receive(connection)
    finally:
        os.close(fd)


def open_fds():
    return len(list(Path("/proc/self/fd").iterdir()))


# --- what is taken


def test_pixels_an_encoded_file_and_json_are_the_same_image(site):
    want = {"doubles": [72, 0], "size": [6, 4]}
    coded = site.post(content=PNG)[2]["result"]
    asked = [
        (PIXELS, RAW),
        ({"path": "/toy", "headers": {"Content-Type": "image/png"}}, PNG),
        ({"path": "/toy"}, json.dumps({"file": base64.b64encode(PNG).decode()}).encode()),
    ]
    for head, content in asked:
        about, found = ask(site, head, content)
        assert (about["status"], found["errorCode"]) == (200, 0)
        assert found["result"] == coded == want
        assert "det;dur=" in about["headers"]["Server-Timing"]
    assert site.counted("/toy", 200) == 4


def test_a_series_and_parameters_in_the_query(site):
    head = {"path": "/csv", "query": "logId=mine", "headers": {"content-type": "text/csv"}}
    _, found = ask(site, head, b"a,b\n1,2\n")
    assert (found["result"]["doubles"], found["logId"]) == ([8, ord("a")], "mine")


def test_a_large_answer_comes_in_pieces_and_a_connection_is_kept(site):
    with site.connect() as client:
        for side in (30, 25):
            pixels = np.full((side, side, 3), side, np.uint8)
            fd = sealed(pixels.tobytes())
            send(client, {"path": "/toy", "pixels": [side, side], "query": "visualize=true"}, fd)
            os.close(fd)
            _, found = receive(client)
            assert found["result"]["size"] == [side, side]


def test_readers_take_a_mapping_as_they_take_bytes():
    jpeg, series = cv2.imencode(".jpg", PICTURE)[1].tobytes(), b"a,b\n1,2\n" * 9
    webp, tiff = (cv2.imencode(end, PICTURE)[1].tobytes() for end in (".webp", ".tiff"))
    pnm, bmp = (cv2.imencode(end, PICTURE)[1].tobytes() for end in (".ppm", ".bmp"))
    for content in (PNG, jpeg, webp, tiff, pnm, bmp):
        fd = sealed(content)
        mapped = map_sealed(fd, sealed_bytes(fd))
        os.close(fd)
        assert read_header(mapped) == (header := read_header(content))
        assert fingerprint(mapped) == fingerprint(content)
        views = [memoryview(bytearray(1 << 14)) for _ in range(2)]
        for view, data in zip(views, (mapped, content), strict=True):
            assert decode_into(view, data, header, "reject").nbytes == PICTURE.nbytes
        assert views[0] == views[1]
    fd = sealed(series)
    with pytest.raises(BadRequest, match="rows"):
        check_csv(map_sealed(fd, len(series)), Limits(max_csv_rows=3))
    os.close(fd)


# --- what is refused


def faults():
    """(what is sent: head and descriptors, status, words)."""

    def holes():
        fd = os.memfd_create("test", os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, 72)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
        return fd

    def file():
        with tempfile.TemporaryFile() as made:
            made.write(RAW)
            return os.dup(made.fileno())

    def good():
        return sealed(RAW)

    yield PIXELS, [], 422, "with one memfd"
    yield PIXELS, [good(), good()], 422, "with one memfd"
    yield PIXELS, [good() for _ in range(9)], 422, "with one memfd"
    yield PIXELS, [file()], 422, "no memfd sealed"
    yield PIXELS, [os.open(os.devnull, os.O_RDONLY)], 422, "no memfd sealed"
    for seals in (0, fcntl.F_SEAL_WRITE, SEALS & ~fcntl.F_SEAL_WRITE, SEALS & ~fcntl.F_SEAL_SHRINK):
        yield PIXELS, [sealed(RAW, seals)], 422, "no memfd sealed"
    yield PIXELS, [sealed(b"")], 422, "is empty"
    yield PIXELS, [holes()], 422, "has holes"
    yield b"{" + b" " * MAX_HEAD + b"}", [good()], 422, "64 KiB"
    for head in (
        b"no json",
        b"[]",
        b"{}",
        b"[" * 60,
        b'{"path":1}',
        b'{"path":"/toy","headers":{"a":"\\n"}}',
    ):
        yield head, [good()], 422, ""
    for pixels in ([4], [0, 6], [-4, -6], [4, 6, 3], [1 << 40, 1], "4x6"):
        yield {"path": "/toy", "pixels": pixels}, [good()], 422, ""
    yield {"path": "/toy", "pixels": [4, 7]}, [good()], 422, "The memfd has 72 bytes"
    yield {"path": "/toy", "pixels": [1000, 1000]}, [good()], 422, "exceeds maximum allowed 1000"
    yield {"path": "/csv", "pixels": [4, 6]}, [good()], 422, "takes text/csv"
    yield {"path": "/none"}, [good()], 404, "Not Found"
    yield {"path": "/toy", "headers": {"content-type": "image/png"}}, [good()], 422, "Invalid input file"
    yield {"path": "/toy", "headers": {"content-type": "multipart/form-data; boundary=b"}}, [good()], 422, ""
    yield {"path": "/toy", "headers": {"x-priority": "no"}} | PIXELS, [good()], 422, "X-Priority"


def test_each_hostile_request_is_one_fault_and_leaves_nothing(site):
    ask(site, PIXELS)
    cases = list(faults())
    before = open_fds() - sum(len(fds) for _, fds, _, _ in cases)
    for head, fds, status, words in cases:
        with site.connect() as client:
            send(client, head, *fds)
            about, found = receive(client)
        assert (about["status"], found["errorCode"]) == (status, status), (head, found)
        assert words in found["errorMsg"], head
        for fd in fds:
            os.close(fd)
    wait_for(lambda: open_fds() <= before, what="descriptors are left")
    assert ask(site, PIXELS)[0]["status"] == 200, "the door is open"


def test_a_memfd_above_the_limit_is_413(memory):
    with StandIn(memory, answer), Shared(memory, max_body_bytes=50) as site:
        site.open()
        about, found = ask(site, {"path": "/toy", "headers": {"content-type": "image/png"}})
        assert (about["status"], "larger than 50 bytes" in found["errorMsg"]) == (413, True)
        assert ask(site, PIXELS)[0]["status"] == 200, "pixels have their own limit"


def test_other_users_and_too_many_connections_are_told_and_shut_out(memory, monkeypatch):
    with StandIn(memory, answer), Shared(memory) as site:
        site.uids = frozenset({os.geteuid() + 1})
        site.open()
        with site.connect() as client:
            about, found = receive(client)
            assert (about["status"], "--memfd_uids" in found["errorMsg"]) == (401, True)
            assert receive(client) is None
    with StandIn(memory, answer), Shared(memory) as site:
        monkeypatch.setattr(memfd_door, "MAX_CONNECTIONS", 1)
        site.open()
        with site.connect() as first:
            with site.connect() as client:
                about, _ = receive(client)
                assert (about["status"], int(about["headers"]["Retry-After"]) > 0) == (503, True)
            assert ask(site, PIXELS, client=first)[0]["status"] == 200


def test_a_client_that_asks_for_nothing_is_hung_up_on(memory):
    with StandIn(memory, answer), Shared(memory, body_timeout_ms=50) as site:
        site.open()
        with site.connect() as client:
            assert receive(client) is None


@pytest.mark.parametrize("how", ["close", "shutdown", "again"])
def test_a_client_that_leaves_or_speaks_out_of_turn_loses_its_request(memory, how):
    with StandIn(memory, answer) as device, Shared(memory) as site:
        site.open()
        device.gate.clear()
        before, client, fd = open_fds(), site.connect(), sealed(RAW)
        try:
            send(client, PIXELS, fd)
            wait_for(lambda: device.claimed)
            if how == "again":
                send(client, PIXELS, fd)
            elif how == "shutdown":
                client.shutdown(socket.SHUT_WR)
            else:
                client.close()
            wait_for(lambda: memory.counter("worker_client_gone") == 1, what="the request is dropped")
        finally:
            device.gate.set()
            client.close()
            os.close(fd)
        wait_for(lambda: open_fds() <= before, what="descriptors are left")


def test_a_drain_ends_idle_connections_and_finishes_the_others(memory):
    with StandIn(memory, answer) as device, Shared(memory) as site, ThreadPoolExecutor(2) as threads:
        site.open()
        device.gate.clear()
        idle = site.connect()
        busy = threads.submit(ask, site, PIXELS)
        wait_for(lambda: device.claimed)
        stopping = threads.submit(site.call, site.door.stop(10))
        assert receive(idle) is None
        idle.close()
        device.gate.set()
        assert busy.result(20)[0]["status"] == 200
        assert stopping.result(20) == 0
        site.door = None


# --- parts


def test_closing_that_hangs_holds_up_nobody(monkeypatch):
    gate, closer, fd = threading.Event(), Closer(), os.dup(0)
    close = os.close
    monkeypatch.setattr("server.closer.os.close", lambda fd: (gate.wait(20), close(fd)))
    for _ in range(66):
        closer.drop(os.dup(fd))
    assert closer.is_behind
    gate.set()
    wait_for(lambda: not closer.is_behind)
    closer.end()
    close(fd)


def test_what_no_memfd_is_has_no_seals():
    for fd in (0, 10_000):
        assert not is_sealed(fd)


def test_a_head_has_its_defaults():
    head = read_head(b'{"path": "/ocr", "headers": {"X-API-Key": "k"}, "more": 1}')
    assert (head.path, head.query, head.headers, head.pixels) == ("/ocr", "", {"x-api-key": "k"}, None)
