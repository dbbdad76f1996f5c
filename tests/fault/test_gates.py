"""Every gate of the fault tests is shown a planted bug that it must catch."""

import os
import signal
import subprocess
import sys

import pytest

import tests.harness
from server.config import Limits
from tests.conditions import wait_for
from tests.fakes import body, page
from tests.harness import Load
from tests.planted import Planted

pytestmark = pytest.mark.fault


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    limits = Limits(request_timeout_ms=400)
    with Planted(tmp_path_factory.mktemp("gates"), devices=1, limits=limits) as server:
        yield server


@pytest.fixture
def with_bug(planted, monkeypatch):
    """Plants a bug; afterwards all processes are new."""
    planted.wait_ready()
    waits = tests.harness.wait_for
    monkeypatch.setattr(
        tests.harness, "wait_for", lambda condition, timeout=0.5, what=None: waits(condition, timeout, what)
    )
    bugs = []
    yield lambda bug: bugs.append(bug) or planted.plant(bug)
    for bug in bugs:
        planted.pull(bug)
    old = planted.pids("worker") + planted.pids("device")
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: planted.all_ready() and not set(old) & set(planted.pids("worker")), 30)


def test_answers_of_somebody_else_are_caught(planted, with_bug):
    with Load(planted, clients=2, lines=1) as load:
        with_bug("mix")
        wait_for(lambda: load.wrong, what="a wrong answer is noticed")


def test_a_lost_answer_is_caught(planted, with_bug):
    with Load(planted, clients=2) as load:
        with_bug("lose")
        wait_for(lambda: load.faults, what="a lost request is noticed")
    assert load.faults[0].what[0] == 504


@pytest.mark.parametrize(
    ("bug", "says"),
    [
        pytest.param("keep_slot", "slots are still taken", id="slot"),
        pytest.param("keep_file", "!=", id="file"),
    ],
)
def test_what_is_kept_is_caught(planted, with_bug, bug, says):
    files = planted.open_files()
    with_bug(bug)
    assert planted.post(body(page(1)))[0] == 200
    with pytest.raises(AssertionError, match=says):
        planted.check_calm(files)


def test_a_process_that_is_left_is_caught(planted, with_bug):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stray:
        planted.seen.add(stray.pid)
        with pytest.raises(AssertionError, match="processes are left"):
            planted.check_gone()
        planted.seen.discard(stray.pid)
        stray.stdin.close()
