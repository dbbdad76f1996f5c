"""The supervisor's loop with real processes that play parts instead of serving."""

import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path

import pytest

import server.children
from kernels import slots
from kernels.segment import DRAINING, EMPTY, FAILED, READY, monotonic_ns
from kernels.slots import CLAIMED, Slots
from server.children import Ground
from server.config import Config, DeviceConfig, Limits
from server.liveness import Policy
from server.signals import Signals
from server.supervisor import Supervisor
from tests.conditions import wait_for

pytestmark = pytest.mark.usefixtures("no_leaks")

MS = 1_000_000
QUICK = Policy(
    heartbeat_ns=2000 * MS,
    stage_floor_ns=400 * MS,
    tick_ns=1000 * MS,
    retries=3,
    first_delay_ns=20 * MS,
)
IMPATIENT = Policy(load_ns=1000 * MS, retries=9, first_delay_ns=20 * MS)


class Stage:
    """Runs a supervisor in the main thread while ``script`` watches it from another."""

    def __init__(self, tmp_path, monkeypatch):
        self.folder, self.monkeypatch = tmp_path, monkeypatch
        self.failure = None

    def play(self, parts, script, *, devices=1, workers=1, policy=QUICK, drain_ms=5000, grace_ms=0):
        """The supervisor's exit code. ``script(self)`` ends it with a signal, or it ends by itself."""
        self.monkeypatch.setenv("TOY_PARTS", json.dumps(parts))
        self.monkeypatch.setenv("TOY_FOLDER", str(self.folder))
        root = str(Path(__file__).parents[3])
        self.monkeypatch.setenv("PYTHONPATH", root)
        self.monkeypatch.setattr(
            server.children,
            "child_command",
            lambda module: [sys.executable, "-m", "tests.toy_child", module.rpartition(".")[2]],
        )
        self.monkeypatch.chdir(root)
        config = Config(
            pipelines=(),
            devices=(DeviceConfig(),) * devices,
            workers=workers,
            host="127.0.0.1",
            drain_grace_ms=grace_ms,
            drain_timeout_ms=drain_ms,
            limits=Limits(max_pixels=1000),
        )
        listen = socket.create_server(("127.0.0.1", 0))
        self.ground = Ground(config, listen)
        self.segment, self.slots = self.ground.segment, Slots(self.ground.segment)
        try:
            with Signals() as self.signals:
                self.supervisor = Supervisor(self.ground, self.signals, policy)
                thread = threading.Thread(target=self._script, args=[script])
                thread.start()
                code = self.supervisor.run()
                thread.join()
                if self.failure:
                    raise self.failure
        finally:
            self.ground.close()
        for _, _, pid in self.starts("device", range(devices)) + self.starts("worker", range(workers)):
            assert not Path(f"/proc/{pid}").exists(), f"{pid} is left"
        return code

    def _script(self, script):
        try:
            script(self)
        except BaseException as error:
            self.failure = error
            self.signals.send(signal.SIGTERM)
            self.signals.send(signal.SIGTERM)

    def starts(self, role, ordinals=(0,)):
        """(lane, epoch, pid) of every start so far."""
        found = []
        for ordinal in ordinals:
            record = self.folder / f"{role} {ordinal}"
            if record.exists():
                lines = record.read_text().splitlines()
                found += [tuple(map(int, line.split())) for line in lines if len(line.split()) == 3]
        return found

    def is_ready(self):
        return self.supervisor.announced

    def kill(self, role, ordinal, number):
        """Send a signal to the newest incarnation."""
        os.kill(self.starts(role, [ordinal])[-1][2], number)

    def publish(self):
        slot = self.slots.take(0, 10)
        generation = self.slots.publish(
            slot,
            request_id=1,
            deadline_ns=monotonic_ns() + 10**12,
            operation=0,
            device=0,
            cost_us=1,
            request_bytes=1,
        )
        return slot, generation


@pytest.fixture
def stage(tmp_path, monkeypatch, no_leaks):
    return Stage(tmp_path, monkeypatch)


def stop(stage):
    stage.signals.send(signal.SIGTERM)


def test_starts_everybody_says_so_and_stops_cleanly(stage, capsys):
    def script(stage):
        wait_for(stage.is_ready)
        assert [stage.segment.device(i).state for i in range(3)] == [READY, READY, EMPTY]
        assert [stage.segment.worker(i).state for i in range(2)] == [READY, EMPTY]
        stop(stage)

    assert stage.play({}, script, devices=2) == 0
    out = capsys.readouterr().out
    assert out.count("server ready: http://127.0.0.1:") == 1
    assert stage.segment.fd == -1


