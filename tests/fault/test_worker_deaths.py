"""HTTP workers are killed; only what they held is lost."""

import contextlib
import os
import signal

import numpy as np
import psutil
import pytest

from kernels.slots import FREE, WRITING
from tests.conditions import wait_for
from tests.fakes import body, page
from tests.harness import Load, exchange, texts_of

pytestmark = pytest.mark.fault


CLIENTS = 8


def connections(pid):
    """How many clients a worker has."""
    found = psutil.Process(pid).net_connections("tcp")
    return sum(each.status == psutil.CONN_ESTABLISHED for each in found)


def test_kill_9_of_a_worker_loses_its_connections_only_and_its_slots_return(calm):
    refused, quarantined = calm.counter("device_refused_poison"), calm.segment.quarantined
    with Load(calm, clients=CLIENTS) as load:
        for _ in range(2):
            calm.wait_ready()
            wait_for(lambda: sum(map(connections, calm.pids("worker"))) == CLIENTS, what="all are connected")
            victim = calm.pids("worker")[0]
            before, held = len(load.faults), connections(victim)
            os.kill(victim, signal.SIGKILL)
            wait_for(lambda victim=victim: victim not in calm.pids("worker"))
            calm.wait_ready()
            load.wait_more(10)
            assert len(load.faults) - before <= held, "more was lost than its connections"
    assert load.wrong == []
    assert all(isinstance(fault.what, Exception) for fault in load.faults), load.faults
    assert calm.counter("device_refused_poison") == refused
    assert calm.segment.quarantined == quarantined


def test_a_stopped_worker_is_found_and_replaced(calm):
    victim = calm.pids("worker")[0]
    os.kill(victim, signal.SIGSTOP)
    wait_for(lambda: victim not in calm.pids("worker"), what="the stopped worker is killed")
    calm.wait_ready()
    assert calm.post(body(page(1)))[0] == 200


def test_slots_of_a_worker_that_dies_while_a_device_works_for_it_return(calm):
    slow = body(page(7, fault="slow"))
    with contextlib.closing(calm.connect()) as connection:
        connection.request("POST", "/ocr", slow, {"Content-Type": "application/json"})
        wait_for(lambda: calm.slots.count(FREE) < calm.segment.slots, what="a slot is taken")
        for pid in calm.pids("worker"):
            os.kill(pid, signal.SIGKILL)
        calm.wait_ready()
    wait_for(lambda: calm.slots.count(FREE) == calm.segment.slots, what="the slot returns")


def test_a_body_that_was_being_decoded_at_two_crashes_is_refused(calm):
    large = np.random.default_rng(1).integers(0, 2, (3000, 3000, 3), np.uint8) * 255
    poison = body(large)
    for _ in range(2):
        calm.wait_ready()
        with contextlib.closing(calm.connect()) as connection:
            connection.request("POST", "/ocr", poison, {"Content-Type": "application/json"})
            os.kill(wait_for(lambda: decoder(calm), what="a worker decodes"), signal.SIGSEGV)
            with pytest.raises(OSError):
                connection.getresponse()
    calm.wait_ready()
    status, answer = calm.post(poison)
    assert status == 422 and "crashed" in answer["errorMsg"]
    assert calm.post(body(page(2)))[0] == 200


def decoder(server):
    """Pid of a worker that writes a slot of a body with a hash, or None."""
    for slot in range(server.segment.slots):
        header = server.slots.header(slot)
        if header.state == WRITING and header.body_hash:
            return server.segment.worker(header.owner).pid
    return None


def test_clients_that_hang_up_leave_nothing_behind(calm):
    slow = body(page(7, fault="slow"))
    for _ in range(4):
        connection = calm.connect()
        connection.request("POST", "/ocr", slow, {"Content-Type": "application/json"})
        connection.close()
    with contextlib.closing(calm.connect()) as connection:
        status, answer = exchange(connection, body(page(3)))
    assert status == 200 and len(texts_of(answer)) == 1
