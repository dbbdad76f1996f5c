"""Readiness that can be relied on: a frozen device, leaving, and another configuration, under load."""

import os
import signal
import threading
import time

import msgspec
import pytest

from server.config import Limits
from tests.conditions import wait_for
from tests.fakes import body, fake_config, page
from tests.harness import POLICY, Load, Server

pytestmark = pytest.mark.fault

#: A frozen device is not killed before the test has seen what it wants to see.
SLOW_TO_KILL = msgspec.structs.replace(POLICY, heartbeat_ns=2_700_000_000)
#: An item that takes longer than a silent process is trusted (``readiness.py``), and is no hang.
LONG_MS = 1900
NO_HANG = msgspec.structs.replace(POLICY, stage_floor_ns=6_000_000_000)


@pytest.fixture(scope="module")
def steady(tmp_path_factory):
    """One device, one item at a time."""
    folder = tmp_path_factory.mktemp("steady")
    config = fake_config(folder / "models", devices=1, window=1, slow_ms=LONG_MS)
    with Server(config, folder, NO_HANG) as running:
        running.wait_ready()
        yield running


@pytest.fixture(scope="module")
def tight(tmp_path_factory):
    """A bound on memory that no process can keep, and a long time of grace."""
    folder = tmp_path_factory.mktemp("tight")
    more = {"max_rss_mb": 5, "drain_grace_ms": 60_000}
    with Server(fake_config(folder / "models", devices=1, config=more), folder) as running:
        yield running


class Balancer:
    """Sends load for as long as the server says that it is ready. A context manager."""

    def __init__(self, server, load):
        self._server, self._load = server, load
        self._thread = threading.Thread(target=self._poll)
        self._done = False

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc_info):
        self._done = True
        self._thread.join(10)

    def _poll(self):
        while not self._done:
            if not self._server.is_ready():
                self._load.stop()
                return
            time.sleep(0.05)


def test_a_frozen_device_is_seen_in_two_seconds_while_the_other_serves(tmp_path):
    with Server(fake_config(tmp_path / "models"), tmp_path, SLOW_TO_KILL) as server:
        server.wait_ready()
        files = server.open_files()
        with Load(server) as load:
            frozen = server.pids("device")[0]
            os.kill(frozen, signal.SIGSTOP)
            server.wait_unready()
            assert frozen in server.pids("device"), "nobody has killed it yet"
            wait_for(lambda: frozen not in server.pids("device"), what="it is killed")
            wait_for(server.is_ready, 10, "ready again")
            load.wait_more(6)
        assert load.faults == load.wrong == []
        server.check_calm(files)


def test_busy_is_ready(steady):
    answers, ready = [], []
    client = threading.Thread(target=lambda: answers.append(steady.post(body(page(1, fault="slow")))[0]))
    client.start()
    while not answers:
        ready.append(steady.is_ready())
        time.sleep(0.02)
    client.join()
    assert answers == [200]
    assert len(ready) > 10 and all(ready)


def test_sigterm_fails_no_request_of_who_honours_readiness(tmp_path):
    """Without the time of grace it does: ``test_sigterm_finishes_what_was_accepted_and_exits_0``."""
    config = fake_config(tmp_path / "models", detection_ms=30.0, config={"drain_grace_ms": 800})
    with Server(config, tmp_path) as server:
        with Load(server) as load, Balancer(server, load):
            load.wait_more(10)
            told = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            wait_for(lambda: not server.is_ready(), 0.5, "not ready at once")
            load.stop()
        assert load.faults == load.wrong == []
        assert server.wait_exit() == 0
        assert time.monotonic() - told >= 0.8


def test_sighup_changes_to_a_new_configuration_without_losing_a_request(tmp_path):
    """Other models, another number of processes, other limits; a client that pauses for no moment."""
    old = fake_config(tmp_path / "old", devices=1)
    new = fake_config(tmp_path / "new", devices=2, workers=2, limits=Limits(max_pixels=1 << 20))
    large = body(page(1, lines=70))
    with Server(old, tmp_path) as server:
        assert server.post(large)[0] == 200
        with Load(server, clients=4) as load:
            server.reconfigure(new)
            server.follow(new)
            server.wait_ready()
            load.wait_more(8)
        assert load.faults == load.wrong == []
        assert server.post(large)[0] == 422
        assert server.post(body(page(2)))[0] == 200
        files = server.settled_files()
        server.post(body(page(3)))
        server.check_calm(files)


@pytest.mark.parametrize("fault", ["unreadable", "no such model"])
def test_a_bad_configuration_is_refused_and_the_old_one_goes_on(steady, tmp_path, fault):
    files, pids = steady.settled_files(), steady.pids("device")
    says = "the new configuration is refused"
    refused = steady.log().count(says)
    with Load(steady, clients=2) as load:
        if fault == "unreadable":
            steady.setup_path.write_text("not: [a configuration")
            steady.process.send_signal(signal.SIGHUP)
        else:
            bad = fake_config(tmp_path / "gone", devices=1)
            (tmp_path / "gone" / "text_detection" / "fake.json").unlink()
            steady.reconfigure(bad)
        wait_for(lambda: steady.log().count(says) > refused, 20, "it is refused")
        load.wait_more(6)
    assert load.faults == load.wrong == []
    assert steady.pids("device") == pids
    steady.check_calm(files)


def test_a_process_above_its_memory_bound_is_replaced_without_losing_a_request(tmp_path):
    config = fake_config(tmp_path / "models", devices=1, leak=400 << 20, config={"max_rss_mb": 400})
    with Server(config, tmp_path) as server:
        server.wait_ready()
        files, (grown,) = server.open_files(), server.pids("device")
        with Load(server, clients=3) as load:
            assert server.post(body(page(1, fault="leak")))[0] == 200
            wait_for(lambda: server.all_ready() and grown not in server.pids("device"), 20, "it is replaced")
            load.wait_more(6)
        assert load.faults == load.wrong == []
        assert server.starts() == 3
        assert "a fresh process takes over" in server.log()
        server.check_calm(files)


def test_a_bound_below_what_a_process_needs_is_said_once_and_replaces_nobody(tight):
    wait_for(lambda: tight.log().count("to begin with") == 2, what="both processes are named")
    assert tight.starts() == 2


def test_sigint_needs_no_grace(tight):
    tight.process.send_signal(signal.SIGINT)
    assert tight.wait_exit(10) == 0
