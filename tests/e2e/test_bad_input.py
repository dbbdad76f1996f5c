"""Any bytes may be sent to the port: each gets the envelope with the right code, at once, and costs nothing.

A module-wide check at the end: same processes, all slots free, memory as before, and a good request is
answered.
"""

import contextlib
import io
import json
import select
import socket
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import psutil
import pytest
from PIL import Image

from tests.conditions import wait_for
from tests.e2e.conftest import request
from tests.fakes import RightAnswers, body, page, png
from tests.harness import exchange, texts_of

pytestmark = pytest.mark.usefixtures("clean")

#: Generous for a loaded machine; what is refused late takes seconds (decoding) or half a minute (timeouts).
AT_ONCE_S = 1.0


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def one_colour_png(width, height):
    """A valid PNG of one colour, one bit per pixel: a few KB for hundreds of megapixels."""
    row = bytes(1 + -(-width // 8))
    packer = zlib.compressobj(9)
    content = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def jpeg(image):
    return cv2.imencode(".jpg", image)[1].tobytes()


def many_frames(count):
    file = io.BytesIO()
    frames = [Image.new("L", (8, 8), i % 255) for i in range(count)]
    frames[0].save(file, "TIFF", save_all=True, append_images=frames[1:])
    return file.getvalue()


PAGE = page(1)
LARGE = cv2.resize(PAGE, (1600, 1200))

BAD = {
    # JSON
    "empty": (b"", 422, "Field required"),
    "not-json": (b"file=abc&fileType=1", 422, "json_invalid"),
    "cut-json": (body(PAGE)[:-20], 422, "json_invalid"),
    "binary": (bytes(range(256)) * 50, 422, "json_invalid"),
    "array": (b"[1,2,3]", 422, "valid dictionary"),
    "number": (b"17", 422, "valid dictionary"),
    "no-file": (b"{}", 422, "body.file"),
    "file-is-a-number": (b'{"file":12,"fileType":1}', 422, "valid string"),
    "file-is-null": (b'{"file":null,"fileType":1}', 422, "valid string"),
    "file-is-an-object": (b'{"file":{"a":1},"fileType":1}', 422, "valid string"),
    "wrong-types": (request(png(PAGE), textDetThresh="high"), 422, "body.textDetThresh"),
    "file-type-7": (request(png(PAGE), fileType=7), 422, "Input should be 0 or 1"),
    "deep": (b'{"file":' + b"[" * 100_000, 422, "nested deeper"),
    "deep-unknown": (b'{"x":' + b'{"x":' * 100 + b"1" + b"}" * 101, 422, "nested deeper"),
    "not-utf8": (b'{"file":"\xff\xfe","fileType":1}', 422, "json_invalid"),
    "huge-number": (request(png(PAGE), textDetLimitSideLen=10**30), 422, "textDetLimitSideLen"),
    "2024-list": (b'{"inferenceParams":{"maxLongSide":"x"}}', 422, '"loc": ["body", "image"]'),
    "long-log-id": (request(png(PAGE), logId="x" * 1025), 422, "at most 1024 characters"),
    "very-long-log-id": (request(png(PAGE), logId="x" * 1_000_000), 422, "at most 1024 characters"),
    # base64
    "bad-base64": (b'{"file":"abcde","fileType":1}', 422, "Invalid input file"),
    "data-uri": (b'{"file":"data:image/png;base64,QUJD","fileType":1}', 422, "Invalid input file"),
    "zero-bytes": (request(b""), 422, "Invalid input file"),
    "url": (b'{"file":"http://127.0.0.1:1/x.png"}', 422, "URL inputs are not allowed"),
    "file-url": (b'{"file":"file:///etc/passwd","fileType":1}', 422, "Invalid input file"),
    # images
    "no-file-type": (request(png(PAGE), fileType=...), 422, "File type cannot be determined"),
    "text": (request(b"this is no image, this is text"), 422, "Invalid input file"),
    "one-byte": (request(b"\xff"), 422, "Invalid input file"),
    "half-a-jpeg": (request(jpeg(LARGE)[:20_000]), 422, "truncated"),
    "half-a-png": (request(png(LARGE)[:2000]), 422, "Invalid input file"),
    "jpeg-header-only": (request(jpeg(PAGE)[:300]), 422, "Invalid input file"),
    "gif-cut": (request(b"GIF89a\x10\0\x10\0\0\0\0"), 422, "Invalid input file"),
    "20000x20000": (request(one_colour_png(20_000, 20_000)), 422, "exceeds maximum allowed 67108864"),
    "lying-png": (
        request(png(PAGE).replace(struct.pack(">I", 320), struct.pack(">I", 3000), 1)),
        422,
        "Invalid",
    ),
    "65535-jpeg": (
        request(jpeg(PAGE).replace(struct.pack(">HH", 192, 320), b"\xff\xff\xff\xff", 1)),
        422,
        "exceeds maximum allowed",
    ),
    "png-of-no-size": (request(png(PAGE).replace(struct.pack(">I", 320), bytes(4), 1)), 422, "Invalid"),
    # documents
    "pdf-that-is-a-png": (request(png(PAGE), fileType=0), 422, "not a PDF"),
    "broken-pdf": (request(b"%PDF-1.4\n garbage", fileType=0), 422, "Invalid input file"),
    "pdf-as-image": (request(b"%PDF-1.4\n garbage", fileType=1), 422, "Invalid input file"),
    "broken-tiff-frames": (request(many_frames(3)[:-500]), 422, "Invalid input file"),
    # what the pipeline cannot do
    "unwarping": (
        request(png(PAGE), useDocUnwarping=True),
        500,
        "the input params for model settings are invalid!",
    ),
    "limit-type": (request(png(PAGE), textDetLimitType="median"), 422, "LimitType"),
}


@pytest.fixture(scope="module", autouse=True)
def the_server_stays_as_it_was(server):
    """Around all tests here: the same processes, and no more memory than the work in hand explains."""
    right, image = RightAnswers(server.config), page(7)
    for _ in range(20):  # what a first request loads and allocates is no leak
        assert server.post(body(image))[0] == 200
    pids = server.pids("worker") + server.pids("device")
    before = sum(psutil.Process(pid).memory_info().rss for pid in pids)
    yield
    status, answer = server.post(body(image))
    assert (status, texts_of(answer)) == (200, [right.texts(image)])
    assert server.pids("worker") + server.pids("device") == pids
    grown = sum(psutil.Process(pid).memory_info().rss for pid in pids) - before
    assert grown < 150 << 20, f"{grown >> 20} MiB more than before"


def check_envelope(answer, status, text):
    assert list(answer) == ["logId", "errorCode", "errorMsg"], answer
    assert answer["errorCode"] == status, answer
    assert text in answer["errorMsg"], answer
    assert "/work" not in answer["errorMsg"]
    assert "Traceback" not in answer["errorMsg"]


@pytest.mark.parametrize("name", BAD)
def test_bad_input(server, name):
    content, wanted, text = BAD[name]
    started = time.perf_counter()
    status, answer = server.post(content)
    took = time.perf_counter() - started
    assert status == wanted, answer
    check_envelope(answer, wanted, text)
    if name not in {"broken-pdf", "broken-tiff-frames"}:  # those start a render child
        assert took < AT_ONCE_S


def test_an_error_repeats_the_log_id(server):
    status, answer = server.post(b'{"logId":"mine","fileType":5}')
    assert (status, answer["logId"]) == (422, "mine")


def test_many_large_one_colour_images_at_once_are_refused_without_decoding(server):
    content = request(one_colour_png(20_000, 20_000))
    worker = psutil.Process(server.pids("worker")[0])
    before, cpu = worker.memory_info().rss, worker.cpu_times().user
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(contextlib.closing(server.connect())) for _ in range(4)]
        for client in clients:
            client.request("POST", "/ocr", content)
        assert [client.getresponse().status for client in clients] == [422] * 4
    assert worker.memory_info().rss - before < 32 << 20
    assert worker.cpu_times().user - cpu < 0.5


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("POST", "/nope", 404, "Not Found"),
        ("GET", "/playground/0/app.js", 404, "Not Found"),
        ("POST", "/", 405, "Method Not Allowed"),
        ("POST", "/ocr/../ocr", 404, "Not Found"),
        ("GET", "/%2e%2e/etc/passwd", 404, "Not Found"),
        ("GET", "/ocr", 405, "Method Not Allowed"),
        ("DELETE", "/ocr", 405, "Method Not Allowed"),
        ("POST", "/health", 405, "Method Not Allowed"),
        ("PUT", "/metrics", 405, "Method Not Allowed"),
    ],
)
def test_unknown_route_and_wrong_method(server, method, path, status, text):
    with contextlib.closing(server.connect()) as connection:
        connection.request(method, path, body(PAGE) if method == "POST" else None)
        response = connection.getresponse()
        answer = json.loads(response.read())
        assert response.status == status
        check_envelope(answer, status, text)
        assert exchange(connection, body(PAGE))[0] == 200  # the connection is still good


