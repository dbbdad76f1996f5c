"""Traces: the header, the spans, and a queue that costs requests nothing."""

import threading
from collections import Counter
from types import SimpleNamespace

import pytest

from pipelines.core.errors import ConfigError, ServeError
from server import otlp
from server.otlp import QUEUE, Tracer, check_endpoint, traces_url
from server.traces import Ended, Trace, spans_of, take_over
from tests.conditions import wait_for

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Counts(Counter):
    def add(self, name, amount=1):
        self[name] += amount


class Exporter:
    """Keeps what it is sent, as long as it is open."""

    def __init__(self):
        self.sent, self.open, self.answers = [], threading.Event(), True
        self.open.set()

    def send(self, batch):
        assert self.open.wait(20)
        if self.answers == "raise":
            raise OSError("no route")
        self.sent += batch if self.answers else []
        return self.answers

    def close(self):
        self.open.set()


def exchange(trace, status=200):
    return SimpleNamespace(
        trace=trace, endpoint=SimpleNamespace(path="/ocr"), timings={"recv": 1.0}, status=status, bytes_in=5,
        request_id=1, generation="v3", pages=1, cached="",
    )  # fmt: skip


@pytest.fixture
def counts():
    return Counts()


@pytest.fixture
def exporter():
    return Exporter()


@pytest.fixture
def tracer(exporter, counts):
    made = Tracer(exporter, counts, gather_s=0.0)
    yield made
    made.close()


@pytest.mark.parametrize("flags", [0, 1, 3])
def test_a_trace_is_taken_over_and_goes_on(flags):
    trace = take_over(f"00-{TRACE}-{PARENT}-{flags:02x}")
    assert (trace.trace_id, trace.parent_id) == (int(TRACE, 16), int(PARENT, 16))
    assert trace.sampled == bool(flags & 1)
    assert trace.header == f"00-{TRACE}-{trace.span_id:016x}-{flags & 1:02x}"
    assert trace.span_id not in {0, trace.parent_id}


@pytest.mark.parametrize("header", [f"cc-{TRACE}-{PARENT}-01", f"cc-{TRACE}-{PARENT}-01-what-comes-later"])
def test_later_versions_are_read_as_the_first(header):
    assert take_over(header).trace_id == int(TRACE, 16)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "nonsense",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE}-{PARENT}-01\n",
        f"00-{TRACE}-{PARENT}",
    ],
)
def test_without_a_valid_header_a_new_trace_starts(header):
    one, other = take_over(header), take_over(header)
    assert one.parent_id == 0 and one.sampled
    assert one.trace_id not in {0, int(TRACE, 16), other.trace_id}


def test_steps_lie_end_to_end_and_encode_at_the_end():
    timings = {"recv": 1.0, "decode": 2.0, "queue": 0.5, "det": 3.0, "encode": 1.5}
    ended = Ended(Trace(7, 8, 9), "/ocr", 0, 10_000_000, timings, {"a": 1}, False)
    root, *steps = spans_of(ended)
    assert root == ("POST /ocr", 8, 9, 0, 10_000_000, {"a": 1})
    assert [(step.name, step.start_ns, step.end_ns) for step in steps] == [
        ("recv", 0, 1_000_000),
        ("decode", 1_000_000, 3_000_000),
        ("queue", 3_000_000, 3_500_000),
        ("det", 3_500_000, 6_500_000),
        ("encode", 8_500_000, 10_000_000),
    ]
    assert {step.parent_id for step in steps} == {8}
    assert len({step.span_id for step in steps} | {8}) == 6


def test_what_is_sent_is_counted_on_the_loops_side(tracer, exporter, counts):
    tracer.watch(exchange(take_over("")), None, 0.5)
    wait_for(lambda: exporter.sent, what="the trace is sent")
    (ended,) = exporter.sent
    assert ended.end_ns - ended.start_ns == 500_000_000
    assert counts["worker_traces_sent"] == 0
    wait_for(lambda: tracer.count() or counts["worker_traces_sent"] == 1, what="it is counted")


def test_what_nobody_sampled_is_not_sent(tracer, exporter):
    tracer.watch(exchange(take_over(f"00-{TRACE}-{PARENT}-00")), None, 0.1)
    tracer.watch(exchange(take_over(f"00-{TRACE}-{PARENT}-01")), None, 0.1)
    wait_for(lambda: exporter.sent, what="the other is sent")
    assert [ended.trace.sampled for ended in exporter.sent] == [True]


def test_a_collector_that_hangs_costs_a_bounded_queue_and_counted_drops(tracer, exporter, counts):
    exporter.open.clear()
    trace = take_over("")
    for _ in range(2 * QUEUE):
        tracer.watch(exchange(trace), None, 0.1)
    dropped = counts["worker_traces_dropped"]
    assert 0 < dropped <= QUEUE
    exporter.open.set()
    wait_for(lambda: len(exporter.sent) == 2 * QUEUE - dropped, what="the rest is sent")


@pytest.mark.parametrize("trouble", [False, "raise"])
def test_a_collector_that_refuses_is_complained_of_once(tracer, exporter, counts, trouble, caplog):
    caplog.set_level("INFO")
    exporter.answers = trouble
    for number in (1, 2):
        tracer.watch(exchange(take_over("")), None, 0.1)
        wait_for(lambda n=number: tracer.count() or counts["worker_traces_dropped"] == n, what="a drop")
    assert caplog.text.count("does not answer") == 1
    exporter.answers = True
    tracer.watch(exchange(take_over("")), None, 0.1)
    wait_for(lambda: "answers again" in caplog.text, what="it answers again")


def test_what_waits_is_sent_at_the_end(exporter, counts):
    tracer = Tracer(exporter, counts, gather_s=0.0)
    for _ in range(3):
        tracer.watch(exchange(take_over(""), 500), ServeError(), 0.1)
    tracer.close()
    assert counts["worker_traces_sent"] == 3
    assert all(ended.failed and ended.attributes["error.type"] == "ServeError" for ended in exporter.sent)


def test_endpoints():
    assert traces_url("http://127.0.0.1:4318") == "http://127.0.0.1:4318/v1/traces"
    assert traces_url("https://collector/") == "https://collector/v1/traces"
    assert traces_url("https://collector/own/path") == "https://collector/own/path"
    for wrong in ("collector:4318", "grpc://collector:4317", "http://", "http://a:b", "http://[::1"):
        with pytest.raises(ConfigError, match="--otlp_endpoint is a URL such as"):
            check_endpoint(wrong)


def test_without_the_extra_one_line_names_it(monkeypatch):
    assert check_endpoint("http://127.0.0.1:1") == "http://127.0.0.1:1"
    monkeypatch.setattr(otlp.importlib.util, "find_spec", lambda name: None)
    assert check_endpoint("") == ""
    with pytest.raises(ConfigError, match=r"^--otlp_endpoint needs the extra otel: "):
        check_endpoint("http://127.0.0.1:1")
