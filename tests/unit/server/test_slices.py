"""Short slices are for the thread that asks, not for those it starts, nor where scheduling has been set."""

import os
import threading

import pytest

from server import slices


def in_thread(work):
    """What ``work()`` gives in a thread of its own, whose scheduling ends with it."""
    found = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


def test_a_thread_that_asks_gets_short_slices_and_those_it_starts_do_not():
    def asked():
        taken = slices.ask_for_short_slices()
        return taken, slices.slice_ns(), in_thread(slices.slice_ns)

    before = in_thread(slices.slice_ns)
    taken, own, started = in_thread(asked)
    if before == 0:
        pytest.skip("this kernel does not tell slices")
    assert taken
    assert own == slices.SLICE_NS < before
    assert started == before


def test_a_thread_of_another_policy_is_left_alone():
    def batch():
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        return slices.ask_for_short_slices(), os.sched_getscheduler(0)

    assert in_thread(batch) == (False, os.SCHED_BATCH)


def test_another_processor_architecture_is_left_alone(monkeypatch):
    monkeypatch.setattr(slices, "_NUMBERS", {})
    assert not slices.ask_for_short_slices()
    assert slices.slice_ns() == 0
