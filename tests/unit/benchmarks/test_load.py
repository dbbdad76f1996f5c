"""The load generator counts what a client would feel, and the comparison divides the right figures."""

import argparse
import asyncio
import contextlib
import json
import threading

import pytest

from benchmarks import common, compare, load, memory, overload, peers, probe, soak, wire_times
from tests.conditions import wait_for

PAUSE_S = 0.05


class SlowServer(contextlib.AbstractContextManager):
    """Answers one request at a time, each after a pause; every seventh is a 503."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.seen = []

    def __enter__(self):
        self.thread.start()
        self.gate = asyncio.Lock()
        serving = asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.server = asyncio.run_coroutine_threadsafe(serving, self.loop).result(10)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_):
        asyncio.run_coroutine_threadsafe(self._stop(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    async def _stop(self):
        self.server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _serve(self, reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                body = await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
                async with self.gate:
                    await asyncio.sleep(PAUSE_S)
                    self.seen.append(json.loads(body))
                status = "503 Busy" if len(self.seen) % 7 == 0 else "200 OK"
                writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok".encode())
        writer.close()


@pytest.fixture
def server():
    with SlowServer() as running:
        yield running


def requests(server, count):
    return [
        load.request_bytes("127.0.0.1", server.port, "/ocr", json.dumps(number).encode())
        for number in range(count)
    ]


def test_closed_loop_sends_every_request_once(server):
    order = load.sequence(13, 5, seed=1)
    run = load.closed_loop("127.0.0.1", server.port, requests(server, 5), order, clients=3)
    assert sorted(server.seen) == sorted(order) == sorted(answer.index for answer in run.answers)
    assert run.failed == 1
    assert len(run.latencies_ms) == 12
    assert run.rps == pytest.approx(12 / run.wall_s)


def test_open_loop_latency_counts_from_the_scheduled_time(server):
    """Ten arrivals nearly at once at a server that takes them one by one: the last waits for all."""
    run = load.open_loop("127.0.0.1", server.port, requests(server, 1), [0] * 10, rate=1e6, seed=1)
    waited = max(answer.latency_s for answer in run.answers)
    assert waited >= 10 * PAUSE_S
    assert min(answer.latency_s for answer in run.answers) < 5 * PAUSE_S


def test_the_probe_times_answers_in_a_process_of_its_own(server):
    with probe.probing(server.port, requests(server, 5), 40, 0.6, seed=1) as waiting:
        assert server.seen == []
        waiting.begin()
        seen = waiting.seen()
    assert len(seen) == len(server.seen) > 3
    assert {each.status for each in seen} <= {200, 503}
    assert min(each.seconds for each in seen) >= PAUSE_S


def test_a_probe_whose_server_has_gone_says_so():
    with SlowServer() as gone:
        port = gone.port
    with pytest.raises(RuntimeError, match="did not start"), probe.probing(port, [b"x"], 1, 1, seed=1):
        pass


def test_the_wire_times_answers_without_the_client(server):
    """Every answer of the port, whoever reads it and when; nothing of another port."""
    try:
        wire = wire_times.Wire(server.port)
    except PermissionError:
        pytest.skip("needs CAP_NET_RAW")
    order = load.sequence(8, 5, seed=1)
    with wire, SlowServer() as other:
        load.closed_loop("127.0.0.1", server.port, requests(server, 5), order, clients=2)
        load.closed_loop("127.0.0.1", other.port, requests(other, 1), [0], clients=1)
        wait_for(lambda: len(wire.passed) >= 8, what="all have passed")
    assert sorted(each.status for each in wire.passed) == [200] * 7 + [503]
    assert all(PAUSE_S <= each.seconds < 20 * PAUSE_S for each in wire.passed)


def test_overload_counts_what_both_kinds_of_clients_saw():
    answers = [
        load.Answer(0, status, start_s=1.0, end_s=1.0 + took, latency_s=took + 0.01, body=b"")
        for status, took in ((200, 0.1), (200, 0.4), (503, 9.0))
    ]
    seen = [probe.Seen(200, 0.2), probe.Seen(503, 0.001), probe.Seen(503, 0.003)]
    wire = [wire_times.Passed(200, 0.2), wire_times.Passed(503, 0.0025), wire_times.Passed(503, 0.0005)]
    run = load.Run(answers, wall_s=2.0)
    row = overload.row_of(2.0, run, seen, wire, capacity=2.0, budget_ms=300)
    assert row["statuses"] == {"200": 3, "503": 3}
    assert row["goodput"] == pytest.approx(2 / 2.0 / 2.0)
    assert (row["client_refused"], row["client_p99_ms"]) == (2, pytest.approx(3.0))
    assert (row["refused"], row["refusal_p99_ms"]) == (2, pytest.approx(2.5))
    (fault,) = (each for each in overload.missed([row | {"growth": 0.0}], 300) if "refusals" in each)
    assert "2.5 ms" in fault


class TestSoakJudges:
    """The soak's gates, each shown what it must count."""

    RIGHT = b'{"logId": "a", "errorCode": 0}'

    @pytest.fixture
    def soaking(self):
        running = soak.Soak(None, argparse.Namespace(kill=1.0))
        running.right = [(200, soak._plain(self.RIGHT))] * len(running.kinds)
        return running

    def counts(self, soaking):
        return len(soaking.wrong), soaking.lost, soaking.hung, soaking.spoilt

    def test_the_right_answer(self, soaking):
        soaking.judge(0, 200, self.RIGHT.replace(b"a", b"another"), 7)
        assert self.counts(soaking) == (0, 0, 0, 0)

    def test_an_answer_to_somebody_else(self, soaking):
        soaking.judge(0, 200, b'{"errorCode": 0, "result": 1}', 7)
        assert self.counts(soaking) == (1, 0, 0, 0)

    def test_a_connection_of_a_dead_worker_may_end_once_and_no_other_may(self, soaking):
        soaking.deaths.cut = {7}
        for connection, counts in ((7, (0, 1, 0, 0)), (7, (1, 1, 0, 0)), (8, (2, 1, 0, 0))):
            soaking.judge(0, 0, b"ConnectionResetError()", connection)
            assert self.counts(soaking) == counts

    def test_a_request_that_hangs_is_no_loss_of_a_dead_worker(self, soaking):
        soaking.deaths.cut = {7}
        soaking.judge(0, 0, b"TimeoutError()", 7)
        assert self.counts(soaking) == (0, 0, 1, 0)

    def test_a_refusal_is_right_only_once_somebody_has_died(self, soaking):
        soaking.judge(0, 503, b"{}", 7)
        soaking.deaths.counts["device"] += 1
        soaking.judge(0, 503, b"{}", 7)
        assert (len(soaking.wrong), soaking.refused) == (1, 1)

    def test_a_dead_render_child_may_spoil_one_document(self, soaking):
        soaking.deaths.spoilt = 1
        for _ in range(2):
            soaking.judge(0, 422, b'{"errorMsg": "the document could not be rendered"}', 7)
        assert self.counts(soaking) == (1, 0, 0, 1)

    @pytest.mark.parametrize(
        "broken",
        [
            {"wrong": ["x"]},
            {"hung": 1},
            {"slow": ["x"]},
            {"restarts": 3},
            {"drift": 0.03},
            {"slots_free": False},
        ],
    )
    def test_every_promise_counts(self, broken):
        kept = {"wrong": [], "hung": 0, "slow": [], "restarts": 2, "drift": 0.0, "slots_free": True}
        kept["deaths"] = {"worker": 1, "device": 1, "render": 5}
        assert soak.is_good(kept, killing=False)
        assert not soak.is_good(kept | broken, killing=False)


