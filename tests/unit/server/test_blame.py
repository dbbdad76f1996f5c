"""Whose fault a death was, and what is refused afterwards."""

import os
import signal
import subprocess
import sys

import pytest

from kernels.segment import Segment, monotonic_ns
from kernels.slots import CLEAR, POISON, READY, SPENT, SUSPECT, Slots
from server.blame import Blame, MemoryKills, find_cause, is_stopped
from tests.conditions import wait_for

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.mark.parametrize(
    ("returncode", "hang", "stopped", "memory", "cause"),
    [
        pytest.param(-signal.SIGSEGV, None, False, False, "item", id="segfault"),
        pytest.param(-signal.SIGABRT, None, False, False, "item", id="abort"),
        pytest.param(-signal.SIGBUS, None, False, True, "item", id="bus error"),
        pytest.param(255, None, False, False, "item", id="framework ended the process"),
        pytest.param(1, None, False, False, "item", id="uncaught exception"),
        pytest.param(-signal.SIGKILL, None, False, False, "outside", id="kill -9"),
        pytest.param(-signal.SIGTERM, None, False, False, "outside", id="kill"),
        pytest.param(0, None, False, False, "outside", id="asked to leave"),
        pytest.param(-signal.SIGKILL, None, False, True, "memory", id="memory cgroup"),
        pytest.param(-signal.SIGKILL, "stage", False, False, "item", id="killed as hung in a stage"),
        pytest.param(-signal.SIGKILL, "loop", False, True, "item", id="killed as hung"),
        pytest.param(-signal.SIGKILL, "heartbeat", True, False, "outside", id="was stopped by somebody"),
    ],
)
def test_cause(returncode, hang, stopped, memory, cause):
    assert find_cause(returncode, hang, stopped, memory) == cause


def test_a_stopped_process_is_told_from_a_running_one():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert not is_stopped(process.pid)
        process.send_signal(signal.SIGSTOP)
        wait_for(lambda: is_stopped(process.pid))
    finally:
        process.kill()
        process.communicate()
    assert not is_stopped(process.pid)


@pytest.mark.parametrize(
    ("membership", "file", "text"),
    [
        pytest.param("0::/box\n", "box/memory.events", "low 0\noom 3\noom_kill {}\n", id="v2"),
        pytest.param("0::/box\n", "memory.events", "oom_kill {}\n", id="v2 seen from inside"),
        pytest.param(
            "4:memory:/box\n0::/\n", "memory/box/memory.oom_control", "under_oom 0\noom_kill {}\n", id="v1"
        ),
    ],
)
def test_memory_kills_are_counted(tmp_path, membership, file, text):
    events, proc = tmp_path / file, tmp_path / "cgroup"
    events.parent.mkdir(parents=True, exist_ok=True)
    events.write_text(text.format(2))
    proc.write_text(membership)
    kills = MemoryKills(tmp_path, proc)
    assert not kills.grew()
    events.write_text(text.format(3))
    assert kills.grew()
    assert not kills.grew()


def test_memory_kills_without_a_cgroup_are_none(tmp_path):
    assert not MemoryKills(tmp_path, tmp_path / "missing").grew()


class World:
    """One worker, two device lanes, and the supervisor's view; all in this process."""

    def __init__(self):
        self.segment = Segment.create(1, 2, [(1 << 20, 8)])
        self.slots = Slots(self.segment)
        self.blame = Blame(self.segment, self.slots, 600 * 10**9)
        self.epoch = 1
        self.segment.worker(0).incarnate(os.getpid(), self.epoch)

    def device(self):
        """A new incarnation; its epoch."""
        self.epoch += 1
        self.segment.device(0).incarnate(os.getpid(), self.epoch)
        return self.epoch

    def publish(self, body_hash=0):
        slot = self.slots.take(0, 100)
        if body_hash:
            self.slots.set_body_hash(slot, body_hash)
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

    def die(self, cause, *claims):
        """A device claims and dies."""
        epoch = self.device()
        for slot, generation in claims:
            assert self.slots.claim(slot, generation, epoch)
        return self.blame.reap_device(epoch, cause, monotonic_ns())


@pytest.fixture
def world(no_leaks):
    world = World()
    yield world
    world.segment.close()


def test_kills_from_outside_blame_nobody_however_often(world):
    claim = world.publish(77)
    for _ in range(10):
        world.die("outside", claim)
    header = world.slots.header(claim[0])
    assert (header.state, header.verdict, header.attempts) == (READY, CLEAR, 0)
    assert world.segment.quarantined == 0


def test_two_deaths_alone_poison_and_quarantine_the_body(world):
    claim = world.publish(77)
    world.die("item", claim)
    assert world.slots.header(claim[0]).verdict == SUSPECT
    assert world.segment.quarantined == 0
    assert "1 refused" in world.die("item", claim)
    assert world.slots.header(claim[0]).verdict == POISON
    assert world.segment.is_quarantined(77)
    assert not world.segment.is_quarantined(78)


def test_a_death_in_company_poisons_nobody(world):
    first, second = world.publish(77), world.publish(78)
    for _ in range(3):
        world.die("item", first, second)
    assert [world.slots.header(slot).verdict for slot, _ in (first, second)] == [SUSPECT, SUSPECT]
    world.die("item", first, second)
    assert [world.slots.header(slot).verdict for slot, _ in (first, second)] == [SPENT, SPENT]
    assert world.segment.quarantined == 0


def test_memory_kills_are_pardoned_twice_per_request(world):
    """A big neighbour may be the cause; a request that is there every time is."""
    claim = world.publish(77)
    for _ in range(2):
        world.die("memory", claim)
    assert world.slots.header(claim[0]).alone_deaths == 0
    for _ in range(2):
        world.die("memory", claim)
    assert world.slots.header(claim[0]).verdict == POISON


def test_pardons_end_with_the_request(world):
    first = world.publish(77)
    world.die("memory", first)
    world.die("memory", first)
    assert world.slots.withdraw(*first)
    again = world.publish(78)
    assert again[0] == first[0]
    world.die("memory", again)
    world.die("memory", again)
    assert world.slots.header(again[0]).attempts == 0


def die_decoding(world, cause, *hashes):
    world.epoch += 1
    world.segment.worker(0).incarnate(os.getpid(), world.epoch)
    for body_hash in hashes:
        world.slots.set_body_hash(world.slots.take(0, 100), body_hash)
    return world.blame.reap_worker(0, world.epoch, cause, monotonic_ns())


def test_two_worker_deaths_on_one_body_quarantine_it(world):
    assert "1 slots came back" in die_decoding(world, "item", 5)
    assert world.segment.quarantined == 0
    die_decoding(world, "item", 6)
    assert world.segment.quarantined == 0
    die_decoding(world, "item", 5)
    assert world.segment.is_quarantined(5) and not world.segment.is_quarantined(6)


def test_workers_killed_from_outside_accuse_no_body(world):
    for _ in range(3):
        die_decoding(world, "outside", 5)
    assert world.segment.quarantined == 0
