"""Every edge of the state word and every refused one; beside the slow twin and the written page."""

import itertools
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kernels import slots as s
from kernels.segment import Segment
from kernels.slots import Slots
from tests.reference.slots_model import EDGES, RACED, Model
from tests.slot_steps import (
    DEVICE_EPOCH,
    NEW_EPOCH,
    OTHER_EPOCH,
    REQUEST,
    STATES,
    WORKER_EPOCH,
    bring,
)

DOC = Path(__file__).resolve().parents[3] / "docs" / "shared-memory.md"

CALLS = {
    ("worker", "take"): lambda t, g, e: t.take(0, 1),
    ("worker", "publish"): lambda t, g, e: t.publish(0, **REQUEST),
    ("worker", "withdraw"): lambda t, g, e: t.withdraw(0, g),
    ("worker", "release"): lambda t, g, e: t.release(0, g),
    ("worker", "abandon"): lambda t, g, e: t.abandon(0, g),
    ("worker", "result"): lambda t, g, e: t.result(0, g),
    ("device", "claim"): lambda t, g, e: t.claim(0, g, e),
    ("device", "finish"): lambda t, g, e: t.finish(0, g, e, 66),
    ("device", "reap_orphan"): lambda t, g, e: t.reap_orphan(0, g, e),
    ("supervisor", "reap_device"): lambda t, g, e: t.reap_device(e),
    ("supervisor", "forgive"): lambda t, g, e: t.forgive(0),
    ("supervisor", "reap_worker"): lambda t, g, e: t.reap_worker(0, WORKER_EPOCH),
}


def edges_of(call, generation_off, epoch, owner_dead):
    """The edges that one call makes over all states of a slot."""
    found = set()
    for state in STATES:
        with Segment.create(1, 2, [(1000, 1)]) as segment:
            segment.worker(0).incarnate(100, WORKER_EPOCH)
            segment.device(0).incarnate(101, DEVICE_EPOCH)
            slots = Slots(segment)
            generation = bring(slots, state)
            if owner_dead:
                segment.worker(0).incarnate(103, NEW_EPOCH)
            try:
                CALLS[call](slots, generation + generation_off, epoch)
            except ValueError:
                assert call in {("worker", "publish"), ("supervisor", "reap_worker")}
            after = slots.header(0)
            grown = after.generation - generation
            if (STATES[after.state], grown) != (state, 0):
                found.add((state, STATES[after.state], bool(grown)))
    return found


def made_by(call):
    return {edge for edge, actors in EDGES.items() if call in actors and (edge, call) not in RACED}


#: calls that do not look at the generation or the epoch in the first place
BLIND = {("worker", "take"), ("worker", "publish"), ("supervisor", "forgive"), ("supervisor", "reap_worker")}


@pytest.mark.parametrize("call", CALLS, ids="-".join)
def test_call_makes_its_edges_and_no_other(call, no_leaks):
    orphan_edge = ("CLAIMED", "FREE", True)
    living = made_by(call) - ({orphan_edge} if call[0] != "worker" else set())
    assert edges_of(call, 0, DEVICE_EPOCH, owner_dead=False) == living
    if call not in BLIND:
        refused = edges_of(call, 1, DEVICE_EPOCH, owner_dead=False)
        assert refused == (living if call == ("supervisor", "reap_device") else set())
        wrong_epoch = edges_of(call, 0, OTHER_EPOCH, owner_dead=False)
        expected = (
            set()
            if made_by(call) & {("CLAIMED", "DONE", False), ("CLAIMED", "READY", False), orphan_edge}
            else living
        )
        assert wrong_epoch == expected


@pytest.mark.parametrize("call", [c for c in CALLS if ("CLAIMED", "FREE", True) in made_by(c)], ids="-".join)
def test_orphan_of_a_dead_worker_is_freed(call, no_leaks):
    assert edges_of(call, 0, DEVICE_EPOCH, owner_dead=True) == {("CLAIMED", "FREE", True)}


def test_edges_of_the_page_are_the_edges_of_the_code():
    rows = re.findall(r"^\| (\w+) → (\w+)(\(g\+1\))? \| ([^|]*) \| ([^|]*) \|", DOC.read_text(), re.MULTILINE)
    found = {}
    for before, after, grows, actor, methods in rows:
        key = (before, after, bool(grows))
        found.setdefault(key, set()).update((actor.strip(), m) for m in re.findall(r"`(\w+)`", methods))
    assert found == EDGES


