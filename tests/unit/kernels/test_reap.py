"""What deaths leave behind: verdicts, orphans, hashes, pages."""

from pathlib import Path

import numpy as np
import pytest

from kernels import slots as s
from kernels.segment import Segment
from kernels.slots import Slots
from tests.slot_steps import (
    DEVICE_EPOCH,
    NEW_EPOCH,
    OTHER_EPOCH,
    REQUEST,
    WORKER_EPOCH,
    bring,
    incarnate,
)

KEPT = 16 << 20  # bytes that a big slot keeps


@pytest.fixture
def segment(no_leaks):
    with Segment.create(2, 2, [(1000, 2), (5000, 1)]) as segment:
        incarnate(segment)
        yield segment


@pytest.fixture
def slots(segment):
    return Slots(segment)


def die(slots, *claimed, epoch=DEVICE_EPOCH, **how):
    for slot in claimed:
        assert slots.claim(slot, slots.generation(slot), epoch)
    return slots.reap_device(epoch, **how)


@pytest.fixture
def two(slots):
    """Two READY slots."""
    for slot in (0, 1):
        assert slots.take(0, 1) == slot
        slots.publish(slot, **REQUEST)
    return slots


def judged(slots, slot):
    header = slots.header(slot)
    return header.attempts, header.alone_deaths, header.verdict


def test_two_deaths_alone_are_poison(two):
    assert die(two, 0) == ([0], [], [])
    assert judged(two, 0) == (1, 1, s.SUSPECT)
    assert die(two, 0, epoch=OTHER_EPOCH) == ([0], [0], [])
    assert judged(two, 0) == (2, 2, s.POISON)
    assert judged(two, 1) == (0, 0, s.CLEAR)


def test_death_of_a_batch_blames_nobody(two):
    assert die(two, 0, 1) == ([0, 1], [], [])
    assert judged(two, 0) == judged(two, 1) == (1, 0, s.SUSPECT)


def test_four_attempts_are_spent(two):
    for _ in range(3):
        die(two, 0, 1)
    assert judged(two, 0) == (3, 0, s.SUSPECT)
    assert die(two, 0, 1).poisoned == []
    assert judged(two, 0) == judged(two, 1) == (4, 0, s.SPENT)


def test_poison_outranks_spent(two):
    for _ in range(3):
        die(two, 0, 1)
    die(two, 0)
    assert judged(two, 0) == (4, 1, s.SPENT)
    die(two, 0)
    assert judged(two, 0) == (5, 2, s.POISON)


def test_forgiven_death_leaves_no_trace_and_only_the_last_is_forgiven(two):
    die(two, 0)
    die(two, 0)
    two.forgive(0)
    assert judged(two, 0) == (1, 1, s.SUSPECT)
    two.forgive(0)
    assert judged(two, 0) == (1, 1, s.SUSPECT)


def test_death_without_blame_teaches_nothing(two):
    assert die(two, 0, blame=False) == ([0], [], [])
    assert judged(two, 0) == (0, 0, s.CLEAR)
    assert two.ready() == [(0, 0), (1, 0)]


def test_forgiving_another_request_does_nothing(two):
    die(two, 0)
    two.withdraw(0, 0)
    two.take(0, 1)
    two.publish(0, **REQUEST)
    two.forgive(0)
    assert judged(two, 0) == (0, 0, s.CLEAR)


def test_hundreds_of_deaths_do_not_spill(two):
    for _ in range(300):
        die(two, 0)
    assert judged(two, 0) == (255, 15, s.POISON)
    assert two.header(0).generation == 0


def test_dead_device_computes_no_more(segment, slots):
    segment.device(0).stage_begin(5)
    segment.device(0).prepare_sleep()
    assert segment.computing() == 1
    slots.reap_device(DEVICE_EPOCH)
    assert segment.computing() == 0
    assert not segment.device(0).sleeping


def test_dead_worker_leaves_hashes_of_what_it_was_decoding(slots):
    for hashed in (0xABC, 0):
        slots.set_body_hash(slots.take(0, 1), hashed)
    slots.publish(slots.take(0, 1), **REQUEST)
    assert slots.reap_worker(0, WORKER_EPOCH) == ([0, 1, 2], [0xABC])
    assert slots.count(s.FREE) == 6


def test_old_hash_does_not_blame_the_next_request(slots):
    slots.take(0, 1)
    slots.set_body_hash(0, 0xABC)
    slots.release(0, 0)
    slots.take(0, 1)
    assert slots.reap_worker(0, WORKER_EPOCH) == ([0], [])


def test_worker_is_reaped_before_its_lane_is_given_away(segment, slots):
    segment.worker(0).incarnate(104, NEW_EPOCH)
    with pytest.raises(ValueError, match="reap first"):
        slots.reap_worker(0, WORKER_EPOCH)


def test_claimed_slot_of_a_dead_worker_is_freed_when_its_device_dies(segment, slots):
    bring(slots, "CLAIMED")
    assert slots.reap_worker(0, WORKER_EPOCH) == ([], [])
    assert slots.reap_device(DEVICE_EPOCH) == ([], [], [0])
    assert slots.count(s.FREE) == 6


@pytest.fixture
def big(no_leaks):
    with Segment.create(1, 1, [(KEPT + (4 << 20), 1)]) as segment:
        segment.worker(0).incarnate(100, WORKER_EPOCH)
        segment.device(0).incarnate(101, DEVICE_EPOCH)
        yield segment, Slots(segment)


def resident(segment):
    return Path(f"/proc/self/fd/{segment.fd}").stat().st_blocks * 512


def fill(slots):
    np.frombuffer(slots.data(slots.take(0, 1)), np.uint8)[:] = 1
    return slots.generation(0)


def by_release(slots, generation):
    assert slots.release(0, generation)


def by_withdraw(slots, generation):
    slots.publish(0, **REQUEST)
    assert slots.withdraw(0, generation)


def by_reaped_worker(slots, generation):
    assert slots.reap_worker(0, WORKER_EPOCH).freed == [0]


def by_orphan(slots, generation):
    slots.publish(0, **REQUEST)
    slots.claim(0, generation, DEVICE_EPOCH)
    slots.reap_worker(0, WORKER_EPOCH)
    assert not slots.finish(0, generation, DEVICE_EPOCH, 1)


def by_both_deaths(slots, generation):
    slots.publish(0, **REQUEST)
    slots.claim(0, generation, DEVICE_EPOCH)
    slots.reap_worker(0, WORKER_EPOCH)
    assert slots.reap_device(DEVICE_EPOCH).freed == [0]


@pytest.mark.parametrize("way", [by_release, by_withdraw, by_reaped_worker, by_orphan, by_both_deaths])
def test_big_slot_gives_its_pages_back(big, way):
    segment, slots = big
    generation = fill(slots)
    assert resident(segment) >= KEPT + (4 << 20)
    way(slots, generation)
    assert slots.count(s.FREE) == 1
    assert resident(segment) <= KEPT + (1 << 20)
    view = slots.data(0)
    assert view[KEPT - 1] == 1
    assert not any(view[KEPT : KEPT + 4096])
