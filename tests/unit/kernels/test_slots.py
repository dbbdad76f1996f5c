"""Slots seen by workers and devices: takes, journeys, results, costs, refused arguments."""

import os

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

OVERSIZED = REQUEST | {"request_bytes": 1001}


@pytest.fixture
def segment(no_leaks):
    with Segment.create(2, 2, [(1000, 2), (5000, 1)]) as segment:
        incarnate(segment)
        yield segment


@pytest.fixture
def slots(segment):
    return Slots(segment)


def test_take_gives_the_smallest_free_slot_that_fits(slots):
    assert [slots.take(0, n) for n in (1001, 1000, 0, 1)] == [2, 0, 1, -1]
    assert slots.take(0, 5001) == -1
    assert slots.take(1, 1) == 3


def test_small_requests_may_use_bigger_slots(slots):
    assert [slots.take(0, 1) for _ in range(4)] == [0, 1, 2, -1]


def test_header_tells_the_whole_journey(segment, slots):
    before = segment.worker(0).tick_ns
    slot = slots.take(0, 1)
    slots.set_body_hash(slot, 2**64 - 1)
    generation = slots.publish(slot, **REQUEST)
    slots.abandon(slot, generation)
    slots.claim(slot, generation, DEVICE_EPOCH)
    slots.finish(slot, generation, DEVICE_EPOCH, 66)
    header = slots.header(slot)
    assert header[:16] == (
        s.DONE, 0, DEVICE_EPOCH, 11, 22, 0, WORKER_EPOCH, 0, True, 33, 0, 0, s.CLEAR, 44, 2**64 - 1, 55,
    )  # fmt: skip
    assert header.result_bytes == 66
    assert before <= header.t_ready_ns <= header.t_claimed_ns <= header.t_done_ns


def test_next_use_of_a_slot_starts_clean(slots):
    generation = bring(slots, "CLAIMED")
    slots.abandon(0, generation)
    slots.reap_device(DEVICE_EPOCH)
    slots.withdraw(0, generation)
    assert slots.take(0, 1) == 0
    slots.publish(0, **(REQUEST | {"request_bytes": 1}))
    header = slots.header(0)
    assert (header.generation, header.abandoned, header.attempts, header.verdict) == (1, False, 0, s.CLEAR)
    assert (header.body_hash, header.result_bytes, header.t_claimed_ns, header.t_done_ns) == (0, 0, 0, 0)


def test_body_hash_is_set_only_while_writing(slots):
    bring(slots, "READY")
    with pytest.raises(ValueError, match="not being written"):
        slots.set_body_hash(0, 1)


def test_data_areas_do_not_touch(slots):
    for slot in range(6):
        view = slots.data(slot)
        assert (len(view), view.format, view.readonly) == (slots.capacity(slot), "B", False)
        view[:] = bytes([slot + 1]) * len(view)
    assert [set(slots.data(slot)) for slot in range(6)] == [{slot + 1} for slot in range(6)]


def test_result_length_that_cannot_be_reads_as_zero(segment, slots):
    bring(slots, "DONE")
    raw = os.pread(segment.fd, 1 << 20, 0)
    at = raw.index((66).to_bytes(8, "little"))  # result_bytes, the only 66 in the segment
    os.pwrite(segment.fd, (10**12).to_bytes(8, "little"), at)
    assert slots.result(0, 0) == 0
    assert slots.header(0).result_bytes == 0


def test_done_lists_only_what_this_incarnation_owns(segment, slots):
    generation = bring(slots, "DONE")
    assert slots.done(0) == [(0, generation)]
    assert slots.done(1) == []
    segment.worker(0).incarnate(104, NEW_EPOCH)
    assert slots.done(0) == []


def test_what_gives_way_is_no_urgent_work_until_it_is_claimed(slots):
    for slot, operation in enumerate([1, 1 | s.YIELDS]):
        slots.take(0, 1)
        slots.publish(slot, **(REQUEST | {"device": 0, "cost_us": 10**slot, "operation": operation}))
    assert slots.pending_us() == [11, 0]
    assert slots.pending_us(urgent=True) == [1, 0]
    slots.claim(1, 0, OTHER_EPOCH)
    assert slots.pending_us(urgent=True) == [1, 10]


def test_pending_follows_the_device_that_has_it(slots):
    for slot, (device, cost) in enumerate([(0, 1), (0, 10), (1, 100)]):
        slots.take(0, 1)
        slots.publish(slot, **(REQUEST | {"device": device, "cost_us": cost}))
    assert slots.pending_us() == [11, 100]
    slots.claim(0, 0, OTHER_EPOCH)  # stolen by device 1
    assert slots.pending_us() == [10, 101]
    slots.finish(0, 0, OTHER_EPOCH, 1)
    assert slots.pending_us() == [10, 100]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        pytest.param(lambda t: t.header(6), IndexError, id="slot-too-large"),
        pytest.param(lambda t: t.data(-1), IndexError, id="slot-negative"),
        pytest.param(lambda t: t.take(2, 1), IndexError, id="worker-too-large"),
        pytest.param(lambda t: t.done(-1), IndexError, id="worker-negative"),
        pytest.param(lambda t: t.take(0, -1), ValueError, id="negative-bytes"),
        pytest.param(lambda t: t.claim(0, 0, 0), ValueError, id="epoch-zero"),
        pytest.param(lambda t: t.claim(0, 0, 2**24), ValueError, id="epoch-too-large"),
        pytest.param(lambda t: t.claim(0, 2**32, 1), OverflowError, id="generation-too-large"),
        pytest.param(lambda t: t.release(0, -1), OverflowError, id="generation-negative"),
        pytest.param(lambda t: t.finish(0, 0, 1, 1001), ValueError, id="result-larger-than-slot"),
        pytest.param(lambda t: t.publish(0, **(REQUEST | {"device": 2})), IndexError, id="no-such-device"),
        pytest.param(lambda t: t.publish(t.take(0, 1), **OVERSIZED), ValueError, id="record-too-large"),
        pytest.param(lambda t: t.publish(0, **REQUEST), ValueError, id="publish-what-is-not-written"),
        pytest.param(lambda t: t.count(5), ValueError, id="no-such-state"),
        pytest.param(lambda t: t.reap_worker(0, 0), ValueError, id="reap-epoch-zero"),
        pytest.param(lambda t: Slots(None), TypeError, id="no-segment"),
    ],
)  # fmt: skip
def test_wrong_argument_is_refused(slots, call, error):
    with pytest.raises(error):
        call(slots)
    assert slots.count(s.FREE) + slots.count(s.WRITING) == 6


def test_every_method_refuses_a_closed_segment(no_leaks):
    segment = Segment.create(1, 1, [(1000, 1)])
    slots = Slots(segment)
    segment.close()
    calls = [
        lambda: slots.take(0, 1), lambda: slots.data(0), lambda: slots.capacity(0), slots.ready,
        lambda: slots.set_body_hash(0, 1), lambda: slots.publish(0, **REQUEST), lambda: slots.abandon(0, 0),
        lambda: slots.withdraw(0, 0), lambda: slots.result(0, 0), lambda: slots.release(0, 0),
        lambda: slots.done(0), lambda: slots.generation(0), lambda: slots.claim(0, 0, 1),
        lambda: slots.finish(0, 0, 1, 1), lambda: slots.reap_orphan(0, 0, 1), lambda: slots.header(0),
        slots.pending_us, lambda: slots.count(0), lambda: slots.reap_device(1),
        lambda: slots.reap_worker(0, 1), lambda: slots.forgive(0),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ValueError, match="closed"):
            call()