# --- below HTTP

#: What two servers in a row may read differently (RFC 9112, section 11.2), and chunks that are none.
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
SMUGGLING = {
    "chunked-twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "chunked-and-length": b"Transfer-Encoding: chunked\r\nContent-Length: 3",
    "equal-lengths": b"Content-Length: 3\r\nContent-Length: 3",
    "length-list": b"Content-Length: 3, 3",
    "length-hex": b"Content-Length: 0x3",
    "length-plus": b"Content-Length: +3",
    "length-underscore": b"Content-Length: 1_0",
    "length-arabic": "Content-Length: \u0663".encode(),
    "length-empty": b"Content-Length:",
    "length-after-vertical-tab": b"Content-Length:\x0b3",
    "chunked-after-form-feed": b"Transfer-Encoding: \x0cchunked",
    "chunked-after-no-break-space": "Transfer-Encoding: \u00a0chunked".encode(),
    "length-huge": b"Content-Length: " + b"9" * 40,
    "space-before-colon": b"Content-Length : 3",
    "tab-before-colon": b"Transfer-Encoding\t: chunked",
    "folded-line": b"X: a\r\n Content-Length: 3",
    "folded-encoding": b"Transfer-Encoding:\r\n chunked",
    "bare-line-feed": b"X: a\nContent-Length: 3",
    "bare-return": b"X: a\rContent-Length: 3",
    "zero": b"X: a\0b",
    "no-colon": b"Content-Length",
    "empty-name": b": 3",
    "name-in-quotes": b'"Content-Length": 3',
    "two-hosts": b"Host: y",
    "gzip-chunked": b"Transfer-Encoding: gzip, chunked",
    "identity": b"Transfer-Encoding: identity",
    "xchunked": b"Transfer-Encoding: xchunked",
    "chunk-hex-prefix": CHUNKED + b"0x3\r\nabc\r\n0",
    "chunk-plus": CHUNKED + b"+3\r\nabc\r\n0",
    "chunk-space": CHUNKED + b" 3\r\nabc\r\n0",
    "chunk-underscore": CHUNKED + b"0_3\r\nabc\r\n0",
    "chunk-minus": CHUNKED + b"-1\r\nabc\r\n0",
    "chunk-huge": CHUNKED + b"f" * 17 + b"\r\nabc\r\n0",
    "chunk-end-missing": CHUNKED + b"3\r\nabcXX0",
    "chunk-line-feed": CHUNKED + b"3\nabc\r\n0",
    "chunk-extension-line-feed": CHUNKED + b"3;\nxx\r\nabc\r\n0",
    "chunk-extension-endless": CHUNKED + b"3;" + b"x" * 300 + b"\r\nabc\r\n0",
}


