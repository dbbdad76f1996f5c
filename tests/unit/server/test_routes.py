"""The routes in this process: a toy pipeline, a device in a thread, faults that no real client can cause."""

import asyncio
import base64
import gc
import http.client
import json
import logging
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import msgspec
import numpy as np
import pytest
import sanic

from kernels.segment import FAILED, STARTING, monotonic_ns
from kernels.slots import FREE
from pipelines.core.config import PipelineConfig, ServingOptions
from pipelines.core.errors import EngineError, PipelineError, Poisoned, ServeError
from pipelines.core.forms import Form, Operation, Source
from server.admission import Admission
from server.config import Config, DeviceConfig, Limits
from server.dispatch import Dispatcher
from server.exchange import Exchange
from server.metrics import Metrics, Table
from server.protocol import Protocol
from server.readiness import unready
from server.routes import Routes
from server.work import Ground
from server.worker import make_app
from tests.conditions import wait_for
from tests.standin import Memory, StandIn
from tests.toy_pipeline import ToyParams, ToyPipeline, ToyResult

pytestmark = pytest.mark.usefixtures("no_leaks")


class Request(msgspec.Struct, rename="camel"):
    file: str
    trouble: str = ""
    visualize: bool | None = None


class ToyForm(Form):
    generation = "v3"
    request = Request
    params_type = ToyParams
    marks = frozenset({"file"})

    def source(self, request):
        return Source("file", request.file, 1)

    def params(self, request, config):
        if request.trouble == "params":
            raise PipelineError("this pipeline cannot do that")
        return ToyParams(trouble=request.trouble)

    def respond(self, reply):
        if reply.params.trouble == "respond":
            raise ZeroDivisionError("a bug in /secret/path.py")
        (page,) = reply.pages
        found = {"doubles": page.result.doubles, "size": [page.width, page.height], "absent": None}
        if reply.visualize:
            found |= {"thread": threading.current_thread().name, "picture": page.pixels.tobytes()}
        return found


class CsvForm(ToyForm):
    pass


class Toy(ToyPipeline):
    operations = (
        Operation("/toy", "infer", "image", ToyResult, (ToyForm(),)),
        Operation("/csv", "infer", "csv", ToyResult, (CsvForm(),), True),
    )


def answer(request, content):
    trouble = msgspec.msgpack.decode(request.params, type=ToyParams).trouble
    if trouble == "engine":
        return EngineError("the engine refused")
    if trouble == "poison":
        return Poisoned()
    return ToyResult([len(content), content[0]])


class Site:
    """A worker's HTTP side on a port of this process, in a thread with a loop of its own."""

    def __init__(self, memory, inline_pixels=0, **limits):
        self.memory, self._inline_pixels = memory, inline_pixels
        pipeline = PipelineConfig("toy", "toy", "v3", {}, {}, {}, ServingOptions(visualize=False))
        self.config = Config((pipeline,), (DeviceConfig(),), limits=Limits(**limits))
        self.table = Table(["/toy", "/csv"])
        self.metrics = Metrics(self.table, memory.lane.counters)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(20), "the site did not start"
        return self

    def __exit__(self, *exc_info):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)

    async def _serve(self):
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        memory, limits = self.memory, self.config.limits
        with ThreadPoolExecutor(2, thread_name_prefix="decode") as threads:
            dispatcher = Dispatcher(
                memory.segment,
                memory.slots,
                memory.lane,
                memory.worker_events[0],
                memory.device_events,
                1,
                self.metrics,
                threads,
            )
            dispatcher.start(self._loop)
            admission = Admission(limits, dispatcher.queued_ms, 1, monotonic_ns)
            renders = asyncio.Semaphore(2)
            inline = self._inline_pixels
            self.ground = ground = Ground(
                memory.segment, dispatcher, self.metrics, limits, renders, renders, inline
            )
            self.routes = Routes(self.config, ground, admission, self.table, lambda: "no font")
            sanic.Sanic.test_mode = True
            app = make_app(self.config, self.routes)
            server = await app.create_server(sock=self.socket, protocol=Protocol, return_asyncio_server=True)
            await server.startup()
            self._ready.set()
            await self._stop.wait()
            assert admission.inside == admission.held_bytes == 0
            await server.close()
            for connection in list(server.connections):
                connection.abort()
            for _ in range(10):  # what was aborted is told; a device may still have what was dropped
                await asyncio.sleep(0.005)
                if memory.slots.count(FREE) == memory.segment.slots and len(asyncio.all_tasks()) == 1:
                    break
            dispatcher.stop()
        sanic.Sanic._app_registry.clear()
        del self.ground, ground
        for part in (self.routes, dispatcher, self.metrics):  # Sanic's classes remember the app for good
            part.__dict__.clear()

    def post(self, path="/toy", content=b"", **fields):
        """(status, headers, body) for a JSON body with this file."""
        body = json.dumps({"file": base64.b64encode(content).decode()} | fields)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("POST", path, body)
        response = connection.getresponse()
        found = response.status, response.headers, json.loads(response.read())
        connection.close()
        return found

    def counted(self, path, code):
        from server.metrics import STATUSES

        return self.memory.lane.counters[self.table.operations[path] + STATUSES.index(code)]


