"""Shared limits: equal to a bucket of tokens, kept by several processes, and free again when one dies."""

import mmap
import os
import signal
import threading
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.quota import Quota, quota_bytes


def shared(entries, processes):
    return mmap.mmap(-1, quota_bytes(entries, processes))


class Bucket:
    """The slow twin: tokens come evenly, in whole nanoseconds."""

    def __init__(self, interval_ns, burst):
        self.full = interval_ns * burst
        self.interval, self.filled, self.at = interval_ns, self.full, 0

    def take(self, now):
        self.filled, self.at = min(self.full, self.filled + now - self.at), now
        if self.filled < self.interval:
            return self.interval - self.filled
        self.filled -= self.interval
        return 0


@given(st.integers(1, 1000), st.integers(1, 8), st.lists(st.integers(0, 1500), max_size=60))
def test_a_rate_is_a_bucket_of_tokens(interval, burst, pauses):
    quota, bucket, now = Quota(shared(4, 1), 4, 1, 0), Bucket(interval, burst), 10**9
    bucket.at = now
    place = quota.place(5)
    for pause in pauses:
        now += pause
        assert quota.take(place, now, interval, burst) == bucket.take(now)


@given(st.lists(st.integers(1, 2**64 - 1), unique=True, min_size=1, max_size=12))
def test_names_keep_their_places_until_the_table_is_full(names):
    memory = shared(8, 2)
    first, second = Quota(memory, 8, 2, 0), Quota(memory, 8, 2, 1)
    places = [first.place(name) for name in names]
    assert [second.place(name) for name in names] == places
    taken = [place for place in places if place is not None]
    assert len(set(taken)) == len(taken) == min(8, len(names))
    assert places[8:] == [None] * max(0, len(names) - 8)


def test_the_number_inside_is_counted_over_processes():
    memory = shared(4, 3)
    one, two, three = (Quota(memory, 4, 3, own) for own in range(3))
    place = one.place(7)
    assert one.enter(place, 2)
    assert two.enter(place, 2)
    assert not three.enter(place, 2)
    assert three.inside(place) == 2, "what was refused is not counted"
    two.leave(place)
    assert three.enter(place, 2)
    one.forget(2)  # it died
    assert one.inside(place) == 1
    assert one.inside(one.place(8)) == 0


def test_threads_never_pass_the_limit_and_lose_no_token():
    memory, took, most = shared(4, 4), [], []
    place = Quota(memory, 4, 4, 0).place(1)

    def run(own):
        quota = Quota(memory, 4, 4, own)
        for _ in range(2000):
            took.append(quota.take(place, 1000, 1, 500))
            if quota.enter(place, 3):
                most.append(quota.inside(place))
                quota.leave(place)

    threads = [threading.Thread(target=run, args=[own]) for own in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert took.count(0) == 500
    assert Quota(memory, 4, 4, 0).inside(place) == 0


def test_a_process_that_is_killed_is_forgotten():
    memory = shared(4, 2)
    survivor = Quota(memory, 4, 2, 0)
    place = survivor.place(3)
    with warnings.catch_warnings():  # of locks that other threads hold: the child takes none
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if not pid:
        Quota(memory, 4, 2, 1).enter(place, 9)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert survivor.inside(place) == 1
    survivor.forget(1)
    assert survivor.inside(place) == 0


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        (lambda q: q.place(0), ValueError),
        (lambda q: q.take(4, 0, 1, 1), IndexError),
        (lambda q: q.take(0, -1, 1, 1), ValueError),
        (lambda q: q.take(0, 0, 0, 1), ValueError),
        (lambda q: q.take(0, 0, 1, 0), ValueError),
        (lambda q: q.take(0, 0, 1 << 40, 1 << 40), ValueError),
        (lambda q: q.inside(-1), IndexError),
        (lambda q: q.enter(9, 1), IndexError),
        (lambda q: q.leave(-1), IndexError),
        (lambda q: q.forget(1), IndexError),
        (lambda q: Quota(mmap.mmap(-1, 8), 4, 1, 0), ValueError),
        (lambda q: Quota(shared(4, 1), 4, 1, 1), ValueError),
        (lambda q: quota_bytes(0, 1), ValueError),
    ],
)
def test_what_makes_no_sense_is_refused(call, fault):
    with pytest.raises(fault):
        call(Quota(shared(4, 1), 4, 1, 0))
