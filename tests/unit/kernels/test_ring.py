"""Rings: order, limits, taking over where a dead process stopped, damage."""

import os
import struct
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.ring import Ring
from kernels.segment import Segment


@pytest.fixture
def segment(no_leaks):
    with Segment.create(2, 3, [(1000, 5)]) as segment:
        yield segment


def test_capacity_is_a_power_of_two_of_at_least_twice_the_slots(no_leaks):
    for slots, capacity in [(1, 2), (2, 4), (3, 8), (5, 16), (16, 32), (4096, 8192)]:
        with Segment.create(1, 1, [(1, slots)]) as segment:
            assert Ring.to_device(segment, 0, 0).capacity == capacity


def test_hints_come_out_in_order_and_whole(segment):
    ring = Ring.to_device(segment, 0, 0)
    sent = [(0, 0), (9, 2**32 - 1), (5, 7)]
    assert [ring.push(*hint) for hint in sent] == [True] * 3
    assert len(ring) == 3
    assert [ring.pop() for _ in range(4)] == [*sent, None]


def test_full_ring_refuses_push_and_goes_on_after_pop(segment):
    ring, consumer = Ring.to_device(segment, 0, 0), Ring.to_device(segment, 0, 0)
    assert [ring.push(1, n) for n in range(17)] == [True] * 16 + [False]
    assert consumer.pop() == (1, 0)
    assert ring.push(1, 99)
    assert [consumer.pop()[1] for _ in range(16)] == [*range(1, 16), 99]


def test_every_pair_and_direction_has_a_ring_of_its_own(segment):
    rings = [(kind, w, d) for kind in (Ring.to_device, Ring.to_worker) for w in range(2) for d in range(3)]
    for number, (kind, worker, device) in enumerate(rings):
        kind(segment, worker, device).push(0, number)
    assert [kind(segment, w, d).pop() for kind, w, d in rings] == [(0, n) for n in range(12)]
    assert all(kind(segment, w, d).pop() is None for kind, w, d in rings)


def test_next_incarnation_goes_on_where_the_last_one_stopped(segment):
    for n in range(40):
        assert Ring.to_device(segment, 1, 2).push(3, n)
        assert len(Ring.to_device(segment, 1, 2)) == 1
        assert Ring.to_device(segment, 1, 2).pop() == (3, n)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.booleans(), max_size=200))
def test_ring_is_a_bounded_queue(pushes):
    with Segment.create(1, 1, [(1, 3)]) as segment:
        producer, consumer = Ring.to_worker(segment, 0, 0), Ring.to_worker(segment, 0, 0)
        queue = []
        for number, push in enumerate(pushes):
            if push:
                assert producer.push(number % 3, number) == (len(queue) < 8)
                queue = [*queue, (number % 3, number)][:8]
            else:
                assert consumer.pop() == (queue.pop(0) if queue else None)
            assert len(producer) == len(consumer) == len(queue)


def poke(segment, marker, value):
    """Overwrite the ring's head, found by the entry behind it."""
    raw = os.pread(segment.fd, 1 << 20, 0)
    entry = raw.index(struct.pack("<II", *marker))
    os.pwrite(segment.fd, struct.pack("<Q", value), entry - 256)


def test_damaged_index_empties_the_ring(segment):
    ring, consumer = Ring.to_device(segment, 0, 0), Ring.to_device(segment, 0, 0)
    ring.push(3, 0xABCDEF)
    poke(segment, (3, 0xABCDEF), 2**63)
    assert len(consumer) == 0
    assert consumer.pop() is None
    assert ring.push(4, 5)
    assert Ring.to_device(segment, 0, 0).pop() == (4, 5)


def test_damaged_hint_is_skipped(segment):
    ring = Ring.to_device(segment, 0, 0)
    ring.push(3, 0xABCDEF)
    ring.push(4, 1)
    raw = os.pread(segment.fd, 1 << 20, 0)
    at = raw.index(struct.pack("<II", 3, 0xABCDEF))
    os.pwrite(segment.fd, struct.pack("<I", 10), at)  # slots are 0..9
    assert ring.pop() == (4, 1)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        pytest.param(lambda s: Ring.to_device(s, 2, 0), IndexError, id="no-such-worker"),
        pytest.param(lambda s: Ring.to_worker(s, 0, -1), IndexError, id="no-such-device"),
        pytest.param(lambda s: Ring.to_worker(None, 0, 0), TypeError, id="no-segment"),
        pytest.param(lambda s: Ring(), TypeError, id="made-directly"),
        pytest.param(lambda s: Ring.__new__(Ring).pop(), AttributeError, id="never-made"),
        pytest.param(lambda s: Ring.to_device(s, 0, 0).push(10, 0), IndexError, id="no-such-slot"),
        pytest.param(
            lambda s: Ring.to_device(s, 0, 0).push(0, 2**32), OverflowError, id="generation-too-large"
        ),
    ],
)
def test_wrong_argument_is_refused(segment, call, error):
    with pytest.raises(error):
        call(segment)


def test_closed_segment_is_refused(no_leaks):
    segment = Segment.create(1, 1, [(1, 1)])
    ring = Ring.to_device(segment, 0, 0)
    segment.close()
    for call in (ring.pop, ring.__len__, lambda: ring.push(0, 0), lambda: Ring.to_device(segment, 0, 0)):
        with pytest.raises(ValueError, match="closed"):
            call()


CONSUMER = """
import sys
from kernels.ring import Ring
from kernels.segment import Segment
segment = Segment.attach(int(sys.argv[1]))
ring = Ring.to_device(segment, 0, 0)
expected = 0
while expected < int(sys.argv[2]):
    hint = ring.pop()
    if hint is not None:
        assert hint == (expected % 5, expected), hint
        expected += 1
print(expected)
"""


def test_numbers_arrive_in_order_in_another_process(segment):
    count = 20_000
    child = subprocess.Popen(
        [sys.executable, "-c", CONSUMER, str(segment.fd), str(count)],
        pass_fds=[segment.fd], stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    ring = Ring.to_device(segment, 0, 0)
    sent = 0
    while sent < count and child.poll() is None:
        sent += ring.push(sent % 5, sent)
    assert child.communicate(timeout=60)[0] == f"{count}\n"
    assert child.returncode == 0