@pytest.mark.parametrize(
    ("planted", "code"),
    [
        ({}, 0),
        ({"hung": 1}, 1),
        ({"samples": range(100, 200)}, 1),
        ({"wrong": ["x"]}, 1),
        ({"slots_free": False}, 1),
    ],
)
def test_the_command_of_the_soak_fails_on_what_is_planted(monkeypatch, capsys, planted, code):
    """``--check`` is what people and machines look at: its exit code has to say it."""
    samples = [(float(at), mib << 20) for at, mib in enumerate(planted.get("samples", [100] * 100))]
    row = {"requests": 9, "left_early": 0, "rps": 1.0, "wrong": [], "wrong_count": 0, "hung": 0, "lost": 0}
    row |= {"restarts": 0, "peak_mib": 1.0, "slow": [], "statuses": {}, "deaths": {}, "slots_free": True}
    monkeypatch.setattr(soak, "run", lambda options: row | {"drift": memory.drift(samples, 50.0)} | planted)
    monkeypatch.setattr("sys.argv", ["soak", "--check"])
    with pytest.raises(SystemExit) as ended:
        soak.main()
    assert ended.value.code == code
    assert "drift" in capsys.readouterr().out


def test_a_refused_connection_is_a_failure():
    with SlowServer() as gone:
        port = gone.port
    run = load.closed_loop("127.0.0.1", port, [b"GET / HTTP/1.1\r\n\r\n"], [0, 0], clients=1)
    assert (run.failed, run.rps) == (2, 0.0)


def test_sequence_is_whole_shuffled_passes():
    order = load.sequence(26, 13, seed=3)
    assert sorted(order[:13]) == sorted(order[13:]) == list(range(13))
    assert order[:13] != order[13:]


@pytest.mark.parametrize(("q", "expected"), [(50, 50), (90, 90), (99, 99), (100, 100), (0.5, 1)])
def test_percentile_is_nearest_rank(q, expected):
    assert common.percentile(range(100, 0, -1), q) == expected


def row(server, rps, p50):
    latency = {"n": 1, "p50": p50, "p90": p50, "p99": p50}
    return {"server": server, "loop": "closed", "level": 8.0, "rps": rps, "latency_ms": latency}


