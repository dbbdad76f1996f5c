"""What a client sees when all is well: envelopes, headers, pictures, health, metrics."""

import base64
import contextlib
import json
import uuid

import cv2
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from server.sizes import slot_classes
from tests.e2e.conftest import request
from tests.fakes import RightAnswers, body, page, png
from tests.harness import exchange, texts_of

pytestmark = pytest.mark.usefixtures("clean")


@pytest.fixture(scope="module")
def right(server):
    return RightAnswers(server.config)


def raw(server, method, path, content=None, headers=None):
    """(status, headers, body bytes)."""
    with contextlib.closing(server.connect()) as connection:
        connection.request(method, path, content, headers or {})
        response = connection.getresponse()
        return response.status, response.headers, response.read()


# --- both generations


def test_v3(server, right):
    image = page(1)
    status, headers, answer = raw(server, "POST", "/ocr", body(image, "my id"))
    assert status == 200
    assert headers["content-type"] == "application/json"
    answer = json.loads(answer)
    assert list(answer) == ["logId", "result", "errorCode", "errorMsg"]
    assert (answer["logId"], answer["errorCode"], answer["errorMsg"]) == ("my id", 0, "Success")
    assert texts_of(answer) == [right.texts(image)]
    assert answer["result"]["dataInfo"] == {"width": 320, "height": 192, "type": "image"}
    assert set(answer["result"]["ocrResults"][0]) == {"prunedResult"}


def test_2024(server):
    content = json.dumps({"image": base64.b64encode(png(page(1))).decode()}).encode()
    status, _, answer = raw(server, "POST", "/ocr", content)
    assert status == 200, answer
    answer = json.loads(answer)
    assert list(answer) == ["logId", "errorCode", "errorMsg", "result"]
    assert set(answer["result"]) == {"texts", "image"}
    assert all(set(text) == {"poly", "text", "score"} for text in answer["result"]["texts"])
    assert cv2.imdecode(np.frombuffer(base64.b64decode(answer["result"]["image"]), np.uint8), 1) is not None


def test_without_a_log_id_it_is_a_new_uuid_each_time(server):
    ids = {server.post(body(page(1)))[1]["logId"] for _ in range(3)}
    assert len({str(uuid.UUID(text)) for text in ids}) == 3


def test_an_empty_log_id_counts_as_absent(server):
    assert uuid.UUID(server.post(request(png(page(1)), logId=""))[1]["logId"])


@pytest.mark.parametrize("visualize", [True, None, ...], ids=["true", "null", "absent"])
def test_pictures_only_when_asked_for(server, visualize):
    """The server's own ``Serving.visualize`` is false here: only an explicit true draws."""
    status, answer = server.post(request(png(page(1)), visualize=visualize))
    assert status == 200
    found = answer["result"]["ocrResults"][0]
    if visualize is not True:
        assert set(found) == {"prunedResult"}
        return
    assert set(found) == {"prunedResult", "ocrImage", "inputImage"}
    given = cv2.imdecode(np.frombuffer(base64.b64decode(found["inputImage"]), np.uint8), 1)
    assert np.abs(given.astype(int) - page(1).astype(int)).mean() < 12  # the input again, as a JPEG
    drawn = cv2.imdecode(np.frombuffer(base64.b64decode(found["ocrImage"]), np.uint8), 1)
    assert drawn.shape == (192, 640, 3)


def test_exif_rotation_alpha_grey_and_16_bit_come_out_as_the_pipeline_needs_them(server, right):
    image = page(4)
    turned = cv2.imencode(".png", np.rot90(image, 1))[1].tobytes()  # rotated 90 degrees clockwise by its tag
    exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    turned = _with_chunk(turned, b"eXIf", exif)
    alpha = cv2.imencode(".png", np.dstack([image, np.full(image.shape[:2], 9, np.uint8)]))[1].tobytes()
    deep = cv2.imencode(".png", image.astype(np.uint16) * 257)[1].tobytes()
    for data in (turned, alpha, deep):
        status, answer = server.post(request(data))
        assert status == 200, answer
        assert texts_of(answer) == [right.texts(image)]
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    status, answer = server.post(request(cv2.imencode(".png", grey)[1].tobytes()))
    assert texts_of(answer) == [right.texts(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))]


def _with_chunk(data, name, content):
    import struct
    import zlib

    chunk = struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    return data[:33] + chunk + data[33:]


# --- leniency of PaddleX


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/json; charset=utf-8"},
        {"Content-Type": "!"},
    ],
    ids=["none", "text", "charset", "nonsense"],
)
def test_any_content_type_is_read_as_json(server, headers):
    assert raw(server, "POST", "/ocr", body(page(1)), headers)[0] == 200


