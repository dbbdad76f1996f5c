"""The clients over ``memfd://``: what they lend, what they send again, that nothing is left; both kinds."""

import asyncio
import contextlib
import json
import os
import socket
import threading

import cv2
import httpx
import numpy as np
import pytest

from server.client import AsyncClient, Client, DeadlineExceeded, Policy, ServerFault
from server.memfd_client import AsyncMemfdTransport, MemfdTransport, socket_of
from server.memfd_wire import MAX_HEAD, PIECE, answer_head
from tests.conditions import wait_for
from tests.standin import StandIn
from tests.unit.server.test_client import GOOD, Clock
from tests.unit.server.test_memfd import Shared, open_fds
from tests.unit.server.test_routes import PICTURE, PNG, answer, memory

__all__ = ["memory"]

pytestmark = pytest.mark.usefixtures("no_leaks")
TOY = {"doubles": [72, 0], "size": [6, 4]}


def ask_sync(path, *calls, clock, **policy):
    with Client(f"memfd://{path}", policy=policy_of(clock, policy), sleep=clock.sleep) as client:
        return [getattr(client, name)(*given, **fields) for name, given, fields in calls]


def ask_async(path, *calls, clock, **policy):
    async def work():
        options = {"policy": policy_of(clock, policy), "sleep": clock.sleep_async}
        async with AsyncClient(f"memfd://{path}", **options) as client:
            return [await getattr(client, name)(*given, **fields) for name, given, fields in calls]

    return asyncio.run(work())


def policy_of(clock, more):
    return Policy(**{"retries": 0, "clock": clock, "random": lambda: 1.0} | more)


@pytest.fixture(params=[ask_sync, ask_async], ids=["sync", "async"])
def ask(request):
    """Makes calls on one client of either kind: ``ask(path, ("infer", [arguments], {fields}), …)``."""
    return lambda *given, clock=None, **more: request.param(*given, clock=clock or Clock(), **more)


def both(*given, **more):
    """What the calls give on a client of each kind."""
    return [kind(*given, clock=Clock(), **more) for kind in (ask_sync, ask_async)]


def infer(*given, **fields):
    return "infer", given, fields


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "s")


@contextlib.contextmanager
def door(memory, path, uids=None, **limits):
    """The real door of a worker at ``path``."""
    with StandIn(memory, answer) as device, Shared(memory, **limits) as site:
        site.uids = site.uids if uids is None else uids
        yield site.open(path), device


class Played:
    """Plays a server at a path: each request gets the messages of the next ``answers``, then an end.

    A context manager. Attributes: ``heads``: what was asked; ``bodies``: what was lent.
    """

    def __init__(self, path, *answers):
        self.heads, self.bodies, self._answers = [], [], answers
        self._listen = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listen.settimeout(20)
        self._listen.bind(path)
        self._listen.listen()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc_info):
        self._thread.join(20)
        self._listen.close()

    def _run(self):
        for messages in self._answers:
            client, _ = self._listen.accept()
            with client:
                head, (fd,), _, _ = socket.recv_fds(client, MAX_HEAD, 2)
                self.heads.append(json.loads(head))
                self.bodies.append(os.pread(fd, os.fstat(fd).st_size, 0))
                os.close(fd)
                for message in messages:
                    client.send(message)


def envelope(content=GOOD, status=200, headers=None):
    body = json.dumps(content).encode()
    return [answer_head(status, headers or {}, len(body)), body]


# --- against the door