def dial(server):
    return socket.create_connection(("127.0.0.1", server.port), timeout=15)


def answer_of(client):
    """(status, envelope) of what comes back until the connection is closed."""
    content = b""
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(65536):
            content += data
    head, _, rest = content.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(rest)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        pytest.param(
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n", 400, id="tls"
        ),
        pytest.param(b"HELLO\r\n\r\n", 400, id="hello"),
        pytest.param(b"POST /ocr HTTP/1.1\r\nContent-Length: -5\r\n\r\n", 400, id="negative-length"),
        pytest.param(
            b"POST /ocr HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400, id="two-lengths"
        ),
        pytest.param(
            b"POST /ocr HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            id="smuggling",
        ),
        pytest.param(
            b"POST /ocr HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n", 400, id="bad-chunk"
        ),
        pytest.param(
            b"POST /ocr HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2;a\rb\r\n{}\r\n0\r\n\r\n",
            400,
            id="line-feed-less-return-in-a-chunk-header",
        ),
        pytest.param(
            b"POST /ocr HTTP/1.1\r\nExpect: miracles\r\nContent-Length: 1\r\n\r\n", 417, id="expect"
        ),
        *(
            pytest.param(b"POST /ocr HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n\r\n", 400, id=name)
            for name, lines in SMUGGLING.items()
        ),
        pytest.param(b"GET /" + b"a" * 20_000, 413, id="endless-url"),
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000, 413, id="endless-header"),
    ],
)
def test_what_is_not_http_gets_an_envelope_and_the_door(server, content, status):
    with contextlib.closing(dial(server)) as client:
        client.sendall(content)
        found, answer = answer_of(client)
    assert found == status, answer
    check_envelope(answer, status, "")