class Walk(RuleBasedStateMachine):
    """Any actor does anything at any time; kernel and model agree on every answer."""

    def __init__(self):
        super().__init__()
        capacities = [100, 100, 1000]
        self.segment = Segment.create(2, 2, [(100, 2), (1000, 1)])
        self.slots = Slots(self.segment)
        self.model = Model(2, 2, capacities)
        self.epochs = itertools.count(1)
        for worker in range(2):
            self.new_worker(worker)
        for device in range(2):
            self.new_device(device)

    def teardown(self):
        self.segment.close()

    def new_worker(self, worker):
        self.model.worker_epochs[worker] = epoch = next(self.epochs)
        self.segment.worker(worker).incarnate(1000, epoch)

    def new_device(self, device):
        self.model.device_epochs[device] = epoch = next(self.epochs)
        self.segment.device(device).incarnate(1000, epoch)

    slot = st.integers(0, 5)
    which = st.integers(0, 1)
    off = st.sampled_from([0, 0, 0, 0, 0, 1, 2**32 - 1])

    def generation(self, slot, off):
        return (self.model.slots[slot].generation + off) % 2**32

    @rule(worker=which, nbytes=st.sampled_from([0, 100, 101, 1001]))
    def take(self, worker, nbytes):
        assert self.slots.take(worker, nbytes) == self.model.take(worker, nbytes)

    @rule(slot=slot, value=st.integers(1, 2**64 - 1))
    def set_body_hash(self, slot, value):
        if self.model.slots[slot].state == s.WRITING:
            self.slots.set_body_hash(slot, value)
            self.model.slots[slot].body_hash = value

    @rule(
        slot=slot,
        request_id=st.integers(0, 2**64 - 1),
        device=which,
        cost=st.integers(0, 2**32 - 1),
        yields=st.booleans(),
    )
    def publish(self, slot, request_id, device, cost, yields):
        expected = self.model.publish(slot, request_id, device, cost, 77, yields)
        operation = 2 | (s.YIELDS if yields else 0)
        request = {"request_id": request_id, "deadline_ns": 1, "operation": operation, "device": device}
        if expected is None:
            with pytest.raises(ValueError, match="not being written"):
                self.slots.publish(slot, **request, cost_us=cost, request_bytes=77)
        else:
            assert self.slots.publish(slot, **request, cost_us=cost, request_bytes=77) == expected

    @rule(slot=slot, off=off, name=st.sampled_from(["withdraw", "release", "result", "abandon"]))
    def owner_call(self, slot, off, name):
        generation = self.generation(slot, off)
        assert getattr(self.slots, name)(slot, generation) == getattr(self.model, name)(slot, generation)

    @rule(slot=slot, off=off, device=which)
    def claim(self, slot, off, device):
        arguments = (slot, self.generation(slot, off), self.model.device_epochs[device])
        assert self.slots.claim(*arguments) == self.model.claim(*arguments)

    @rule(slot=slot, off=off, device=which, nbytes=st.integers(0, 100))
    def finish(self, slot, off, device, nbytes):
        arguments = (slot, self.generation(slot, off), self.model.device_epochs[device], nbytes)
        assert self.slots.finish(*arguments) == self.model.finish(*arguments)

    @rule(slot=slot, off=off, device=which)
    def reap_orphan(self, slot, off, device):
        arguments = (slot, self.generation(slot, off), self.model.device_epochs[device])
        assert self.slots.reap_orphan(*arguments) == self.model.reap_orphan(*arguments)

    @rule(device=which, blame=st.booleans())
    def device_dies(self, device, blame):
        epoch = self.model.device_epochs[device]
        assert self.slots.reap_device(epoch, blame=blame) == self.model.reap_device(epoch, blame)
        self.new_device(device)

    @rule(slot=slot)
    def forgive(self, slot):
        self.slots.forgive(slot)
        self.model.slots[slot].fate.forgive()

    @rule(worker=which, reap=st.booleans())
    def worker_dies(self, worker, reap):
        if reap:
            reaped = self.slots.reap_worker(worker, self.model.worker_epochs[worker])
            assert reaped == self.model.reap_worker(worker)
        self.new_worker(worker)

    @invariant()
    def same_table(self):
        for slot, it in enumerate(self.model.slots):
            header = self.slots.header(slot)
            fate = it.fate
            assert (header.state, header.generation, header.epoch) == (it.state, it.generation, it.epoch)
            assert (header.attempts, header.alone_deaths, header.verdict) == (
                fate.attempts, fate.alone_deaths, fate.verdict,
            )  # fmt: skip
            assert (header.owner, header.owner_epoch, header.body_hash) == (
                it.owner,
                it.owner_epoch,
                it.body_hash,
            )
            assert (header.abandoned, header.result_bytes) == (it.abandoned, it.result_bytes)
        assert self.slots.ready() == self.model.ready()
        assert self.slots.pending_us() == self.model.pending_us()
        assert self.slots.pending_us(urgent=True) == self.model.pending_us(urgent=True)
        assert [self.slots.done(w) for w in (0, 1)] == [self.model.done(w) for w in (0, 1)]


TestWalk = Walk.TestCase
TestWalk.settings = settings(
    max_examples=60, stateful_step_count=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
