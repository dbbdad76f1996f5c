"""Files as they are and in forms, over HTTP: the same answers as JSON, the same bounds, the same envelope."""

import base64
import contextlib
import json
import socket
import time

import httpx
import pytest

from tests.e2e.conftest import request
from tests.e2e.test_bad_input import AT_ONCE_S, check_envelope, jpeg, one_colour_png
from tests.fakes import RightAnswers, page, png
from tests.harness import texts_of

pytestmark = pytest.mark.usefixtures("clean")

PAGE = page(1)
FORM = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n%b\r\n--b--\r\n'
FORM_TYPE = "multipart/form-data; boundary=b"


@pytest.fixture(scope="module")
def right(server):
    return RightAnswers(server.config)


@pytest.fixture(scope="module")
def client(server):
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=30, trust_env=False) as made:
        yield made


def raw(client, content, media="image/png", **parameters):
    return client.post("/ocr", content=content, headers={"Content-Type": media}, params=parameters)


# --- what is good


def test_a_raw_image(client, right):
    answer = raw(client, png(PAGE), logId="mine", visualize="false").json()
    assert list(answer) == ["logId", "result", "errorCode", "errorMsg"]
    assert (answer["logId"], texts_of(answer)) == ("mine", [right.texts(PAGE)])


def test_parameters_are_those_of_json(server, client):
    fields = {"textDetThresh": 0.4, "textRecScoreThresh": 0.1, "visualize": True}
    _, of_json = server.post(request(png(PAGE), **fields))
    of_query = raw(client, png(PAGE), **fields).json()
    of_form = client.post("/ocr", data=fields, files={"file": ("a.png", png(PAGE))}).json()
    assert of_query["result"] == of_form["result"] == of_json["result"]
    assert of_json["result"]["ocrResults"][0]["prunedResult"]["text_det_params"]["thresh"] == 0.4
    assert "ocrImage" in of_json["result"]["ocrResults"][0]


def test_a_form_as_python_clients_send_it(client, right):
    answer = client.post("/ocr", files={"file": ("page.png", png(PAGE), "image/png")}, data={"logId": "é"})
    assert (answer.json()["logId"], texts_of(answer.json())) == ("é", [right.texts(PAGE)])


def test_the_2024_generation(client):
    in_form = client.post("/ocr", files={"image": png(PAGE)}).json()
    in_query = raw(client, png(PAGE), inferenceParams="{}").json()
    assert list(in_form) == list(in_query) == ["logId", "errorCode", "errorMsg", "result"]
    assert in_form["result"] == in_query["result"]
    assert set(in_form["result"]) == {"texts", "image"}


def test_a_large_form_in_many_chunks(client, right):
    content = png(PAGE) + bytes(3 << 20)

    def pieces():
        whole = FORM % content
        for start in range(0, len(whole), 70_001):
            yield whole[start : start + 70_001]

    answer = client.post("/ocr", content=pieces(), headers={"Content-Type": FORM_TYPE}).json()
    assert texts_of(answer) == [right.texts(PAGE)]


def test_a_file_costs_its_own_bytes_only(server, client):
    before = server.counter("worker_received_bytes")
    raw(client, png(PAGE))
    assert server.counter("worker_received_bytes") - before == len(png(PAGE))


# --- what is not

BAD = {
    "not-an-image": (b"this is no image", "image/png", "", 422, "Invalid input file"),
    "empty": (b"", "image/png", "", 422, "is empty"),
    "half-a-jpeg": (jpeg(PAGE)[:2000], "image/jpeg", "", 422, "truncated"),
    "pdf-that-is-none": (png(PAGE), "application/pdf", "", 422, "not a PDF"),
    "csv": (b"a,b\n", "text/csv", "", 422, "image/* or application/pdf"),
    "20000x20000": (one_colour_png(20_000, 20_000), "image/png", "", 422, "exceeds maximum allowed"),
    "wrong-parameter": (png(PAGE), "image/png", "textDetThresh=high", 422, "body.textDetThresh"),
    "file-as-parameter": (png(PAGE), "image/png", "file=QUJD", 422, "given twice"),
    "cannot-do": (png(PAGE), "image/png", "useDocUnwarping=true", 500, "model settings are invalid"),
    "form-without-boundary": (FORM % b"", "multipart/form-data", "", 422, "needs a boundary"),
    "form-that-is-json": (request(png(PAGE)), FORM_TYPE, "", 422, "last boundary is missing"),
    "form-cut": ((FORM % png(PAGE))[:-8], FORM_TYPE, "", 422, "last boundary is missing"),
    "form-empty": (b"", FORM_TYPE, "", 422, "last boundary is missing"),
    "form-no-image": (FORM % b"this is no image", FORM_TYPE, "", 422, "Invalid input file"),
    "form-20000x20000": (FORM % one_colour_png(20_000, 20_000), FORM_TYPE, "", 422, "exceeds maximum"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_and_forms(client, name):
    content, media, query, status, words = BAD[name]
    started = time.perf_counter()
    answer = client.post(f"/ocr?{query}", content=content, headers={"Content-Type": media})
    assert time.perf_counter() - started < AT_ONCE_S
    assert answer.status_code == status, answer.text
    check_envelope(answer.json(), status, words)


@pytest.mark.parametrize("media", ["image/png", FORM_TYPE])
def test_a_body_too_large_is_refused_while_it_streams(server, media):
    """It has no length: what it is shows only on the way."""
    head = f"POST /ocr HTTP/1.1\r\nHost: x\r\nContent-Type: {media}\r\nTransfer-Encoding: chunked\r\n\r\n"
    start, _, _ = FORM.partition(b"%b")
    with socket.create_connection(("127.0.0.1", server.port), timeout=15) as sender:
        sender.sendall(head.encode() + b"%x\r\n%b\r\n" % (len(start), start))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(12):
                sender.sendall(b"100000\r\n" + bytes(1 << 20) + b"\r\n")
        assert sender.recv(12) == b"HTTP/1.1 413"


def test_a_form_that_drips_is_sent_away(server):
    head = f"POST /ocr HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM_TYPE}\r\nContent-Length: 9999\r\n\r\n--b"
    with socket.create_connection(("127.0.0.1", server.port), timeout=15) as sender:
        sender.sendall(head.encode())
        assert sender.recv(12) == b"HTTP/1.1 408"


def test_after_a_bad_form_the_connection_is_good(server, right):
    with contextlib.closing(server.connect()) as connection:
        for content, wanted in ((b"no form", 422), (FORM % png(PAGE), 200)):
            connection.request("POST", "/ocr", content, {"Content-Type": FORM_TYPE})
            response = connection.getresponse()
            answer = json.loads(response.read())
            assert response.status == wanted, answer
    assert texts_of(answer) == [right.texts(PAGE)]


def test_json_stays_json_whatever_its_type_is_called(server, right):
    content = json.dumps({"file": base64.b64encode(png(PAGE)).decode(), "fileType": 1}).encode()
    for media in ("text/plain", "application/x-www-form-urlencoded", "application/octet-stream"):
        status, answer = server.post(content, headers={"Content-Type": media})
        assert (status, texts_of(answer)) == (200, [right.texts(PAGE)])
