"""A server that keeps answers: what is equal, what is asked for again, what is never kept."""

import contextlib
import json

import pytest

from server.config import Access, Limits
from server.keys import append_key, new_key
from tests.e2e.conftest import request
from tests.fakes import page, png

pytestmark = pytest.mark.usefixtures("clean")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    path, texts = tmp_path_factory.mktemp("keys") / "keys", []
    for name in ("one", "other"):
        text, key = new_key(name)
        append_key(path, key)
        texts.append(text)
    return path, texts


@pytest.fixture(scope="module")
def options(keys):
    return {"limits": Limits(), "config": {"cache_mb": 1, "access": Access(api_keys=str(keys[0]))}}


@pytest.fixture
def ask(server, keys):
    """Sends a request as the first key; gives status, headers and body."""

    def send(content, key=0, path="/ocr", **headers):
        with contextlib.closing(server.connect()) as connection:
            connection.request("POST", path, content, {"X-API-Key": keys[1][key]} | headers)
            response = connection.getresponse()
            return response.status, response.headers, response.read()

    return send


def test_a_kept_answer_is_equal_byte_for_byte_but_for_its_log_id(ask, server):
    before = server.counter("device_items")
    content = request(png(page(1)), visualize=True)
    status, headers, first = ask(content)
    assert (status, headers["X-Cache"]) == (200, "miss")
    status, headers, second = ask(content)
    assert (status, headers["X-Cache"]) == (200, "hit")
    assert [part.split(";")[0] for part in headers["Server-Timing"].split(", ")] == [
        "recv",
        "decode",
        "cache",
    ]
    ids = [json.loads(answer)["logId"] for answer in (first, second)]
    assert ids[0] != ids[1]
    assert first.replace(ids[0].encode(), b"") == second.replace(ids[1].encode(), b"")
    assert json.loads(ask(request(png(page(1)), visualize=True, logId="mine"))[2])["logId"] == "mine"
    assert server.counter("device_items") == before + 1
    assert server.counter("worker_cache_hits") >= 2


def test_every_door_and_generation_has_its_own_form_of_the_answer(ask):
    data = png(page(2))
    content = request(data)
    plain = json.loads(ask(content)[2])
    tensor = {"name": "file", "shape": [1], "datatype": "BYTES", "data": [json.loads(content)["file"]]}
    body = json.dumps({"inputs": [tensor], "parameters": {"fileType": 1, "visualize": False}})
    status, headers, answer = ask(body, path="/v2/models/ocr/infer")
    assert (status, headers["X-Cache"]) == (200, "hit")
    assert json.loads(json.loads(answer)["outputs"][0]["data"][0]) == plain["result"]
    status, headers, answer = ask(
        data, path="/ocr?fileType=1&visualize=false", **{"Content-Type": "image/png"}
    )
    assert (headers["X-Cache"], json.loads(answer)["result"]) == ("hit", plain["result"])
    status, headers, answer = ask(json.dumps({"image": json.loads(content)["file"]}))
    assert (status, headers["X-Cache"], set(json.loads(answer)["result"])) == (
        200,
        "miss",
        {"texts", "image"},
    )


def test_another_parameter_file_or_key_is_a_miss(ask):
    data = png(page(3))
    for content, key in (
        (request(data), 0),
        (request(data, textDetThresh=0.31), 0),
        (request(png(page(4))), 0),
        (request(data), 1),
    ):
        assert ask(content, key)[1]["X-Cache"] == "miss"
    assert ask(request(data), 1)[1]["X-Cache"] == "hit"


def test_a_failing_request_is_not_kept(ask, server):
    hits, kept = server.counter("worker_cache_hits"), server.gauge("worker_cache_bytes")
    for content, expected in (
        (request(png(page(5, fault="raise"))), 500),
        (request(b"\x89PNG no picture"), 422),
    ):
        for _ in range(2):
            status, headers, _ = ask(content)
            assert (status, headers["X-Cache"]) == (expected, None)
    assert (server.counter("worker_cache_hits"), server.gauge("worker_cache_bytes")) == (hits, kept)


def test_what_is_kept_stays_below_the_bound(ask, server):
    evicted = server.counter("worker_cache_evictions")
    for seed in range(100, 200):
        status, headers, _ = ask(request(png(page(seed, lines=8)), visualize=True))
        assert (status, headers["X-Cache"]) == (200, "miss")
        assert server.gauge("worker_cache_bytes") <= 1 << 20
        if server.counter("worker_cache_evictions") > evicted + 1:
            return
    raise AssertionError("a hundred pictures fit 1 MiB")
