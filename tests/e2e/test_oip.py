"""The Open Inference Protocol with the client that its users have (``tritonclient``), and by hand."""

import base64
import contextlib
import json
import socket
import time
import warnings

import numpy as np
import pytest

from tests.e2e.conftest import request
from tests.e2e.test_bad_input import AT_ONCE_S, one_colour_png
from tests.e2e.test_http_operations import raw
from tests.fakes import RightAnswers, page, png

with warnings.catch_warnings():  # those of its own dependencies are no concern of ours
    warnings.simplefilter("ignore")
    import tritonclient.http as triton
    from tritonclient.utils import InferenceServerException

pytestmark = pytest.mark.usefixtures("clean")

PAGE = page(1)


@pytest.fixture(scope="module")
def client(server):
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}", network_timeout=30) as made:
        yield made


@pytest.fixture(scope="module")
def texts(server):
    return RightAnswers(server.config).texts(PAGE)


def image(data=None, name="file", binary=True):
    """A tensor with a file; without the binary extension it is base64."""
    data = png(PAGE) if data is None else data
    made = triton.InferInput(name, [1], "BYTES")
    content = data if binary else base64.b64encode(data)
    made.set_data_from_numpy(np.array([content], np.object_), binary_data=binary)
    return made


def result_of(answer):
    (content,) = answer.as_numpy("result").tolist()
    return json.loads(content)


# --- with the client


def test_health_and_metadata(server, client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("ocr")
    assert not client.is_model_ready("nothing")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    assert client.get_model_metadata("ocr") == client.get_model_metadata("ocr", "1")
    (given,) = client.get_model_metadata("ocr")["inputs"]
    assert given == {"name": "file", "datatype": "BYTES", "shape": [1]}


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
def test_infer(client, texts, binary_in, binary_out):
    outputs = None if binary_out is None else [triton.InferRequestedOutput("result", binary_out)]
    answer = client.infer("ocr", [image(binary=binary_in)], outputs=outputs, request_id="mine")
    assert result_of(answer)["ocrResults"][0]["prunedResult"]["rec_texts"] == texts
    about = answer.get_response()
    assert (about["model_name"], about["model_version"], about["id"]) == ("ocr", "1", "mine")


def test_the_result_is_that_of_the_route(server, client):
    fields = {"textDetThresh": 0.4, "visualize": True}
    _, wanted = server.post(request(png(PAGE), **fields))
    answer = client.infer("ocr", [image()], parameters=fields, model_version="1")
    assert result_of(answer) == wanted["result"]


def test_the_2024_generation(client):
    found = result_of(client.infer("ocr", [image(name="image")]))
    assert set(found) == {"texts", "image"}


def test_requests_at_once(client, texts):
    waiting = [client.async_infer("ocr", [image()], request_id=str(number)) for number in range(4)]
    for number, each in enumerate(waiting):
        answer = each.get_result()
        assert answer.get_response()["id"] == str(number)
        assert result_of(answer)["ocrResults"][0]["prunedResult"]["rec_texts"] == texts


FAULTS = {
    "no-image": (lambda: [image(b"no image")], {}, "422", "Invalid input file"),
    "empty": (lambda: [image(b"")], {}, "422", "is empty"),
    "pixels": (lambda: [image(one_colour_png(20_000, 20_000))], {}, "422", "exceeds maximum"),
    "other-name": (lambda: [image(name="x")], {}, "422", "body.file"),
    "two-tensors": (lambda: [image(), image()], {}, "422", "length 1"),
    "parameter": (lambda: [image()], {"parameters": {"visualize": "x"}}, "422", "body.visualize"),
    "version": (lambda: [image()], {"model_version": "2"}, "404", "no such model"),
    "gzip": (lambda: [image()], {"request_compression_algorithm": "gzip"}, "422", "Compressed"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_those_of_the_protocol(client, name):
    tensors, options, status, words = FAULTS[name]
    with pytest.raises(InferenceServerException, match=words) as refused:
        client.infer("ocr", tensors(), **options)
    assert refused.value.status() == status


def test_after_faults_it_still_answers(client):
    with pytest.raises(InferenceServerException, match="no such model"):
        client.infer("nothing", [image()])
    assert "ocrResults" in result_of(client.infer("ocr", [image()]))


# --- by hand


def test_it_is_counted_as_its_route(server):
    before = server.counter("worker_pages")
    content = {"inputs": [{"name": "file", "datatype": "BYTES", "shape": [1],
                           "data": [base64.b64encode(png(PAGE)).decode()]}]}  # fmt: skip
    status, headers, answer = raw(server, "POST", "/v2/models/ocr/infer", json.dumps(content).encode())
    assert (status, headers["content-type"]) == (200, "application/json")
    assert "Server-Timing" in headers
    assert json.loads(answer)["outputs"][0]["name"] == "result"
    assert server.counter("worker_pages") == before + 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2", 200),
        ("GET", "/v2/models/nothing", 404),
        ("GET", "/v2/models/ocr/versions/2/ready", 404),
        ("GET", "/v2/models/ocr/infer", 405),
        ("POST", "/v2/models/ocr/infer", 422),
        ("POST", "/v2/models/nothing/infer", 404),
        ("POST", "/v2/models/..%2focr/infer", 404),
    ],
)
def test_routes(server, method, path, status):
    started = time.perf_counter()
    found, _, content = raw(server, method, path)
    assert time.perf_counter() - started < AT_ONCE_S
    assert found == status, content
    assert "/work" not in content.decode()


def test_a_tensor_larger_than_a_body_may_be_is_refused_while_it_streams(server):
    """By what its JSON claims it is small."""
    head = json.dumps({"inputs": [{"name": "file", "datatype": "BYTES", "shape": [1],
                                   "parameters": {"binary_data_size": 5}}]}).encode()  # fmt: skip
    lines = (
        "POST /v2/models/ocr/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        f"Inference-Header-Content-Length: {len(head)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=15) as sender:
        sender.sendall(lines.encode() + b"%x\r\n%b\r\n" % (len(head), head))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(12):
                sender.sendall(b"100000\r\n" + bytes(1 << 20) + b"\r\n")
        assert sender.recv(12) == b"HTTP/1.1 413"
