"""Stopping, replacing and losing the supervisor, under load."""

import os
import signal
import threading
import time

import psutil
import pytest

from tests.conditions import wait_for
from tests.fakes import body, fake_config, page
from tests.harness import Load, Server, texts_of

pytestmark = pytest.mark.fault


@pytest.fixture
def server(tmp_path):
    with Server(fake_config(tmp_path / "models"), tmp_path) as running:
        yield running


def test_kill_9_of_the_supervisor_leaves_nothing_behind(server):
    with Load(server) as load:
        server.remember()
        os.kill(server.process.pid, signal.SIGKILL)
        wait_for(lambda: not any(map(psutil.pid_exists, server.seen)), what="children are gone")
    assert load.wrong == []
    server.expected_exit = -signal.SIGKILL
    with pytest.raises(ConnectionRefusedError):
        server.connect().connect()


def test_sigterm_finishes_what_was_accepted_and_exits_0(tmp_path):
    config = fake_config(tmp_path / "models", detection_ms=60.0)
    with Server(config, tmp_path) as server, Load(server) as load:
        server.remember()
        told = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.wait_exit() == 0
        took = time.monotonic() - told
        wait_for(lambda: len(load.faults) >= 6)  # every client has noticed
    assert load.wrong == []
    # What was inside when the signal came is answered. What came later finds a closed port or connection,
    # or is told 503.
    assert [fault for fault in load.faults if fault.sent < told - 0.05] == []
    assert all(isinstance(fault.what, OSError) or fault.what[0] == 503 for fault in load.faults)
    assert took < 10


def test_a_long_request_is_answered_although_the_server_has_been_told_to_stop(server):
    answers = []
    slow = body(page(7, fault="slow"))
    client = threading.Thread(target=lambda: answers.append(server.post(slow)))
    client.start()
    wait_for(lambda: any(lane.stage_start_ns for lane in server.lanes("device")), what="a device works on it")
    server.process.send_signal(signal.SIGTERM)
    client.join(30)
    assert answers and answers[0][0] == 200 and len(texts_of(answers[0][1])) == 1
    assert server.wait_exit() == 0


def test_sighup_replaces_every_process_without_losing_a_request(server):
    before = {role: server.pids(role) for role in ("worker", "device")}
    files = server.open_files()
    with Load(server, clients=4, retry=True) as load:
        server.process.send_signal(signal.SIGHUP)
        wait_for(
            lambda: server.all_ready() and not any(set(server.pids(r)) & set(before[r]) for r in before),
            60,
            "everybody is replaced",
        )
        load.wait_more(8)
    assert load.wrong == []
    assert load.faults == []
    assert "cut off" not in server.log()
    server.check_calm(files)


def test_a_second_signal_stops_at_once(server):
    server.remember()
    with Load(server, clients=2):
        server.process.send_signal(signal.SIGSTOP)  # both signals are seen in one look
        server.process.send_signal(signal.SIGTERM)
        server.process.send_signal(signal.SIGINT)
        server.process.send_signal(signal.SIGCONT)
        code = server.wait_exit()
    server.expected_exit = code
    assert code in {128 + signal.SIGTERM, 128 + signal.SIGINT}