def test_a_killed_device_is_replaced_in_its_lane_and_its_items_are_ready_again(stage):
    def script(stage):
        wait_for(stage.is_ready)
        claim = stage.publish()
        first = stage.starts("device")[0]
        wait_for(lambda: stage.slots.header(claim[0]).epoch == first[1])
        epoch = stage.segment.scan_epoch
        stage.kill("device", 0, signal.SIGKILL)
        wait_for(lambda: len(stage.starts("device")) == 2 and stage.segment.device(0).state == READY)
        second = stage.starts("device")[1]
        assert second[0] == 0 and second[1] > first[1]
        header = stage.slots.header(claim[0])
        assert (header.generation, header.attempts, header.verdict) == (claim[1], 0, 0)
        assert stage.segment.scan_epoch > epoch
        stop(stage)

    assert stage.play({"device 0": ["claim serve", "serve"]}, script) == 0


def test_a_process_that_was_ready_restarts_at_once_for_ever(stage):
    def script(stage):
        for count in range(1, 6):
            wait_for(lambda count=count: len(stage.starts("device")) == count + 1)
        stop(stage)

    slow = Policy(retries=2, first_delay_ns=60_000 * MS)
    parts = {"device 0": ["crash"] * 5 + ["serve"]}
    assert stage.play(parts, script, policy=slow) == 0


def test_two_crashes_alone_poison_the_item(stage):
    def script(stage):
        wait_for(stage.is_ready)
        slot, _ = stage.publish()
        wait_for(lambda: stage.slots.header(slot).verdict == slots.POISON)
        assert stage.slots.header(slot).alone_deaths == 2
        wait_for(lambda: stage.segment.device(0).state == READY)
        stop(stage)

    assert stage.play({"device 0": ["claim crash", "claim crash", "serve"]}, script) == 0


def test_deaths_before_readiness_are_retried_then_given_up(stage, caplog):
    assert stage.play({"device 0": ["exit 3"]}, lambda stage: None) == 1
    assert len(stage.starts("device")) == QUICK.retries
    assert "no device process can be started: the server stops" in caplog.text


def test_an_impossible_configuration_is_not_retried(stage):
    assert stage.play({"worker 0": ["exit 2"]}, lambda stage: None) == 2
    assert len(stage.starts("worker")) == 1


def test_one_failed_device_of_two_does_not_stop_the_server(stage):
    def script(stage):
        wait_for(stage.is_ready)
        assert [stage.segment.device(i).state for i in range(2)] == [FAILED, READY]
        stop(stage)

    assert stage.play({"device 0": ["exit 3"]}, script, devices=2) == 0
    assert len(stage.starts("device", [0])) == QUICK.retries
    assert len(stage.starts("device", [1])) == 1


def test_early_deaths_are_forgotten_once_a_process_is_ready(stage):
    def script(stage):
        wait_for(lambda: len(stage.starts("device")) == 6 and stage.is_ready())
        stop(stage)

    parts = ["exit 3", "exit 3", "crash", "exit 3", "exit 3", "serve"]
    assert stage.play({"device 0": parts}, script) == 0


@pytest.mark.parametrize(
    ("role", "part", "policy"),
    [
        pytest.param("device", "stage", QUICK, id="device hangs in a stage"),
        pytest.param("worker", "stall", QUICK, id="worker's loop stands still"),
        pytest.param("device", "load", IMPATIENT, id="device never gets ready"),
    ],
)
def test_a_hung_process_is_killed_and_replaced(stage, role, part, policy):
    def script(stage):
        wait_for(lambda: len(stage.starts(role)) >= 2 and stage.is_ready())
        stop(stage)

    assert stage.play({f"{role} 0": [part, "serve"]}, script, policy=policy) == 0


def test_a_stopped_device_is_killed_and_replaced_and_its_item_not_blamed(stage):
    def script(stage):
        wait_for(stage.is_ready)
        slot, _ = stage.publish()
        wait_for(lambda: stage.slots.header(slot).state == CLAIMED)
        stage.kill("device", 0, signal.SIGSTOP)
        wait_for(lambda: len(stage.starts("device")) == 2 and stage.segment.device(0).state == READY)
        header = stage.slots.header(slot)
        assert header.attempts == 0 and header.alone_deaths == 0
        stop(stage)

    assert stage.play({"device 0": ["claim serve", "serve"]}, script) == 0


