"""Stopping, replacing and losing the supervisor, under load."""

import os
import signal
import threading
import time

import msgspec
import psutil
import pytest

from kernels.segment import monotonic_ns
from tests.conditions import wait_for
from tests.fakes import body, fake_config, page
from tests.harness import POLICY, Load, Server, texts_of

pytestmark = pytest.mark.fault


@pytest.fixture
def server(tmp_path):
    with Server(fake_config(tmp_path / "models", slow_ms=900), tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def lasting(tmp_path_factory):
    """For tests that it survives: one whose supervisor kills early."""
    folder = tmp_path_factory.mktemp("lasting")
    policy = msgspec.structs.replace(POLICY, heartbeat_ns=800_000_000)
    with Server(fake_config(folder / "models"), folder, policy) as running:
        running.wait_ready()
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


def test_a_stopped_supervisor_is_not_missed_and_kills_nobody_when_it_goes_on(lasting):
    """Everybody's heartbeat looks old to it then: only because it has not looked."""
    files, starts = lasting.settled_files(), lasting.starts()
    with Load(lasting) as load:
        lasting.process.send_signal(signal.SIGSTOP)
        since = time.monotonic()
        wait_for(lambda: time.monotonic() > since + 1.2, what="it would kill who is silent for so long")
        load.wait_more(6)
        lasting.process.send_signal(signal.SIGCONT)
        load.wait_more(6)
        assert lasting.starts() == starts
        os.kill(lasting.pids("device")[0], signal.SIGKILL)
        wait_for(lambda: lasting.starts() == starts + 1, what="it watches again")
        lasting.wait_ready()
    assert load.faults == load.wrong == []
    lasting.check_calm(files)


def test_sigterm_finishes_what_was_accepted_however_long_it_takes_and_exits_0(tmp_path):
    config = fake_config(tmp_path / "models", detection_ms=60.0, slow_ms=1200)
    answers, slow = [], body(page(7, fault="slow"))
    with Server(config, tmp_path) as server, Load(server) as load:
        client = threading.Thread(target=lambda: answers.append(server.post(slow)))
        client.start()
        wait_for(lambda: longest_stage_s(server) > 0.5, what="a device works on the long one")
        server.remember()
        told = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.wait_exit() == 0
        took = time.monotonic() - told
        wait_for(lambda: len(load.faults) >= 6)  # every client has noticed
        client.join(30)
    assert [status for status, _ in answers] == [200] and len(texts_of(answers[0][1])) == 1
    assert load.wrong == []
    # What was inside when the signal came is answered. What came later finds a closed port or connection,
    # or is told 503.
    assert [fault for fault in load.faults if fault.sent < told - 0.05] == []
    assert all(isinstance(fault.what, OSError) or fault.what[0] == 503 for fault in load.faults)
    assert took < 10


def longest_stage_s(server):
    """How long the longest stage that now runs has been running."""
    started = [lane.stage_start_ns for lane in server.lanes("device") if lane.stage_start_ns]
    return (monotonic_ns() - min(started)) / 1e9 if started else 0.0


def test_sighup_replaces_every_process_without_losing_a_request(lasting):
    before = {role: lasting.pids(role) for role in ("worker", "device")}
    files = lasting.open_files()
    with Load(lasting, clients=4, retry=True) as load:
        lasting.process.send_signal(signal.SIGHUP)
        wait_for(
            lambda: lasting.all_ready() and not any(set(lasting.pids(r)) & set(before[r]) for r in before),
            60,
            "everybody is replaced",
        )
        load.wait_more(8)
    assert load.wrong == []
    assert load.faults == []
    assert "cut off" not in lasting.log()
    lasting.check_calm(files)


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