def test_types_are_lax_and_unknown_fields_ignored(server, right):
    content = request(png(page(2)), fileType=1.0, visualize="false", textDetThresh="0.3", whatever=[{"a": 1}])
    status, answer = server.post(content)
    assert (status, texts_of(answer)) == (200, [right.texts(page(2))])


def test_base64_with_line_breaks(server, right):
    text = base64.encodebytes(png(page(2))).decode()
    status, answer = server.post(json.dumps({"file": text, "fileType": 1}).encode())
    assert (status, texts_of(answer)) == (200, [right.texts(page(2))])


def test_a_body_in_chunks(server, right):
    content = body(page(3))
    with contextlib.closing(server.connect()) as connection:
        pieces = (content[i : i + 1000] for i in range(0, len(content), 1000))
        connection.request("POST", "/ocr", pieces, {"Transfer-Encoding": "chunked"}, encode_chunked=True)
        answer = json.loads(connection.getresponse().read())
    assert texts_of(answer) == [right.texts(page(3))]


def test_a_large_body_is_parsed_off_the_loop(server, right):
    content = request(png(page(3)) + bytes(3 << 20))
    status, answer = server.post(content)
    assert (status, texts_of(answer)) == (200, [right.texts(page(3))])


def test_a_connection_is_kept(server):
    with contextlib.closing(server.connect()) as connection:
        for seed in range(3):
            assert exchange(connection, body(page(seed)))[0] == 200
            assert exchange(connection, b"{")[0] == 422
            port = connection.sock.getsockname()[1]
            assert port == connection.sock.getsockname()[1]


# --- headers


def test_server_timing_names_the_steps(server):
    timing = raw(server, "POST", "/ocr", body(page(1)))[1]["Server-Timing"]
    found = {part.split(";dur=")[0]: float(part.split(";dur=")[1]) for part in timing.split(", ")}
    assert {"recv", "decode", "queue", "det", "rec", "encode"} <= set(found)
    assert all(0 <= value < 10_000 for value in found.values())
    assert found["det"] >= 2.5  # the fake detector takes 5 ms on one thread, half of it on two


def test_request_id(server):
    given = {"X-Request-Id": "from-a-proxy/17"}
    assert raw(server, "POST", "/ocr", body(page(1)), given)[1]["X-Request-Id"] == "from-a-proxy/17"
    assert raw(server, "POST", "/ocr", b"{}", given)[1]["X-Request-Id"] == "from-a-proxy/17"
    assert raw(server, "POST", "/ocr", body(page(1), "my-log-id"))[1]["X-Request-Id"] == "my-log-id"
    unfit = raw(server, "POST", "/ocr", body(page(1), "two\r\nlines: x"))[1]
    assert len(unfit["X-Request-Id"]) == 16
    assert "lines" not in unfit


def test_nothing_tells_what_serves_it(server):
    _, headers, _ = raw(server, "POST", "/ocr", body(page(1)))
    assert {name.lower() for name in headers} == {
        "server-timing",
        "x-request-id",
        "content-length",
        "connection",
        "content-type",
    }


# --- health and metrics


@pytest.mark.parametrize(
    ("path", "text"), [("/health", "Healthy"), ("/health/live", "Alive"), ("/health/ready", "Ready")]
)
def test_health(server, path, text):
    status, headers, content = raw(server, "GET", path)
    assert (status, headers["content-type"]) == (200, "application/json")
    answer = json.loads(content)
    assert list(answer) == ["logId", "errorCode", "errorMsg"]
    assert (answer["errorCode"], answer["errorMsg"]) == (0, text)
    assert uuid.UUID(answer["logId"])


def metrics(server):
    status, headers, content = raw(server, "GET", "/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(content.decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}


def test_metrics_count_requests(server):
    before = metrics(server)
    assert server.post(body(page(1)))[0] == 200
    assert server.post(b"{}")[0] == 422
    after = metrics(server)

    def grew(name, **labels):
        key = name, tuple(sorted(labels.items()))
        return after[key] - before[key]

    assert grew("pps_requests_total", path="/ocr", code="200") == 1
    assert grew("pps_requests_total", path="/ocr", code="422") == 1
    assert grew("pps_request_seconds_count", path="/ocr") == 2
    assert grew("pps_worker_pages_total") == 1
    assert grew("pps_device_items_total") == 1
    assert grew("pps_stage_calls_total", stage="det") == 1
    assert after["pps_slots", (("state", "free"),)] == 2 * sum(
        count for _, count in slot_classes(server.config.limits)
    )
    assert after["pps_processes_ready", (("role", "device"),)] == 2