def alive(kind):
    """Objects of a class that nobody has let go of, or that only the garbage collector would."""
    return [each for each in gc.get_objects() if type(each) is kind]


PICTURE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
PNG = cv2.imencode(".png", PICTURE)[1].tobytes()


@pytest.fixture
def memory(monkeypatch):
    for module in ("server.decode", "server.metrics"):
        monkeypatch.setattr(f"{module}.load_pipeline", lambda name: Toy)
    with Memory() as made:
        made.table = Table(["/toy", "/csv"])
        yield made
        wait_for(lambda: made.slots.count(FREE) == made.segment.slots, what="slots are still taken")


@pytest.fixture
def site(memory):
    with StandIn(memory, answer), Site(memory) as made:
        yield made


def test_what_a_refused_request_has_sent_is_let_go_of_at_once(site):
    gc.collect()
    gc.disable()  # a body is large, and the collector counts objects, not bytes
    try:
        assert site.post(content=b"no image" * 1000)[0] == 422
        wait_for(lambda: not alive(Exchange), what="the request is let go of")
    finally:
        gc.enable()


def test_an_image_operation(site):
    status, headers, found = site.post(content=PNG)
    assert status == 200
    assert found["result"] == {"doubles": [72, 0], "size": [6, 4]}
    assert list(found) == ["logId", "result", "errorCode", "errorMsg"]
    assert "det;dur=1.00" in headers["Server-Timing"]
    assert site.counted("/toy", 200) == 1


def test_a_blob_operation(site):
    status, _, found = site.post("/csv", b"a,b\n1,2\n")
    assert (status, found["result"]["doubles"]) == (200, [8, ord("a")])


def test_pictures_are_made_off_the_loop_from_the_pixels_in_the_slot(site):
    _, _, found = site.post(content=PNG, visualize=True)
    assert found["result"]["thread"].startswith("decode")
    assert base64.b64decode(found["result"]["picture"]) == PICTURE.tobytes()


@pytest.mark.parametrize(
    ("inline_pixels", "options", "on_the_loop"),
    [
        pytest.param(24, [], True, id="small"),
        pytest.param(23, [], False, id="larger"),
        pytest.param(24, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], False, id="progressive"),
    ],
)
def test_small_jpegs_are_decoded_on_the_loop_where_that_is_allowed(
    memory, monkeypatch, inline_pixels, options, on_the_loop
):
    from server import items

    threads, decode = [], items.decode_into

    def watched(*arguments):
        threads.append(threading.current_thread().name)
        return decode(*arguments)

    monkeypatch.setattr(items, "decode_into", watched)
    jpeg = cv2.imencode(".jpg", PICTURE, options)[1].tobytes()
    with StandIn(memory, answer), Site(memory, inline_pixels) as site:
        assert site.post(content=jpeg)[2]["result"]["size"] == [6, 4]
        assert site.post(content=jpeg[: jpeg.index(b"\xff\xda") + 12])[0] == 422
    assert [not name.startswith("decode") for name in threads] == [on_the_loop] * 2


def test_a_log_id_is_echoed_where_the_operation_says_so(site):
    assert site.post("/csv", b"x", logId="mine")[2]["logId"] == "mine"
    assert site.post("/toy", PNG, logId="mine")[2]["logId"] != "mine"
    assert site.post("/toy", b"not an image", logId="mine")[2]["logId"] == "mine"


# --- faults


@pytest.mark.parametrize(
    ("trouble", "status", "text"),
    [
        ("params", 500, "this pipeline cannot do that"),
        ("engine", 500, "the engine refused"),
        ("poison", 422, Poisoned.default),
        ("respond", 500, ServeError.default),
    ],
)
def test_faults_of_the_pipeline(site, trouble, status, text):
    found, _, body = site.post(content=PNG, trouble=trouble)
    assert (found, body["errorCode"], body["errorMsg"]) == (status, status, text)
    assert site.counted("/toy", status) == 1