def test_a_dead_worker_s_slots_return(stage):
    def script(stage):
        wait_for(stage.is_ready)
        for _ in range(5):
            stage.publish()
        assert stage.slots.count(slots.READY) == 5
        stage.kill("worker", 0, signal.SIGKILL)
        wait_for(lambda: len(stage.starts("worker")) == 2)
        assert stage.slots.count(slots.FREE) == stage.segment.slots
        stop(stage)

    assert stage.play({}, script) == 0


def test_drain_lets_workers_go_first_and_keeps_devices_alive_meanwhile(stage):
    def script(stage):
        wait_for(stage.is_ready)
        stage.kill("worker", 0, signal.SIGSTOP)  # it cannot finish yet
        stop(stage)
        wait_for(lambda: stage.segment.worker(0).state == DRAINING)
        assert stage.segment.draining
        assert stage.ground.listen is None
        stage.kill("device", 0, signal.SIGKILL)
        wait_for(lambda: len(stage.starts("device")) == 2 and stage.segment.device(0).state == READY)
        stage.kill("worker", 0, signal.SIGCONT)

    patient = Policy(heartbeat_ns=20_000 * MS)
    assert stage.play({}, script, policy=patient) == 0
    assert len(stage.starts("worker")) == 1


def test_drain_ends_in_time_whoever_does_not_leave(stage):
    def script(stage):
        wait_for(stage.is_ready)
        stop(stage)

    assert stage.play({"worker 0": ["deaf"]}, script, drain_ms=300) == 1


def test_a_second_signal_stops_at_once(stage):
    def script(stage):
        wait_for(stage.is_ready)
        stage.signals.send(signal.SIGINT)
        stage.signals.send(signal.SIGINT)

    assert stage.play({"worker 0": ["deaf"]}, script) == 128 + signal.SIGINT


def test_roll_replaces_everybody_through_the_spare_lane(stage):
    def script(stage):
        wait_for(stage.is_ready)
        stage.signals.send(signal.SIGHUP)
        wait_for(lambda: all(len(stage.starts(r, [o])) == 2 for r, o in everybody))
        wait_for(lambda: len(stage.supervisor.crew.children) == 3 and not stage.supervisor.crew.rolls)
        lanes = [stage.starts(role, [ordinal])[1][0] for role, ordinal in everybody]
        assert lanes == [2, 0, 1]  # device 0 moves to the spare, device 1 to the lane it left
        assert [stage.segment.device(i).state for i in range(3)] == [READY, EMPTY, READY]
        stage.kill("device", 0, signal.SIGKILL)  # it is restarted where it lives now
        wait_for(lambda: len(stage.starts("device", [0])) == 3)
        assert stage.starts("device", [0])[2][0] == 2
        stop(stage)

    everybody = [("device", 0), ("device", 1), ("worker", 0)]
    assert stage.play({}, script, devices=2) == 0


def test_a_replacement_that_does_not_get_ready_changes_nothing(stage):
    def script(stage):
        wait_for(stage.is_ready)
        stage.signals.send(signal.SIGHUP)
        wait_for(lambda: len(stage.starts("device")) == 2)
        wait_for(lambda: len(stage.supervisor.crew.children) == 2 and not stage.supervisor.crew.rolls)
        assert stage.segment.device(0).state == READY
        assert len(stage.starts("worker")) == 1
        stop(stage)

    assert stage.play({"device 0": ["serve", "exit 1"]}, script) == 0


def test_the_old_process_may_die_while_its_replacement_starts(stage):
    def script(stage):
        wait_for(stage.is_ready)
        stage.signals.send(signal.SIGHUP)
        wait_for(lambda: len(stage.starts("device")) == 2)
        os.kill(stage.starts("device")[0][2], signal.SIGKILL)
        wait_for(lambda: stage.segment.device(1).state == READY and len(stage.starts("worker")) == 2)
        wait_for(lambda: len(stage.supervisor.crew.children) == 2 and not stage.supervisor.crew.rolls)
        assert len(stage.starts("device")) == 2
        stop(stage)

    assert stage.play({}, script) == 0
