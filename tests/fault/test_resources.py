"""What a process needs runs out or is lost: memory, files, wake-ups, the model's file, a crash in C."""

import contextlib
import os
import resource
import socket
import time
from pathlib import Path

import msgspec
import psutil
import pytest

from tests.conditions import wait_for
from tests.fakes import LARGE_BYTES, RightAnswers, body, fake_config, page
from tests.harness import POLICY, Load, Server, exchange, texts_of
from tests.planted import Planted

pytestmark = pytest.mark.fault

#: Full speed is back within this after what was lacking is there again.
RECOVERED_S = 2.0


@contextlib.contextmanager
def limited(pid, kind, value):
    """Another soft limit for a running process."""
    before = resource.prlimit(pid, kind)
    resource.prlimit(pid, kind, (value, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, kind, before)


def test_a_device_without_memory_fails_the_item_that_asks_for_too_much_and_no_other(calm):
    devices, hungry = calm.pids("device"), body(page(5, fault="allocate"))
    assert calm.post(hungry)[0] == 200
    with Load(calm, clients=3) as load:
        with contextlib.ExitStack() as stack:
            for pid in devices:
                bound = psutil.Process(pid).memory_info().vms + LARGE_BYTES // 2
                stack.enter_context(limited(pid, resource.RLIMIT_AS, bound))
            for _ in range(3):
                status, answer = calm.post(hungry)
                assert status == 500 and "llocat" not in answer["errorMsg"]
                load.wait_more(3)
        since = time.monotonic()
        assert calm.post(hungry)[0] == 200
        assert time.monotonic() - since < RECOVERED_S
    assert load.faults == load.wrong == []
    assert calm.pids("device") == devices


def test_a_worker_without_file_descriptors_serves_who_is_there_and_recovers(calm):
    (*_, worker) = workers = calm.pids("worker")
    spare = 6
    with contextlib.ExitStack() as stack:
        inside = [stack.enter_context(contextlib.closing(calm.connect())) for _ in range(4)]
        for connection in inside:
            assert exchange(connection, body(page(1)))[0] == 200
        for pid in workers:
            used = len(list(Path(f"/proc/{pid}/fd").iterdir()))
            stack.enter_context(limited(pid, resource.RLIMIT_NOFILE, used + spare))
        crowd = [stack.enter_context(_connection(calm.port)) for _ in range(60)]
        assert len(crowd) == 60
        for connection in inside:
            assert exchange(connection, body(page(2)))[0] == 200, "who is inside is served"
    since = time.monotonic()
    image = page(3)
    status, answer = calm.post(body(image))
    assert status == 200 and texts_of(answer) == [RightAnswers(calm.config).texts(image)]
    assert time.monotonic() - since < RECOVERED_S
    assert worker in calm.pids("worker")


def _connection(port):
    client = socket.socket()
    client.setblocking(False)
    client.connect_ex(("127.0.0.1", port))
    return client


def test_lost_wake_ups_cost_a_second_and_are_counted(tmp_path):
    with Planted(tmp_path, devices=1) as server:
        files, image = server.open_files(), page(4)
        right = [RightAnswers(server.config).texts(image)]
        server.plant("mute")
        since = time.monotonic()
        status, answer = server.post(body(image))
        assert status == 200 and texts_of(answer) == right
        assert time.monotonic() - since < 2.5
        assert server.counter("device_missed_wakeups") + server.counter("worker_missed_wakeups") > 0
        with pytest.raises(AssertionError):
            server.check_calm(files)
        server.pull("mute")
        server.post(body(image))
        since = time.monotonic()
        assert server.post(body(image))[0] == 200
        assert time.monotonic() - since < 0.5


def test_a_model_file_cut_short_after_the_start_harms_nobody_until_a_process_needs_it(calm):
    pids, failures = calm.pids("device"), calm.log().count("did not get ready")
    model = Path(calm.config.pipelines[0].models["text_recognition"].directory, "fake.json")
    content = model.read_bytes()
    with Load(calm, retry=True) as load:
        os.truncate(model, len(content) // 2)
        try:
            load.wait_more(6)
            calm.reconfigure(calm.config)  # all processes are replaced
            wait_for(lambda: calm.log().count("did not get ready") > failures, 20, "the replacement fails")
            load.wait_more(6)
            assert calm.pids("device") == pids, "those that have loaded it serve on"
        finally:
            model.write_bytes(content)
        calm.reconfigure(calm.config)
        wait_for(lambda: calm.all_ready() and not set(calm.pids("device")) & set(pids), 30)
        load.wait_more(6)
    assert load.faults == load.wrong == []


def test_a_crash_in_native_code_is_remembered_and_forgotten_in_time(tmp_path):
    policy = msgspec.structs.replace(POLICY, quarantine_ns=1_500_000_000)
    with Server(fake_config(tmp_path / "models"), tmp_path, policy) as server:
        files, poison = server.open_files(), body(page(6, fault="crash"))
        with Load(server, clients=3) as load:
            status, answer = server.post(poison)
            assert (status, answer["errorCode"]) == (422, 422)
            deaths = server.starts()
            assert server.post(poison)[0] == 422
            assert server.starts() == deaths, "it is refused without a try"
            wait_for(lambda: server.segment.quarantined == 0, what="it is forgotten")
            assert server.post(poison)[0] == 422
            assert server.starts() >= deaths + 2, "it was tried again"
            server.wait_ready()
        assert load.faults == load.wrong == []
        server.check_calm(files)
