"""API keys, CORS and files by URL on a server of two workers that has all of them."""

import contextlib
import http.client
import json
import os
import signal
import socket
import threading
import time

import msgspec
import pytest

from server.config import Access, Limits
from server.keys import append_key, new_key
from tests.conditions import wait_for
from tests.fakes import RightAnswers, body, fake_config, page, png
from tests.file_host import FileHost
from tests.harness import Server, exchange, texts_of

PAGE, SLOW_PAGE = page(3), page(1, fault="slow")
ORIGIN = "https://pages.example"


@pytest.fixture(scope="module")
def files():
    with FileHost({"/page.png": ("image/png", png(PAGE)), "/page": ("text/html", b"<html>")}) as host:
        yield host


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Path of the file, and the keys by name."""
    path, texts = tmp_path_factory.mktemp("keys") / "keys", {}
    limits = {"free": {}, "rated": {"rate": 0.01, "burst": 6}, "narrow": {"concurrent": 2}, "revoked": {}}
    for name, own in limits.items():
        texts[name], key = new_key(name, **own)
        append_key(path, key)
    return path, texts


@pytest.fixture(scope="module")
def server(tmp_path_factory, keys, files):
    folder = tmp_path_factory.mktemp("server")
    access = Access(
        api_keys=str(keys[0]), cors_origins=(ORIGIN,), url_hosts=(f"127.0.0.1:{files.port}", "localhost")
    )
    config = fake_config(
        folder / "models", workers=2, limits=Limits(body_timeout_ms=5000, max_body_bytes=8 << 20)
    )
    with Server(msgspec.structs.replace(config, access=access), folder) as running:
        running.wait_ready()
        yield running


def bearer(keys, name):
    return {"Authorization": f"Bearer {keys[1][name]}"}


def test_a_key_opens_and_nothing_else_does(server, keys):
    content = body(PAGE)
    assert server.post(content, headers=bearer(keys, "free"))[0] == 200
    assert server.post(content, headers={"X-API-Key": keys[1]["free"]})[0] == 200
    for headers in ({}, {"Authorization": "Bearer pps_" + "A" * 43}, {"X-API-Key": "\xe9"}):
        status, answer = server.post(content, headers=headers)
        assert (status, answer["errorCode"]) == (401, 401)
        assert list(answer) == ["logId", "errorCode", "errorMsg"]


def test_nothing_of_a_body_is_read_without_a_key(server):
    """The answer comes before the body, also to a client that asks whether to send it."""
    before = server.counter("worker_received_bytes")
    for expect in (b"", b"Expect: 100-continue\r\n"):
        with contextlib.closing(socket.create_connection(("127.0.0.1", server.port), timeout=10)) as client:
            client.sendall(b"POST /ocr HTTP/1.1\r\nHost: x\r\n" + expect + b"Content-Length: 8000000\r\n\r\n")
            head = client.recv(65536)
            assert head.startswith(b"HTTP/1.1 401"), head
            assert b"www-authenticate: bearer" in head.lower()
            assert b"connection: close" in head.lower()
    assert server.counter("worker_received_bytes") == before


def test_health_is_open_and_metrics_are_not(server, keys):
    for path, headers, status in (
        ("/health/ready", {}, 200), ("/metrics", {}, 401), ("/metrics", bearer(keys, "free"), 200),
    ):  # fmt: skip
        with contextlib.closing(server.connect()) as connection:
            connection.request("GET", path, headers=headers)
            assert connection.getresponse().status == status


def test_a_rate_holds_over_both_workers(server, keys):
    """Six at once, then one in 100 s, however many connections on however many workers they come by."""
    statuses, content = [], body(PAGE)
    for _ in range(12):  # each on a connection of its own, accepted by whichever worker is first
        with contextlib.closing(server.connect()) as connection:
            connection.request("POST", "/ocr", content, bearer(keys, "rated"))
            response = connection.getresponse()
            statuses.append(response.status)
            answer = json.loads(response.read())
            if response.status == 429:
                assert 80 <= int(response.headers["Retry-After"]) <= 100
                assert answer["errorCode"] == 429
    assert statuses == [200] * 6 + [429] * 6
    assert server.post(content, headers=bearer(keys, "free"))[0] == 200, "other keys have their own"


def test_the_number_at_once_holds_over_both_workers_and_comes_back(server, keys):
    content, statuses = body(SLOW_PAGE), []
    threads = [
        threading.Thread(
            target=lambda: statuses.append(server.post(content, headers=bearer(keys, "narrow"))[0])
        )
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] * 2 + [429] * 4
    assert server.post(body(PAGE), headers=bearer(keys, "narrow"))[0] == 200


def test_what_a_dead_worker_had_inside_is_given_back(server, keys):
    connection = server.connect()
    with contextlib.closing(connection):
        connection.request("POST", "/ocr", body(SLOW_PAGE), bearer(keys, "narrow"))
        wait_for(lambda: server.counter("worker_received_bytes") and len(server.pids("worker")) == 2)
        for pid in server.pids("worker"):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection.getresponse()
    server.wait_ready()

    def both_come_in():
        statuses = []

        def ask():
            with contextlib.suppress(OSError, http.client.HTTPException):
                statuses.append(server.post(body(PAGE), headers=bearer(keys, "narrow"))[0])

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return statuses == [200, 200]

    wait_for(both_come_in)


def test_a_key_is_revoked_without_a_restart(server, keys):
    starts, content = server.starts(), body(PAGE)
    with contextlib.closing(server.connect()) as connection:
        assert exchange(connection, content, headers=bearer(keys, "revoked"))[0] == 200
        lines = keys[0].read_text().splitlines(keepends=True)
        keys[0].write_text("".join(line for line in lines if not line.startswith("revoked:")))

        def refused():
            try:
                return exchange(connection, content, headers=bearer(keys, "revoked"))[0] == 401
            except (OSError, http.client.HTTPException):
                return True  # the door was shut behind the first refusal

        wait_for(refused, 5)
    wait_for(
        lambda: all(server.post(content, headers=bearer(keys, "revoked"))[0] == 401 for _ in range(6)), 5
    )
    assert server.post(content, headers=bearer(keys, "free"))[0] == 200
    assert server.starts() == starts


def test_the_log_holds_no_key(server, keys):
    log = server.log()
    assert not any(text in log for text in keys[1].values())


# --- browsers


def test_a_page_of_a_listed_origin_may_ask(server, keys):
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-api-key",
    }
    with contextlib.closing(server.connect()) as connection:
        connection.request("OPTIONS", "/ocr", headers=asked)
        response = connection.getresponse()
        assert (response.status, response.read()) == (204, b"")
        assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert "X-API-Key" in response.headers["Access-Control-Allow-Headers"]
        for headers, status in ((bearer(keys, "free"), 200), ({}, 401)):
            connection.request("POST", "/ocr", body(PAGE), {"Origin": ORIGIN} | headers)
            response = connection.getresponse()
            response.read()
            assert (response.status, response.headers["Access-Control-Allow-Origin"]) == (status, ORIGIN)
            assert "Retry-After" in response.headers["Access-Control-Expose-Headers"]


def test_other_pages_may_not(server):
    for origin in ("https://evil.example", "null", ORIGIN + ".evil.example"):
        with contextlib.closing(server.connect()) as connection:
            connection.request("OPTIONS", "/ocr", headers={"Origin": origin})
            response = connection.getresponse()
            assert "Access-Control-Allow-Origin" not in response.headers
            assert "Access-Control-Allow-Headers" not in response.headers
            assert response.headers["Vary"] == "Origin"


# --- files by URL


def ask(server, keys, url, **fields):
    return server.post(json.dumps({"file": url} | fields).encode(), headers=bearer(keys, "free"))


def test_a_file_by_url_is_answered_like_the_file(server, keys, files):
    status, answer = ask(server, keys, f"http://127.0.0.1:{files.port}/page.png")
    assert (status, texts_of(answer)) == (200, [RightAnswers(server.config).texts(PAGE)])


def test_what_may_not_be_fetched_is_422_and_never_asked_for(server, keys, files):
    seen = len(files.seen)
    for url in (
        "http://169.254.169.254/latest/meta-data/",
        f"http://2130706433:{files.port}/page.png",
        f"http://0177.0.0.1:{files.port}/page.png",
        f"http://[::ffff:127.0.0.1]:{files.port}/page.png",
        f"http://user@127.0.0.1:{files.port}/page.png",
        f"http://localhost:{files.port}/page.png",  # listed for port 80 only
    ):
        status, answer = ask(server, keys, url, fileType=1)
        assert (status, "cannot be fetched from its URL" in answer["errorMsg"]) == (422, True), answer
        assert "127" not in answer["errorMsg"]
    assert len(files.seen) == seen


def test_a_host_that_never_answers_holds_up_nobody(server, keys, files):
    """Others are answered meanwhile, and the deadline ends it."""
    content = json.dumps({"file": f"http://127.0.0.1:{files.port}/slow", "fileType": 1}).encode()
    statuses = []

    def ask_in_vain():
        headers = bearer(keys, "free") | {"X-Request-Timeout-Ms": "2000"}
        statuses.append(server.post(content, headers=headers)[0])

    threads = [threading.Thread(target=ask_in_vain) for _ in range(20)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    wait_for(lambda: sum(path == "/slow" for path, _ in files.seen) >= 8, what="hosts are asked")
    assert server.post(body(PAGE), headers=bearer(keys, "free"))[0] == 200
    assert not statuses, "a good request overtakes those that wait"
    for thread in threads:
        thread.join()
    assert statuses == [504] * 20
    assert time.perf_counter() - started < 8
