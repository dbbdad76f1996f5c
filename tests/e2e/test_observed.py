"""A server that is watched: traces at a real collector, and a line for each request."""

import contextlib
import json
import re
from pathlib import Path

import pytest

from server.config import Access, Limits
from server.keys import append_key, new_key
from tests.collector import Collector
from tests.conditions import wait_for
from tests.e2e.conftest import request
from tests.fakes import page, png

pytestmark = pytest.mark.usefixtures("clean")

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
OPERATIONS = (Path(__file__).parents[2] / "docs/operations.md").read_text()


@pytest.fixture(scope="module")
def collector():
    with Collector() as running:
        yield running


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "keys"
    text, key = new_key("clerk")
    append_key(path, key)
    return path, text


@pytest.fixture(scope="module")
def options(collector, key):
    watched = {"otlp_endpoint": collector.endpoint, "access_log": True, "log_format": "json"}
    quiet = {"log_level": "error", "access": Access(api_keys=str(key[0]))}
    return {"limits": Limits(), "config": watched | quiet}


@pytest.fixture
def ask(server, key):
    def send(content, **headers):
        with contextlib.closing(server.connect()) as connection:
            connection.request("POST", "/ocr", content, {"X-API-Key": key[1]} | headers)
            response = connection.getresponse()
            return response.status, response.headers, json.loads(response.read())

    return send


def spans_of(collector, trace):
    """Spans of a trace once they are there: the request's own, and the steps by name."""

    def there():
        return [span for span in collector.spans() if span["trace"] == trace]

    wait_for(there, 20, "the trace arrives")
    found = there()
    (root,) = [span for span in found if span["kind"] == 2]
    return root, {span["name"]: span for span in found if span is not root}


def line_of(server, log_id):
    """The access line of a request."""

    def lines():
        every = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
        return [line for line in every if line.get("logId") == log_id]

    wait_for(lines, what="the line is written")
    (line,) = lines()
    return line


def test_a_request_goes_on_in_its_callers_trace(ask, collector, server):
    status, headers, _ = ask(request(png(page(1)), logId="t-1"), traceparent=f"00-{TRACE}-{PARENT}-01")
    assert status == 200
    root, steps = spans_of(collector, TRACE)
    assert headers["traceparent"] == f"00-{TRACE}-{root['id']}-01"
    assert (root["name"], root["parent"], root["status"]) == ("POST /ocr", PARENT, 0)
    timed = re.findall(r"(\w+);dur=([\d.]+)", headers["Server-Timing"])
    assert list(steps) == [name for name, _ in timed]
    assert set(steps) >= {"recv", "decode", "queue", "det", "rec", "encode"}
    for name, milliseconds in timed:
        step = steps[name]
        assert step["parent"] == root["id"]
        assert abs(step["end_ns"] - step["start_ns"] - 1e6 * float(milliseconds)) <= 1e4
        assert step["start_ns"] >= root["start_ns"]
    assert root["attributes"]["http.response.status_code"] == 200
    assert root["resource"]["service.name"] == "paddle-pipeline-server"
    assert root["resource"]["service.instance.id"].startswith("worker-")
    assert line_of(server, "t-1")["traceId"] == TRACE


def test_a_fault_is_in_its_trace_and_its_line_and_no_text_or_key_is(ask, collector, server, key):
    status, headers, _ = ask(request(png(page(2, fault="raise")), logId="t-2"))
    assert status == 500
    root, _ = spans_of(collector, headers["traceparent"].split("-")[1])
    assert (root["status"], root["attributes"]["error.type"], root["parent"]) == (2, "ServeError", "")
    line = line_of(server, "t-2")
    assert (line["status"], line["error"], line["key"]) == (500, "ServeError", "clerk")
    told = json.dumps(collector.spans())
    assert key[1] not in told and "t-2" not in told and "clerk" not in told
    assert key[1] not in server.log()


def test_the_line_of_a_request_has_the_fields_that_the_page_names(ask, server):
    content = request(png(page(3)), logId="t-3")
    _, _, answer = ask(content)
    line = line_of(server, "t-3")
    assert (line["method"], line["path"], line["status"], line["pages"]) == ("POST", "/ocr", 200, 1)
    assert (line["bytesIn"], line["client"], line["key"]) == (len(content), "127.0.0.1", "clerk")
    assert line["bytesOut"] >= len(json.dumps(answer["result"], separators=(",", ":"), ensure_ascii=False))
    assert (line["level"], line["logger"]) == ("info", "server.access_log")
    assert 0 < line["durationMs"] < 60_000
    named = set(re.findall(r"^\| `(\w+)` \|", OPERATIONS.split("\n## Logs\n")[1].split("\n## ")[0], re.M))
    assert set(line) <= named


def test_who_is_not_let_in_has_a_line_too(ask, server):
    before = server.log().count('"status": 401')
    assert ask(request(png(page(1))), **{"X-API-Key": "pps_wrong"})[0] == 401
    wait_for(lambda: server.log().count('"status": 401') == before + 1, what="the line is written")
    assert "pps_wrong" not in server.log()


def test_a_collector_that_dies_costs_counted_drops_only(ask, collector, server):
    """The last test of this module: the collector stays dead."""
    collector.kill()
    before = server.counter("worker_traces_dropped")
    for number in range(5):
        assert ask(request(png(page(number))))[0] == 200
    wait_for(lambda: server.counter("worker_traces_dropped") > before, 30, "drops are counted")
