"""Large runs: one at a time on a machine's CPUs, and what a device does while it is not its turn."""

import contextlib
import subprocess
import sys

import pytest

from kernels.segment import Segment, monotonic_ns
from server.large_runs import LARGE_BYTES, LargeRuns
from tests.conditions import wait_for

LARGE = LARGE_BYTES + 1
HOLDER = """
import sys
from server.large_runs import LargeRuns
assert LargeRuns(int(sys.argv[1]), limited=True).enter()
print("inside", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def held_elsewhere(fd):
    """Another process has the place; gives that process."""
    command = [sys.executable, "-c", HOLDER, str(fd)]
    with subprocess.Popen(command, pass_fds=(fd,), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout.readline() == b"inside\n"
            yield holder
        finally:
            holder.kill()


@pytest.fixture
def segment(no_leaks):
    with Segment.create(1, 2, [(4096, 2)]) as segment:
        yield segment


def test_one_process_is_inside_at_a_time(segment):
    place = LargeRuns(segment.fd, limited=True)
    with held_elsewhere(segment.fd) as holder:
        assert not place.enter()
        holder.stdin.close()
        holder.wait()
        assert place.enter()
        assert place.enter()
    place.leave()
    place.leave()


def test_a_process_that_is_killed_inside_leaves_it(segment):
    place = LargeRuns(segment.fd, limited=True)
    with held_elsewhere(segment.fd) as holder:
        holder.kill()
        holder.wait()
        assert place.enter()
        place.leave()


def test_where_there_is_no_limit_everybody_is_inside(segment):
    with held_elsewhere(segment.fd):
        place = LargeRuns(segment.fd, limited=False)
        assert place.enter()
        place.leave()


# --- what the device does meanwhile


def test_a_large_run_waits_for_its_turn_and_smaller_work_goes_on(make):
    world = make(window=2)
    large = world.send(values=(1,), key="large", scratch=LARGE, deadline_s=10)
    small = world.send(values=(2,), deadline_s=20)
    with held_elsewhere(world.segment.fd) as holder:
        wait_for(lambda: world.loop.turn() is not None and world.stage.log)
        assert [inputs for _, inputs in world.stage.log] == [[2]]
        until = world.loop.turn()
        assert until is not None and 0 < until - monotonic_ns() < 10**7, "it looks again soon"
        holder.kill()
        holder.wait()
    world.turns()
    assert [inputs for _, inputs in world.stage.log] == [[2], [1]]
    assert world.answer(large).doubles == [2] and world.answer(small).doubles == [4]


def test_work_that_would_have_stayed_free_is_taken_in_while_a_large_run_waits(make):
    world = make(window=3)
    world.send(values=(1, 2, 3, 4), scratch=LARGE, deadline_s=10)  # more than enough for now
    second = world.send(values=(5,), deadline_s=20)
    with held_elsewhere(world.segment.fd):
        wait_for(lambda: world.loop.turn() is not None and world.stage.log)
        assert world.answer(second).doubles == [10]
    world.turns()


def test_the_place_is_free_after_a_large_run_that_fails(make):
    world = make()
    world.send(values=(1,), scratch=LARGE, trouble="batch")
    world.turns()
    with held_elsewhere(world.segment.fd):
        pass


def test_a_large_run_on_one_share_gives_its_memory_back_at_once(make, monkeypatch):
    world = make()
    world.segment.device(1).stage_begin(10**9)  # the other device computes
    share = world.stages.engine(world.stage, whole=False)
    trims = []

    def trim(engine):
        trims.append(engine)

    monkeypatch.setattr(type(share), "trim", trim)
    world.send(values=(1,))
    world.turns()
    assert share not in trims
    world.send(values=(1,), scratch=LARGE)
    world.turns()
    assert trims.count(share) == 1


def test_who_makes_way_for_another_keeps_no_place_meanwhile(make):
    """Its deadline may pass first, and nobody would give the place back."""
    world = make(makes_way=True)
    world.segment.device(1).stage_begin(5_000_000, True)
    world.send(scratch=LARGE)
    assert world.loop.turn()
    assert world.count("device_made_way") == 1
    with held_elsewhere(world.segment.fd):
        pass
