"""Every gate of the fault tests is shown a planted bug that it must catch."""

import os
import signal
import subprocess
import sys

import pytest

import tests.harness
from kernels.segment import monotonic_ns
from kernels.slots import CLAIMED
from server.config import Limits
from tests.conditions import wait_for
from tests.fakes import body, page
from tests.harness import Load
from tests.mixed_load import send_mixed_load
from tests.planted import Planted

pytestmark = pytest.mark.fault


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    limits = Limits(request_timeout_ms=400)
    with Planted(tmp_path_factory.mktemp("gates"), devices=1, limits=limits) as server:
        yield server


@pytest.fixture
def with_bug(planted, monkeypatch):
    """Plants a bug, and pulls it up afterwards; what it has left behind stays until :func:`tidy`."""
    planted.wait_ready()
    waits = tests.harness.wait_for
    monkeypatch.setattr(
        tests.harness, "wait_for", lambda condition, timeout=1.0, what=None: waits(condition, timeout, what)
    )
    bugs = []
    yield lambda bug: bugs.append(bug) or planted.plant(bug)
    for bug in bugs:
        planted.pull(bug)


@pytest.fixture
def tidy(planted):
    """The server, all its processes new."""
    planted.wait_ready()
    old = planted.pids("worker") + planted.pids("device")
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: planted.all_ready() and not set(old) & set(planted.pids("worker")), 30)
    return planted


def test_answers_of_somebody_else_are_caught(planted, with_bug):
    with Load(planted, clients=2, lines=1) as load:
        with_bug("mix")
        wait_for(lambda: load.wrong, what="a wrong answer is noticed")


def test_a_lost_answer_is_caught(planted, with_bug):
    with Load(planted, clients=2) as load:
        with_bug("lose")
        wait_for(lambda: load.faults, what="a lost request is noticed")
    assert load.faults[0].what[0] == 504


def test_a_request_that_hangs_is_caught(planted, with_bug):
    """It is past its deadline (400 ms), and nobody answers."""
    with Load(planted, clients=2, patience_s=1.2) as load:
        with_bug("hang")
        wait_for(lambda: load.faults, what="a request that hangs is noticed")
    assert isinstance(load.faults[0].what, TimeoutError)


def test_a_client_that_never_gets_an_answer_is_caught(planted, with_bug, monkeypatch):
    monkeypatch.setattr(tests.harness, "JOIN_S", 0.3)
    load = Load(planted, clients=1)
    with pytest.raises(AssertionError, match="a client hangs"), load:
        with_bug("hang")
        wait_for(lambda: any(map(is_forgotten, planted.headers())), what="one is dropped")


def is_forgotten(header):
    """Whether an item is with a device although nobody may wait for it any more."""
    return header.state == CLAIMED and header.deadline_ns < monotonic_ns()


def test_memory_stays_flat_and_what_is_kept_is_caught(tidy, with_bug):
    """The bug keeps a few kilobytes for each request, in a worker and a device."""
    send_mixed_load(tidy)
    before = tidy.memory()
    send_mixed_load(tidy)
    tidy.check_memory(before)
    with_bug("keep_memory")
    send_mixed_load(tidy)
    with pytest.raises(AssertionError, match="memory has grown"):
        tidy.check_memory(before)


def test_a_server_that_is_always_ready_is_caught(planted, with_bug):
    with_bug("ready")
    (frozen,) = planted.pids("device")
    os.kill(frozen, signal.SIGSTOP)
    try:
        with pytest.raises(AssertionError, match="not ready"):
            planted.wait_unready()
    finally:
        os.kill(frozen, signal.SIGCONT)


def test_a_slow_recovery_is_caught(planted, with_bug):
    with_bug("hold")
    os.kill(planted.pids("device")[0], signal.SIGKILL)
    wait_for(lambda: not planted.pids("device"), what="it is dead")
    with pytest.raises(AssertionError, match="all processes ready"):
        planted.wait_ready(1.5)


@pytest.mark.parametrize(
    ("bug", "says"),
    [
        pytest.param("keep_slot", "slots are still taken", id="slot"),
        pytest.param("keep_file", "!=", id="file"),
    ],
)
def test_what_is_kept_is_caught(tidy, with_bug, bug, says):
    files = tidy.open_files()
    with_bug(bug)
    assert tidy.post(body(page(1)))[0] == 200
    with pytest.raises(AssertionError, match=says):
        tidy.check_calm(files)


def test_a_process_that_is_left_is_caught(planted, with_bug):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stray:
        planted.seen.add(stray.pid)
        with pytest.raises(AssertionError, match="processes are left"):
            planted.check_gone()
        planted.seen.discard(stray.pid)
        stray.stdin.close()


def test_shared_memory_that_somebody_still_holds_is_caught(planted, monkeypatch):
    monkeypatch.setattr(planted, "seen", set())
    command = [sys.executable, "-c", "input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[planted.segment.fd]) as stray:
        with pytest.raises(AssertionError, match=rf"\b{stray.pid}\b.* still hold"):
            planted.check_gone()
        stray.stdin.close()
