"""Processes die at planted steps of the protocol: what no timing brings about is found again all the same."""

import contextlib
import http.client
import os
import signal
import threading

import pytest

from kernels.slots import FREE, READY
from tests.conditions import wait_for
from tests.dying_child import STEPS
from tests.fakes import RightAnswers, body, page
from tests.harness import Load, texts_of
from tests.planted import Planted

pytestmark = pytest.mark.fault


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with Planted(tmp_path_factory.mktemp("planted"), devices=1) as server:
        yield server


@pytest.fixture
def planted(running):
    running.wait_ready()
    files = running.open_files()
    yield running
    running.check_calm(files)


@pytest.mark.parametrize("step", STEPS["device"])
def test_what_a_device_leaves_behind_at_any_step_is_answered(planted, step):
    """``finished``: the answer is in its slot and no hint tells; only a scan by the worker finds it."""
    image, starts = page(3), planted.starts()
    planted.plant(step)
    status, answer = planted.post(body(image), headers={"X-Request-Timeout-Ms": "15000"})
    assert status == 200
    assert texts_of(answer) == [RightAnswers(planted.config).texts(image)]
    assert not (planted.stops / step).exists(), "nobody died"
    wait_for(lambda: planted.starts() == starts + 1, what="it is replaced")


@pytest.mark.parametrize("step", STEPS["worker"])
def test_what_a_worker_leaves_behind_at_any_step_is_freed(planted, step):
    planted.plant(step)
    with pytest.raises((OSError, http.client.HTTPException)):
        planted.post(body(page(4)))
    planted.wait_dead(step)
    wait_for(lambda: planted.slots.count(FREE) == planted.segment.slots, what="its slots return")
    planted.wait_ready()
    assert planted.post(body(page(5)))[0] == 200


def test_the_only_device_is_killed_and_everything_accepted_is_answered(planted):
    with Load(planted, clients=4) as load:
        for _ in range(2):
            planted.wait_ready()
            os.kill(planted.pids("device")[0], signal.SIGKILL)
            load.wait_more(4)
    assert load.faults == load.wrong == []


def test_what_a_dead_device_had_comes_first_on_its_successor(planted):
    """A device looks for it at once, not when it has nothing else to do: under load that is never."""
    check_order(planted, [])


def test_what_a_dead_device_had_comes_first_on_one_that_survives(tmp_path):
    with Planted(tmp_path, devices=2) as server:
        check_order(server, server.pids("device")[1:])


def check_order(server, survivors):
    """The first of four requests is with a device that dies, and is answered before the others."""
    for pid in survivors:  # the first request goes to device 0; the others wait in one ring
        os.kill(pid, signal.SIGSTOP)
    server.plant("claimed")
    server.plant("hold")
    order, clients = [], []
    _send(server, "held by the dead", clients, order)
    server.wait_dead("claimed")
    _wait_waiting(server, 1)
    for number in range(3):
        _send(server, f"sent later: {number}", clients, order)
        _wait_waiting(server, 2 + number)
    for pid in survivors:
        os.kill(pid, signal.SIGCONT)
    if not survivors:
        server.let_go()
    for client in clients:
        client.join(60)
    with contextlib.suppress(FileNotFoundError):
        server.let_go()
    server.wait_ready()
    assert [name for name, _ in order] == [
        "held by the dead", "sent later: 0", "sent later: 1", "sent later: 2",
    ]  # fmt: skip
    assert {status for _, status in order} == {200}


def _send(server, name, clients, order):
    """Each answer takes long enough that the order in which they come is theirs."""
    content = body(page(len(clients), fault="slow"))
    client = threading.Thread(target=lambda: order.append((name, server.post(content, timeout=60)[0])))
    client.start()
    clients.append(client)


def _wait_waiting(server, count):
    wait_for(lambda: server.slots.count(READY) == count, what=f"{count} requests wait")