def test_a_bug_is_logged_with_the_requests_id_and_not_told(site, caplog):
    _, _, body = site.post(content=PNG, trouble="respond")
    (record,) = [r for r in caplog.records if r.exc_info]
    assert record.log_id == body["logId"]
    assert "secret" in str(record.exc_info[1])
    assert "secret" not in json.dumps(body)


def test_faults_of_clients_are_not_logged_above_debug(site, caplog):
    caplog.set_level(logging.INFO)
    for content in (b"", b"not an image"):
        assert site.post(content=content)[0] == 422
    assert [record for record in caplog.records if record.name.startswith("server")] == []


def test_a_500_is_logged_as_a_warning(site, caplog):
    assert site.post(content=PNG, trouble="engine")[0] == 500
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "/toy 500 in" in record.getMessage()
    assert "the engine refused" in record.getMessage()


def test_an_input_in_quarantine_is_refused_before_it_is_parsed(site):
    from server.work import fingerprint

    site.memory.segment.quarantine(fingerprint(PNG), monotonic_ns() + 60 * 10**9)
    status, _, body = site.post(content=PNG)
    assert (status, body["errorMsg"]) == (422, Poisoned.default)
    assert site.memory.counter("worker_poisoned") == 1
    other = cv2.imencode(".png", PICTURE + 1)[1].tobytes()
    assert site.post(content=other)[0] == 200


def test_without_devices_for_good_requests_are_refused_at_the_door(memory):
    memory.segment.device(0).state = FAILED
    with Site(memory) as site:
        status, headers, body = site.post(content=PNG)
        assert (status, body["errorCode"]) == (503, 503)
        assert int(headers["Retry-After"]) > 0
        assert site.memory.counter("worker_refused_not_ready") == 1


def test_requests_wait_for_a_device_that_is_starting(memory):
    memory.segment.device(0).state = STARTING
    with Site(memory) as site, ThreadPoolExecutor(1) as client:
        early = client.submit(site.post, "/toy", PNG)
        wait_for(lambda: memory.slots.count(FREE) == memory.segment.slots - 1)
        with StandIn(memory, answer):
            assert early.result(20)[0] == 200


def test_a_full_queue_is_refused_before_the_body_is_read(memory):
    with StandIn(memory, answer) as device, Site(memory, max_queue_ms=5) as site:
        device.gate.clear()
        with ThreadPoolExecutor(1) as client:
            first = client.submit(site.post, "/toy", PNG)  # a toy item costs 10 ms
            wait_for(lambda: device.claimed)
            with socket.create_connection(("127.0.0.1", site.port), timeout=10) as second:
                second.sendall(b"POST /toy HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
                assert second.recv(12) == b"HTTP/1.1 503"
            device.gate.set()
            assert first.result(20)[0] == 200
    assert memory.counter("worker_refused") == 1


def test_while_draining_connections_are_closed_after_their_answer(site):
    site.routes.draining = True
    assert site.post(content=PNG)[1]["Connection"] == "close"


# --- readiness


def test_readiness(memory):
    from kernels.segment import READY

    config = Config((), (DeviceConfig(),), workers=1)
    assert unready(memory.segment, config) == ["worker-0 is starting", "device-0 is down"]
    memory.lane.state = READY
    device = memory.segment.device(0)
    device.incarnate(1, 5)
    assert unready(memory.segment, config) == ["device-0 is starting"]
    device.state = FAILED
    assert unready(memory.segment, config) == ["device-0 is failed"]
    device.state = READY
    assert unready(memory.segment, config) == []
    device.stage_begin(10**9)
    assert unready(memory.segment, config) == [], "busy is ready"
    device.stage_end()
    memory.segment.draining = True
    assert unready(memory.segment, config) == ["draining"]


def test_a_process_that_does_not_beat_is_not_ready(memory):
    from kernels.segment import READY

    memory.lane.state = memory.segment.device(0).state = READY
    memory.segment.device(0).incarnate(1, 5)
    memory.segment.device(0).state = READY
    config = Config((), (DeviceConfig(),), heartbeat_timeout_ms=1)
    found = wait_for(lambda: unready(memory.segment, config))
    assert "does not answer" in found[0]