BAD_LINES = [
    b"POST /ocr", b"POST  /ocr HTTP/1.1", b"POST /ocr HTTP/1.2", b"POST /ocr HTTP/2.0",
    b"PO ST /ocr HTTP/1.1", b"POST /o cr HTTP/1.1", b" POST /ocr HTTP/1.1", b"P(ST /ocr HTTP/1.1",
    b"POST /ocr HTTP/1.1 ",    b"POST /\xc3\xa9 HTTP/1.1",
]  # fmt: skip


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_bad_request_line(server, line):
    with contextlib.closing(dial(server)) as client:
        client.sendall(line + b"\r\nHost: x\r\n\r\n")
        found, answer = answer_of(client)
    check_envelope(answer, 400, "Bad Request")
    assert found == 400


def test_only_head_in_capitals_has_an_answer_without_a_body(server):
    """Methods are case-sensitive: a proxy would take the next answer for the missing body."""
    with contextlib.closing(dial(server)) as client:
        client.sendall(b"hEaD /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        found, answer = answer_of(client)
    check_envelope(answer, 405, "Method Not Allowed")
    assert found == 405


def test_chunked_is_not_of_http_1_0(server):
    with contextlib.closing(dial(server)) as client:
        client.sendall(b"POST /ocr HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        assert answer_of(client)[0] == 400


@pytest.mark.parametrize("name", SMUGGLING)
def test_what_is_smuggled_behind_is_never_answered(server, name):
    """One answer, then the end: nothing that follows a doubtful request is read as another."""
    hidden = b"\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    with contextlib.closing(dial(server)) as client:
        client.sendall(b"POST /ocr HTTP/1.1\r\nHost: x\r\n" + SMUGGLING[name] + hidden)
        content = b""
        with contextlib.suppress(ConnectionResetError):
            while data := client.recv(65536):
                content += data
    assert content.count(b"HTTP/1.1") == 1
    assert b"pps_" not in content


def test_pipelined_requests_are_answered_in_order(server):
    """Good, bad and good again on one connection; each answer is that of its own request."""
    contents = [body(PAGE, "first"), b'{"logId":"second","fileType":5}', body(PAGE, "third")]
    with contextlib.closing(dial(server)) as client:
        client.sendall(
            b"".join(
                b"POST /ocr HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(each), each)
                for each in contents
            )
        )
        client.shutdown(socket.SHUT_WR)
        content = b""
        while data := client.recv(65536):
            content += data
    answers = content.split(b"HTTP/1.1 ")[1:]
    found = [(int(each[:3]), json.loads(each.partition(b"\r\n\r\n")[2])["logId"]) for each in answers]
    assert found == [(200, "first"), (422, "second"), (200, "third")]


def test_a_body_too_large_by_its_length_is_refused_before_it_is_sent(server):
    with contextlib.closing(dial(server)) as client:
        client.sendall(b"POST /ocr HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n")
        started = time.perf_counter()
        assert client.recv(12) == b"HTTP/1.1 413"
        assert time.perf_counter() - started < AT_ONCE_S


def test_a_client_that_sends_a_body_too_large_sees_the_answer(server):
    """It sends all of it before it reads: the connection must not be reset under it."""
    with contextlib.closing(dial(server)) as client:
        client.sendall(b"POST /ocr HTTP/1.1\r\nHost: x\r\nContent-Length: 30000000\r\n\r\n")
        client.sendall(bytes(30_000_000))
        status, answer = answer_of(client)
    assert status == 413
    check_envelope(answer, 413, "larger than 8388608 bytes")


def test_a_body_that_grows_too_large_in_chunks_is_refused_while_it_streams(server):
    piece = b"100000\r\n" + b"a" * 0x100000 + b"\r\n"
    with contextlib.closing(dial(server)) as client:
        client.sendall(b"POST /ocr HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(12):
                client.sendall(piece)
            client.sendall(b"0\r\n\r\n")
        status, answer = answer_of(client)
    assert status == 413
    check_envelope(answer, 413, "larger than 8388608 bytes")


def test_a_body_of_tiny_chunks_does_not_hold_up_others(server):
    """200,000 of them fit what is received at once: more than a second of the event loop."""
    waits = []
    with contextlib.closing(dial(server)) as client, contextlib.closing(server.connect()) as other:
        client.sendall(b"POST /ocr HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        sender = threading.Thread(target=client.sendall, args=(b"1\r\n \r\n" * 300_000 + b"0\r\n\r\n",))
        sender.start()
        while not waits or not select.select([client], [], [], 0)[0]:
            started = time.perf_counter()
            other.request("GET", "/health/live")
            assert json.loads(other.getresponse().read())["errorCode"] == 0
            waits.append(time.perf_counter() - started)
        sender.join()
        # A machine that is busy needs longer for them than a body may take.
        assert client.recv(12) in (b"HTTP/1.1 422", b"HTTP/1.1 408")
    assert max(waits) < 0.4


def fall_silent(server, content):
    """The answer to a client that sends no more than this, after how many seconds."""
    with contextlib.closing(dial(server)) as client:
        client.sendall(content)
        started = time.perf_counter()
        return answer_of(client), time.perf_counter() - started


def drip(server, head):
    """The same for a client that goes on sending bytes, one every tenth of a second."""
    with contextlib.closing(dial(server)) as client:
        client.sendall(head)
        started, received = time.perf_counter(), b""
        while not select.select([client], [], [], 0.1)[0] and time.perf_counter() - started < 10:
            client.sendall(b"P")
        client.settimeout(1)
        with contextlib.suppress(TimeoutError):
            received = client.recv(12)
        return received, time.perf_counter() - started


def test_clients_that_fall_silent_or_drip_are_sent_away(server):
    """All at once: each is let go when its own time is up. The limit is 2 s here."""
    head = b"POST /ocr HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    with ThreadPoolExecutor(4) as pool:
        silent = [pool.submit(fall_silent, server, content) for content in (head[:20], head + b"{")]
        dripping = [pool.submit(drip, server, content) for content in (b"", head)]
    for (status, answer), took in (each.result() for each in silent):
        assert status == 408
        check_envelope(answer, 408, "not received in time")
        assert 1.0 < took < 8.0
    for received, took in (each.result() for each in dripping):
        assert received == b"HTTP/1.1 408"
        assert took < 8.0


def test_clients_that_hang_up_in_the_middle_leave_nothing(server):
    content = body(PAGE)
    head = b"POST /ocr HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(content)
    for cut in (0, 10, len(head), len(head) + 1, len(head) + len(content) // 2, len(head) + len(content)):
        with contextlib.closing(dial(server)) as client:
            client.sendall((head + content)[:cut])
    wait_for(lambda: server.post(content)[0] == 200)


def test_random_bytes_in_a_good_frame(server):
    """Requests whose files are damaged at random places: answered, never with another's result."""
    random = np.random.default_rng(5)
    small = cv2.resize(PAGE, (640, 480))
    originals = [jpeg(small), png(PAGE)] * 8 + [many_frames(3)]
    with contextlib.closing(server.connect()) as connection:
        for number in range(51):
            data = bytearray(originals[number % len(originals)])
            for place in random.integers(0, len(data), 1 + number % 20):
                data[place] = random.integers(0, 256)
            status, answer = exchange(connection, request(bytes(data), logId=f"n{number}"))
            assert status in {200, 422, 500}, answer
            assert answer["logId"] == f"n{number}"
            if status == 500:
                assert answer["errorMsg"].startswith(("Internal", "Inference"))
