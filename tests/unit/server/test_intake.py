"""Which item a device claims next."""

import os

import pytest

from kernels.ring import Ring
from kernels.segment import monotonic_ns
from kernels.slots import YIELDS
from server.intake import Intake
from tests.standin import Memory

SECOND = 10**9


class Line:
    """Items that wait for one device; ``claim`` gives their names in the order of its choice."""

    def __init__(self, memory):
        self._memory = memory
        self._ring = Ring.to_device(memory.segment, 0, 0)
        self.device = memory.segment.device(0)
        self.device.incarnate(os.getpid(), 9)
        self._intake = Intake(
            memory.segment, memory.slots, self.device, memory.device_events[0], memory.metrics()
        )
        self._names = {}

    def add(self, name, *, batch=False, cost_us=1000, deadline_s=60):
        slots = self._memory.slots
        slot = slots.take(0, 10)
        generation = slots.publish(
            slot, request_id=1, deadline_ns=monotonic_ns() + deadline_s * SECOND,
            operation=YIELDS if batch else 0, device=0, cost_us=cost_us, request_bytes=1,
        )  # fmt: skip
        self._ring.push(slot, generation)
        self._names[slot] = name

    def claim(self):
        self._intake.collect()
        claim = self._intake.claim(busy=False)
        if claim is None:
            return None
        slots = self._memory.slots
        slots.finish(claim.slot, claim.generation, self.device.epoch, 0)
        slots.release(claim.slot, claim.generation)
        return self._names.pop(claim.slot)

    def claims(self, count):
        return "".join(self.claim() for _ in range(count))


@pytest.fixture
def line():
    with Memory(classes=((1000, 64),)) as memory:
        made = Line(memory)
        yield made
        made.__dict__.clear()


def test_the_earliest_deadline_comes_first(line):
    for name, deadline_s in (("c", 30), ("a", 10), ("b", 20)):
        line.add(name, deadline_s=deadline_s)
    assert line.claims(3) == "abc"
    assert line.claim() is None


def test_low_priority_gives_way_whatever_its_deadline(line):
    line.add("b", batch=True, deadline_s=1)
    line.add("i", deadline_s=60)
    assert line.claims(2) == "ib"


def test_low_priority_gets_an_eighth_of_the_time_while_urgent_work_never_ends(line):
    for _ in range(8):
        line.add("b", batch=True)
    order = ""
    while len(order) < 64:
        line.add("i")
        order += line.claim()
    assert order.count("b") == 8
    assert order == "iiiiiiib" * 8


def test_the_share_is_one_of_time_not_of_items(line):
    line.add("B", batch=True, cost_us=10_000)
    order = ""
    while "B" not in order:
        line.add("i")
        order += line.claim()
    assert order == 70 * "i" + "B"


def test_what_low_priority_could_have_had_while_it_did_not_wait_is_not_owed(line):
    for _ in range(50):
        line.add("i")
        line.claim()
    line.add("b", batch=True)
    line.add("i")
    assert line.claims(2) == "ib"