def test_targets_divide_ours_by_the_named_peer():
    rows = [
        row(peers.PADDLEX_DEFAULT, 1.0, 100),
        row(peers.PADDLEX_ONNX, 2.0, 80),
        row(peers.OPENVINO, 4.0, 60),
    ]
    found = {target["target"]: target for target in compare.targets(rows, ceiling=5.0)}
    assert found["ours openvino: throughput c=8 / PaddleX default"]["value"] == 4.0
    assert found["ours openvino: throughput c=8 / PaddleX fastest"]["met"] is False
    assert found["ours openvino: p99 c=8 / PaddleX fastest"]["value"] == 0.75
    assert found["ours openvino: p50 c=1 / PaddleX fastest"]["met"] is None
    assert found["ours openvino: served / bare engine"]["value"] == 0.8


def test_agreement_counts_lines_in_order():
    texts = {peers.PADDLEX_DEFAULT: [["a b", "c", "d"]], peers.OPENVINO: [["ab", "c", "x", "d"]]}
    assert compare.agreement(texts)[peers.OPENVINO] == {"lines": 4, "equal": 2, "solid": 3}


def test_drift_compares_the_ends_of_the_second_half():
    samples = [(second, 100 if second < 50 else 200 + second) for second in range(100)]
    assert memory.drift(samples, 50.0) == pytest.approx((200 + 94.5) / (200 + 54.5) - 1, abs=0.01)


def test_a_connection_that_the_server_has_ended_while_idle_is_no_failure():
    answered, closed = [], []

    async def serve_one(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(2)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()
        await writer.wait_closed()
        closed.append(True)

    async def both():
        async with await asyncio.start_server(serve_one, "127.0.0.1", 0) as serving:
            port = serving.sockets[0].getsockname()[1]
            client = load.Client("127.0.0.1", port)
            for _ in range(2):
                answered.append(await client.send(load.request_bytes("127.0.0.1", port, "/", b"{}")))
                while len(closed) < len(answered) or client.connected:
                    await asyncio.sleep(0.001)
            client.close()

    asyncio.run(both())
    assert answered == [(200, b"ok")] * 2


@contextlib.asynccontextmanager
async def answering(*answers):
    """A port that reads a request and writes the next of ``answers``; None: hangs up without a word."""
    waiting, tasks = iter(answers), []

    async def serve(reader, writer):
        tasks.append(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(2)
                answer = next(waiting)
                if answer is None:
                    break
                writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as serving:
        yield serving.sockets[0].getsockname()[1]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def sent(*answers, count, idle_s=0.0, timeout_s=5.0):
    """What a client makes of these answers, one after the other, with so long between them by its clock."""

    async def run():
        async with answering(*answers) as port:
            client = load.Client("127.0.0.1", port, timeout_s=timeout_s)
            found = []
            for _ in range(count):
                found.append(await client.send(load.request_bytes("127.0.0.1", port, "/", b"{}")))
                client._used_s -= idle_s
            client.close()
            return found

    return asyncio.run(run())


def test_a_connection_that_is_closed_just_while_it_is_used_after_a_rest_is_opened_again():
    assert sent(OK, None, OK, count=2, idle_s=10.0) == [(200, b"ok")] * 2


def test_a_request_that_is_lost_at_work_is_a_failure():
    assert [status for status, _ in sent(OK, None, OK, count=3)] == [200, 0, 200]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_what_is_no_answer_is_a_failure_and_ends_the_connection(answer):
    (status, said), following = sent(answer, OK, count=2)
    assert status == 0
    assert b"no HTTP answer with a length" in said
    assert following == (200, b"ok")


def test_an_answer_in_pieces_is_put_together_and_one_that_does_not_come_is_given_up():
    (status, said), following = sent(OK[:-1], OK, count=2, timeout_s=0.05)
    assert (status, b"no answer within" in said) == (0, True)
    assert following == (200, b"ok")


def test_who_waits_no_more_leaves_no_answer_to_the_next():
    async def run():
        async with answering(OK[:-1], OK) as port:
            client = load.Client("127.0.0.1", port)
            request = load.request_bytes("127.0.0.1", port, "/", b"{}")
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.send(request), 0.05)
            answer = await client.send(request)
            client.close()
            return answer

    assert asyncio.run(run()) == (200, b"ok")


def test_a_late_generator_says_so(server):
    """A loop that is blocked for as long sends what was due meanwhile so much later."""
    import time

    from server.bench import load as generator

    class Blocking(generator.Client):
        def another(self):
            return self

        async def send(self, request):
            time.sleep(PAUSE_S)
            return 200, b""

    run = generator.timed_loop(Blocking("127.0.0.1", server.port), [b""], [0] * 4, [0.0] * 4)
    assert max(answer.late_s for answer in run.answers) >= 2 * PAUSE_S
    assert max(answer.latency_s for answer in run.answers) >= 4 * PAUSE_S * 0.9