def test_files_pixels_and_json_are_the_same_image(memory, path, tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(PNG)
    wide = np.zeros((4, 12, 3), np.uint8)
    wide[:, ::2] = PICTURE
    calls = [infer("/toy", each) for each in (PNG, file, PICTURE, wide[:, ::2])]
    with door(memory, path) as (site, _):
        assert both(path, *calls, infer("/toy", PNG, form="paddlex")) == [[TOY] * 5] * 2
        assert site.taken == 2, "a connection is kept"


def test_a_large_file_and_a_large_answer(memory, path):
    pixels = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
    file = cv2.imencode(".png", pixels)[1].tobytes()
    assert min(len(file), pixels.nbytes) > 4 * PIECE
    with door(memory, path, max_pixels=120_000):
        calls = [infer("/toy", each, visualize=True) for each in (pixels, file)]
        sizes = [[found["size"] for found in each] for each in both(path, *calls)]
        assert sizes == [[[400, 300]] * 2] * 2


def test_faults_of_the_door_are_faults(memory, path):
    with door(memory, path):
        for call, status, words in (
            (infer("/toy", b"no image"), 422, "Invalid input file"),
            (infer("/csv", PICTURE), 422, "takes text/csv"),
            (infer("/none", PNG), 404, "Not Found"),
            (("post", ["/toy"], {"file": 1, "logId": "mine"}), 422, "file"),
        ):
            for ask in (ask_sync, ask_async):
                with pytest.raises(ServerFault, match=words) as refused:
                    ask(path, call, clock=Clock())
                assert refused.value.status == status


def test_who_may_not_ask_is_told(memory, path):
    """The door hangs up before it has read what was sent."""
    with door(memory, path, uids=frozenset()):
        for ask in (ask_sync, ask_async) * 5:
            with pytest.raises(ServerFault, match="--memfd_uids") as refused:
                ask(path, infer("/toy", PICTURE), clock=Clock())
            assert refused.value.status == 401


def test_no_answer_in_time_is_the_end_and_leaves_nothing(memory, path):
    before, dropped = open_fds(), ("worker_client_gone", "worker_deadline_passed")
    with door(memory, path) as (_, device):
        device.gate.clear()
        for ask in (ask_sync, ask_async):
            with pytest.raises(DeadlineExceeded):
                ask(path, infer("/toy", PICTURE), clock=Clock(), deadline_s=0.05)
        wait_for(lambda: sum(map(memory.counter, dropped)) == 2, what="the requests are dropped")
        device.gate.set()
    assert open_fds() <= before


def test_many_threads_share_a_client(memory, path):
    with door(memory, path) as (site, _), Client(f"memfd://{path}") as client:
        found = []
        threads = [
            threading.Thread(target=lambda: found.extend(client.infer("/toy", PICTURE) for _ in range(5)))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert found == [TOY] * 20
        assert site.taken <= 4


def test_many_at_once_in_one_loop_and_one_that_is_cancelled(memory, path):
    large = np.zeros((300, 400, 3), np.uint8)

    async def work(site, device):
        async with AsyncClient(f"memfd://{path}") as client:
            dropped = asyncio.create_task(client.infer("/toy", large))
            await asyncio.to_thread(wait_for, lambda: site.taken, what="the door has taken it")
            others = [asyncio.create_task(client.infer("/toy", PICTURE)) for _ in range(8)]
            dropped.cancel()
            with pytest.raises(asyncio.CancelledError):
                await dropped
            device.gate.set()
            return await asyncio.gather(*others)

    before = open_fds()
    with door(memory, path) as (site, device):
        device.gate.clear()
        assert asyncio.run(work(site, device)) == [TOY] * 8
    assert open_fds() <= before


# --- against a server that is played


def test_what_is_lent(ask, path):
    with Played(path, envelope(), envelope()) as server:
        ask(path, infer("/ocr", PICTURE, visualize=False), infer("/ocr", PNG, logId="ä"))
    pixels, file = server.heads
    assert (pixels["path"], pixels["query"], pixels["pixels"]) == ("/ocr", "visualize=false", [4, 6])
    assert server.bodies == [PICTURE.tobytes(), PNG]
    assert (file["query"], "pixels" in file) == ("logId=%C3%A4", False)
    sent = file["headers"]
    assert (sent["content-type"], sent["x-request-timeout-ms"]) == ("image/*", "60000")
    assert not sent.keys() & {"host", "connection", "content-length", "accept-encoding"}


def test_what_is_refused_or_lost_is_sent_again(ask, path):
    clock = Clock()
    busy = envelope({"logId": "", "errorCode": 503, "errorMsg": "busy"}, 503, {"Retry-After": "2"})
    lost = [answer_head(200, {}, 99), b"a part"]
    with Played(path, busy, [], lost, [b"no JSON"], envelope()) as server:
        assert ask(path, infer("/ocr", PNG), clock=clock, retries=4) == [{"a": 1}]
    assert clock.slept == [2.1, 0.2, 0.4, 0.8]
    assert server.bodies == [PNG] * 5


@pytest.mark.parametrize("messages", [[b"{}"], [b"[]"], [b'{"status":200,"headers":{},"bytes":1}', b"{}"]])
def test_what_is_no_answer(ask, path, messages):
    with Played(path, messages), pytest.raises(httpx.RemoteProtocolError, match="no answer"):
        ask(path, infer("/ocr", PNG))


def test_nobody_there(ask, path):
    clock = Clock()
    with pytest.raises(httpx.NetworkError, match="No such file"):
        ask(path, infer("/ocr", PNG), clock=clock, retries=2)
    assert clock.slept == [0.1, 0.2]


def test_all_connections_busy(path):
    """With none left, time for a request ends as it does in httpx's pool."""
    request = httpx.Request("POST", "http://x/ocr", content=b"x", extensions={"timeout": {"read": 0.01}})
    transport = MemfdTransport(path)
    while transport._places.acquire(blocking=False):
        pass
    with pytest.raises(httpx.PoolTimeout):
        transport.handle_request(request)

    async def work():
        other = AsyncMemfdTransport(path)
        while not other._places.locked():
            await other._places.acquire()
        with pytest.raises(httpx.PoolTimeout):
            await other.handle_async_request(request)

    asyncio.run(work())


# --- what cannot be lent


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 6), np.uint8),
        np.zeros((4, 6, 4), np.uint8),
        np.zeros((4, 6, 3)),
        np.zeros((0, 6, 3), np.uint8),
        5,
    ],
    ids=["grey", "alpha", "float", "empty", "none"],
)
def test_what_is_no_picture(path, pixels):
    for ask in (ask_sync, ask_async):
        with pytest.raises(TypeError):
            ask(path, infer("/ocr", pixels), clock=Clock())


def test_pixels_go_to_no_other_server(path):
    with Client("http://localhost:1") as client, pytest.raises(TypeError, match="memfd://"):
        client.infer("/ocr", PICTURE)
    with Client(f"memfd://{path}") as client, pytest.raises(TypeError, match="form raw"):
        client.infer("/ocr", PICTURE, form="paddlex")


def test_the_path_of_a_socket():
    assert socket_of("memfd:///run/a%20b.sock") == "/run/a b.sock"
    for url in ("memfd://", "memfd://run/x", "memfd:x", "memfd:///x?a", "memfd:///x#a"):
        with pytest.raises(ValueError, match="absolute path"):
            socket_of(url)
