"""What clients do with their connections: half closed, with trailers, gone before the answer is sent."""

import contextlib
import http.client
import json
import socket

import pytest

from tests.conditions import wait_for
from tests.fakes import RightAnswers, body, page
from tests.harness import texts_of

pytestmark = pytest.mark.usefixtures("clean")

PAGE, SLOW_PAGE = page(2), page(1, fault="slow")
PROBE = b"HTTP/1.1 100 Continue\r\n\r\n"


def dial(server):
    return contextlib.closing(socket.create_connection(("127.0.0.1", server.port), timeout=30))


def request(content, version=b"1.1", lines=b""):
    return b"POST /ocr HTTP/%s\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s" % (
        version, lines, len(content), content,
    )  # fmt: skip


def chunked(content, trailers):
    head = b"POST /ocr HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%s\r\n0\r\n%s\r\n" % (len(content), content, trailers)


def read_all(client):
    received = b""
    while data := client.recv(65536):
        received += data
    return received


def read_answer(client):
    """(status, body as object) of the next answer, as Python's own client reads it."""
    response = http.client.HTTPResponse(client)
    response.begin()
    return response.status, json.loads(response.read())


# --- a client that has sent its request and shut down its sending side


@pytest.mark.parametrize(("image", "slow"), [(PAGE, False), (SLOW_PAGE, True)], ids=["quick", "slow"])
def test_a_half_closed_client_is_answered(server, image, slow):
    with dial(server) as client:
        client.sendall(request(body(image)))
        client.shutdown(socket.SHUT_WR)
        received = read_all(client)  # to its end: the connection closes behind the answer
    assert received.startswith(PROBE) == slow, "whether somebody is there is found out with data"
    head, _, answer = received.removeprefix(PROBE).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert texts_of(json.loads(answer)) == [RightAnswers(server.config).texts(image)]


def test_the_client_of_http_1_0_gets_no_interim_response(server):
    with dial(server) as client:
        client.sendall(request(body(SLOW_PAGE), b"1.0"))
        client.shutdown(socket.SHUT_WR)
        assert read_all(client).startswith(b"HTTP/1.1 200")


def test_every_request_before_the_end_is_answered(server):
    with dial(server) as client:
        client.sendall(request(body(PAGE)) * 3)
        client.shutdown(socket.SHUT_WR)
        assert read_all(client).count(b"HTTP/1.1 200") == 3


@pytest.mark.parametrize("cut", [10, -1])
def test_half_a_request_and_no_more_to_come_is_the_end(server, cut):
    with dial(server) as client:
        client.sendall(request(body(PAGE))[:cut])
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b""


# --- trailers


@pytest.mark.parametrize(
    "trailers", [b"", b"X-Checksum: abc\r\n", b"A: 1\r\nB:\r\n", b"A: " + b"a" * 5000 + b"\r\n"]
)
def test_trailers_are_read_and_dropped(server, trailers):
    content = chunked(body(PAGE), trailers)
    with dial(server) as client:
        client.sendall(content * 2)
        assert read_answer(client)[0] == 200
        assert read_answer(client)[0] == 200, "the next request begins right behind"


def test_trailers_that_come_in_pieces(server):
    content, end = body(PAGE), b"0\r\nA: 1\r\nB: 2\r\n\r\n"
    with dial(server) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(chunked(content, b"")[:-5])
        for byte in end:
            client.sendall(bytes([byte]))
        assert read_answer(client)[0] == 200


@pytest.mark.parametrize(
    "trailers",
    [
        pytest.param(b"GET /metrics HTTP/1.1\r\n", id="a-request"),
        pytest.param(b"GET /metrics HTTP/1.1\r\nHost: x\r\n", id="a-request-with-a-header"),
        pytest.param(b" folded: 1\r\n", id="folded"),
        pytest.param(b"A\0: 1\r\n", id="zero"),
        pytest.param(b"A: 1\nB: 2\r\n", id="bare-line-feed"),
        pytest.param(b"A: 1\r\n" * 3000, id="endless"),
    ],
)
def test_what_is_no_trailer_is_refused_and_never_read_as_a_request(server, trailers):
    with dial(server) as client:
        client.sendall(chunked(body(PAGE), trailers))
        received = b""
        with contextlib.suppress(ConnectionResetError):
            received = read_all(client)
    assert received.startswith(b"HTTP/1.1 400")
    assert received.count(b"HTTP/1.1") == 1


# --- answers nobody reads


def test_answers_that_cannot_be_sent_are_counted(server):
    before = server.counter("worker_unsent")
    with dial(server) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 3000)
        client.recv(1)  # the answers are many times what the two sockets hold
    wait_for(lambda: server.counter("worker_unsent") == before + 1, what="the answer is counted")
