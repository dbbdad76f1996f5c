"""Devices are killed, stopped and crashed under load; nothing that was accepted is lost."""

import os
import random
import signal
import threading

import pytest

from kernels.slots import CLAIMED
from tests.conditions import wait_for
from tests.fakes import RightAnswers, body, page
from tests.harness import Load, texts_of

pytestmark = pytest.mark.fault

#: Many more, of every kind of process: ``python -m benchmarks.soak --kill 3``.
KILLS = 4
NOBODY = 0


def kill(pid, number=signal.SIGKILL):
    os.kill(pid, number)


def refusals(server):
    """Items that devices have refused because of what they had done before."""
    return server.counter("device_refused_poison"), server.counter("device_refused_spent")


def all_right(load):
    assert load.wrong == []
    assert load.faults == []


def test_kill_9_of_random_devices_loses_nothing(calm):
    choose = random.Random(1)
    starts, refused, quarantined = calm.starts(), refusals(calm), calm.segment.quarantined
    with Load(calm) as load:
        for _ in range(KILLS):
            load.wait_more(5)
            calm.wait_ready()
            kill(choose.choice(calm.pids("device")))
            load.wait_more(3)
        calm.wait_ready()
    all_right(load)
    assert calm.starts() == starts + KILLS
    assert refusals(calm) == refused
    assert calm.segment.quarantined == quarantined


def test_kill_9_of_all_devices_at_once_loses_nothing(calm):
    with Load(calm) as load:
        for pid in calm.pids("device"):
            kill(pid)
        load.wait_more(10)
    all_right(load)


def test_an_item_whose_devices_are_killed_from_outside_is_no_poison(calm):
    """It runs alone at every death; a crash would have made it poison after two, spent after four."""
    image, answers = page(7, fault="slow"), []
    client = threading.Thread(target=lambda: answers.append(calm.post(body(image), timeout=60)))
    client.start()
    killed = [NOBODY]
    for _ in range(4):
        wait_for(lambda: at_work(calm) not in killed, 30, "another device works on it")
        killed.append(at_work(calm))
        kill(killed[-1])
    client.join(60)
    assert [status for status, _ in answers] == [200]
    assert texts_of(answers[0][1]) == [RightAnswers(calm.config).texts(image)]


def at_work(server):
    """Pid of a device that has claimed an item, or NOBODY."""
    epochs = {h.epoch for h in map(server.slots.header, range(server.segment.slots)) if h.state == CLAIMED}
    return next((lane.pid for lane in server.lanes("device") if lane.epoch in epochs), NOBODY)


def test_a_stopped_device_is_found_and_replaced_and_nothing_is_lost(calm):
    refused = refusals(calm)
    with Load(calm) as load:
        stopped = calm.pids("device")[0]
        kill(stopped, signal.SIGSTOP)
        wait_for(lambda: stopped not in calm.pids("device"), what="the stopped device is killed")
        calm.wait_ready()
        load.wait_more(10)
    all_right(load)
    assert refusals(calm) == refused


@pytest.mark.parametrize("fault", ["segv", "exit", "hang"])
def test_poison_is_refused_and_harms_nobody(calm, fault):
    """Other signals that a process raises by itself are one case with this one (``test_blame.py``)."""
    starts, poison = calm.starts(), body(page(7, fault=fault))
    with Load(calm, clients=3) as load:
        status, answer = calm.post(poison)
        assert status == 422 and answer["errorCode"] == 422
        assert "crashed" in answer["errorMsg"]
        calm.wait_ready()
    all_right(load)
    # In company it may be suspected first, and then it dies alone twice.
    assert starts + 2 <= calm.starts() <= starts + 3
    again = calm.starts()
    assert calm.post(poison)[0] == 422
    assert calm.starts() == again
    assert calm.post(body(page(8)))[0] == 200


@pytest.mark.parametrize("fault", ["raise", "error"])
def test_a_failing_item_is_a_500_of_its_own(calm, fault):
    starts = calm.starts()
    with Load(calm, clients=3) as load:
        for _ in range(3):
            status, answer = calm.post(body(page(7, fault=fault)))
            assert status == 500
            assert "asked for" not in answer["errorMsg"] or fault == "error"
            assert "/" not in answer["errorMsg"] and "Traceback" not in answer["errorMsg"]
    all_right(load)
    assert calm.starts() == starts


def test_a_deadline_is_a_504_and_the_device_goes_on(calm):
    slow = body(page(7, fault="slow"))
    status, answer = calm.post(slow, headers={"X-Request-Timeout-Ms": "300"})
    assert status == 504 and answer["errorCode"] == 504
    image = page(9)
    status, answer = calm.post(body(image))
    assert status == 200 and texts_of(answer) == [RightAnswers(calm.config).texts(image)]
