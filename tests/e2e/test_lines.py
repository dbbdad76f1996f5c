"""``Accept: application/x-ndjson``: pages of a document one by one, as they are finished."""

import contextlib
import json
import socket

import msgspec
import numpy as np
import pytest

from kernels.slots import DONE, FREE
from pipelines.core.config import ServingOptions
from server.config import Limits
from tests.conditions import wait_for
from tests.e2e.conftest import request
from tests.e2e.test_http_documents import pdf, tiff
from tests.fakes import fake_config, page, png
from tests.harness import Server

pytestmark = pytest.mark.usefixtures("clean")

HEAD = {"Accept": "application/x-ndjson"}
#: Polls in which nothing moves before the server is taken to wait for the client.
STILL = 40


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lines")
    watched = {"access_log": True, "log_format": "json", "log_level": "error", "cache_mb": 8}
    limits = Limits(document_slots=2, max_body_bytes=64 << 20)
    config = fake_config(folder / "models", limits=limits, config=watched, slow_ms=300)
    serving = ServingOptions(visualize=False, max_num_input_imgs=None, max_output_img_size=None)
    (pipeline,) = config.pipelines
    config = msgspec.structs.replace(config, pipelines=(msgspec.structs.replace(pipeline, serving=serving),))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PIP_NO_INDEX", "1")  # pictures are drawn without a font: no test loads one
        environment.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        with Server(config, folder) as running:
            running.wait_ready()
            yield running


@contextlib.contextmanager
def asked(server, body, head=HEAD):
    """The response to a body, while it comes."""
    with contextlib.closing(server.connect()) as connection:
        connection.request("POST", "/ocr", body, {"Content-Type": "application/json"} | head)
        yield connection.getresponse()


def lines_of(response):
    return [json.loads(line) for line in response]


def logged(server, log_id):
    """The access line of a request."""

    def found():
        every = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
        return [line for line in every if line.get("logId") == log_id]

    (line,) = wait_for(found, what="the line is written")
    return line


def test_the_lines_of_a_document_are_the_parts_of_its_answer_and_are_not_kept(server):
    body = request(tiff(*[page(seed, lines=1 + seed) for seed in range(3)]), logId="whole", visualize=True)
    _, whole = server.post(body)
    asks, kept = ("worker_cache_hits", "worker_cache_misses"), server.gauge("worker_cache_bytes")
    before = [server.counter(name) for name in asks]
    assert kept and before == [0, 1]
    with asked(server, body.replace(b"whole", b"lines")) as response:
        assert (response.status, response.headers["Content-Type"]) == (200, "application/x-ndjson")
        assert (response.headers["X-Request-Id"], response.headers["X-Cache"]) == ("lines", None)
        content = response.read()
    *pages, last = map(json.loads, content.splitlines())
    assert sorted(line["pageIndex"] for line in pages) == [0, 1, 2]
    pages.sort(key=lambda line: line["pageIndex"])
    assert [line["result"] for line in pages] == [
        {"ocrResults": [found]} for found in whole["result"]["ocrResults"]
    ]
    assert "ocrImage" in pages[0]["result"]["ocrResults"][0]
    assert last == {
        "logId": "lines",
        "errorCode": 0,
        "errorMsg": "Success",
        "dataInfo": whole["result"]["dataInfo"],
        "numPages": 3,
    }
    assert ([server.counter(name) for name in asks], server.gauge("worker_cache_bytes")) == (before, kept)
    line = logged(server, "lines")
    assert (line["status"], line["pages"], line["bytesOut"]) == (200, 3, len(content))
    assert "cache" not in line and "error" not in line


def test_an_image_is_a_document_of_one_page(server):
    with asked(server, request(png(page(1)))) as response:
        first, last = lines_of(response)
    assert first["pageIndex"] == 0 and len(first["result"]["ocrResults"]) == 1
    assert last["dataInfo"] == {"width": 320, "height": 192, "type": "image"} and last["numPages"] == 1


def test_a_page_is_there_before_others_are_done(server):
    """The last page takes 0.3 s more; the first line comes while it is not answered yet."""
    before = server.counter("device_items")
    with asked(server, request(tiff(page(1), page(2), page(3, fault="slow")))) as response:
        assert json.loads(response.readline())["pageIndex"] in {0, 1}
        assert server.counter("device_items") - before < 3
        assert len(lines_of(response)) == 3


def test_other_answers_are_as_ever(server):
    old = json.dumps({"image": json.loads(request(png(page(1))))["file"]}).encode()
    for body, status in ((old, 200), (request(png(page(1)), textDetThresh="high"), 422), (b"{}", 422)):
        plain = server.post(body)
        with asked(server, body) as response:
            assert (response.status, response.headers["Content-Type"]) == (status, "application/json")
            answer = json.loads(response.read())
        assert answer | {"logId": ""} == plain[1] | {"logId": ""}


def test_a_fault_before_the_first_page_is_an_ordinary_answer(server):
    with asked(server, request(tiff(page(1, fault="error"), page(2, fault="error")))) as response:
        assert response.status == 500
        assert json.loads(response.read())["errorCode"] == 500


def test_a_fault_in_the_middle_is_the_last_line(server):
    pages = [page(1), page(2), page(3), page(4, fault="error"), page(5), page(6)]
    with asked(server, request(tiff(*pages), logId="middle")) as response:
        assert response.status == 200
        content = response.read()
    *done, last = map(json.loads, content.splitlines())
    assert len(done) >= 2  # with two slots, two pages have been taken before the fourth is begun
    text = "a fault that was asked for"
    assert last == {"logId": "middle", "errorCode": 500, "errorMsg": text, "numPages": len(done)}
    line = logged(server, "middle")
    assert (line["status"], line["error"], line["bytesOut"]) == (500, "EngineError", len(content))


def large(count):
    """A PDF whose answer in lines is far more than the buffers of two sockets: bright noise has no text."""
    rng = np.random.default_rng(1)
    noise = rng.integers(140, 256, (1000, 1000, 3), np.uint8)
    pages = [np.roll(noise, 7 * number, axis=1) for number in range(count)]
    return request(pdf(*pages), fileType=0, visualize=True, logId="slow")


def wait_stalled(server):
    """Until all pages in flight are answered and nothing moves: the server waits for its client."""
    seen = []

    def stalled():
        seen.append((server.slots.count(DONE), server.counter("worker_pages")))
        return seen[-STILL:] == [seen[-1]] * STILL and seen[-1][0] == 2

    wait_for(stalled, 30, f"the server waits for its client: {seen[-3:]}")
    return seen[-1][1]


def stuck(server, body):
    """A connection that has sent a body, and has a small buffer for the answer."""
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
    head = f"POST /ocr HTTP/1.1\r\nHost: h\r\nAccept: {HEAD['Accept']}\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    return connection


def test_a_slow_client_has_two_pages_in_flight_and_when_it_goes_the_rest_is_not_done(server):
    pages, gone = server.counter("worker_pages"), server.counter("worker_client_gone")
    with contextlib.closing(stuck(server, large(12))) as connection:
        before = wait_stalled(server)
        while server.counter("worker_pages") == before:  # what is taken makes room
            assert connection.recv(1 << 20)
        wait_stalled(server)
    wait_for(lambda: server.counter("worker_client_gone") == gone + 1, what="it is noticed")
    wait_for(lambda: server.slots.count(FREE) == server.segment.slots, what="slots are still taken")
    done = server.counter("worker_pages") - pages
    line = logged(server, "slow")
    assert (line["status"], line["pages"]) == (499, done) and 2 < done < 12
