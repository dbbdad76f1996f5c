"""The batcher's decisions, case by case; no clock, no device."""

from hypothesis import given
from hypothesis import strategies as st

from server.batcher import PATIENCE, Choice, Waiting, choose

MS = 1_000_000
NOW = 1_000 * MS


def call(group="rec", deadline=2_000, since=1_000, cost=10.0, max_batch=4):
    """A waiting call; times in milliseconds, ``NOW`` is 1000."""
    return Waiting(group, max_batch, deadline * MS, since * MS, cost)


def test_nothing_waits():
    assert choose([], NOW) == Choice((), 0)
    assert choose([], NOW, arriving=3) == Choice((), 0)


def test_a_single_call_runs_at_once():
    assert choose([call()], NOW).batch == (0,)


def test_earliest_deadline_leads_whatever_the_order():
    waiting = [call("det", 3_000), call("rec", 1_500), call("det", 1_800)]
    assert choose(waiting, NOW).batch == (1,)


def test_equal_deadlines_run_in_order_of_arrival():
    assert choose([call("a", since=990), call("b", since=980)], NOW).batch == (1,)
    assert choose([call("a"), call("b")], NOW).batch == (0,)


def test_only_the_leader_s_group_joins():
    waiting = [call(("rec", 320), 1_500), call(("rec", 640), 1_600), call(("rec", 320), 9_000)]
    assert choose(waiting, NOW).batch == (0, 2)


def test_a_batch_takes_the_most_urgent_up_to_its_size():
    waiting = [call(deadline=1_100 + 10 * (7 - i)) for i in range(8)]
    assert choose(waiting, NOW).batch == (7, 6, 5, 4)


def test_batch_size_one_never_joins():
    waiting = [call(max_batch=1), call(max_batch=1)]
    assert choose(waiting, NOW).batch == (0,)


def test_the_leader_s_batch_size_rules():
    """A stage has one size; a wrong mix must not exceed what the leader's stage can take."""
    assert len(choose([call(max_batch=2) for _ in range(5)], NOW).batch) == 2


def test_does_not_wait_when_nothing_is_on_its_way():
    assert choose([call(cost=1_000.0)], NOW, arriving=0).batch == (0,)


def test_waits_for_what_is_on_its_way_a_share_of_its_cost():
    choice = choose([call(cost=10.0, since=1_000)], NOW, arriving=1)
    assert choice.batch == ()
    assert choice.wait_until_ns == NOW + int(PATIENCE * 10 * MS)


def test_patience_counts_from_the_oldest_call():
    waiting = [call(cost=10.0, since=1_000), call(cost=10.0, since=996)]
    assert choose(waiting, NOW, arriving=1).wait_until_ns == (996 + PATIENCE * 20) * MS
    assert choose(waiting, NOW + 7 * MS, arriving=1).batch == (1, 0)


def test_a_full_batch_never_waits():
    assert choose([call() for _ in range(4)], NOW, arriving=9).batch == (0, 1, 2, 3)


def test_a_near_deadline_ends_the_wait():
    choice = choose([call(deadline=1_021, cost=10.0)], NOW, arriving=1)
    assert choice.wait_until_ns == NOW + 1 * MS
    assert choose([call(deadline=1_020, cost=10.0)], NOW, arriving=1).batch == (0,)
    assert choose([call(deadline=900, cost=10.0)], NOW, arriving=1).batch == (0,)


def test_another_group_runs_while_the_leader_waits():
    waiting = [call("rec", 1_500, cost=100.0), *(call("det", 2_000) for _ in range(4))]
    assert choose(waiting, NOW, arriving=1).batch == (1, 2, 3, 4)


def test_when_all_groups_wait_the_nearest_time_counts():
    waiting = [call("rec", cost=100.0), call("det", cost=20.0)]
    assert choose(waiting, NOW, arriving=1).wait_until_ns == NOW + int(PATIENCE * 20 * MS)


calls = st.builds(
    call,
    group=st.sampled_from("abc"),
    deadline=st.integers(900, 2_000),
    since=st.integers(900, 1_000),
    cost=st.floats(0.1, 300),
    max_batch=st.just(3),
)


@given(st.lists(calls, max_size=20), st.integers(0, 3))
def test_always_runs_or_names_a_future_time(waiting, arriving):
    """No list of calls can leave the device idle without an end."""
    choice = choose(waiting, NOW, arriving)
    if not waiting:
        assert choice == Choice((), 0)
    elif choice.batch:
        assert len(set(choice.batch)) == len(choice.batch) <= 3
        assert len({waiting[i].group for i in choice.batch}) == 1
        chosen = [waiting[i].deadline_ns for i in choice.batch]
        assert chosen == sorted(chosen)
        left = [w for i, w in enumerate(waiting) if i not in choice.batch]
        same = [w.deadline_ns for w in left if w.group == waiting[choice.batch[0]].group]
        assert not same or (len(choice.batch) == 3 and min(same) >= max(chosen))
        if not arriving:
            assert chosen[0] == min(w.deadline_ns for w in waiting)
    else:
        assert arriving and choice.wait_until_ns > NOW


@given(st.lists(calls, min_size=1, max_size=20))
def test_everything_runs_in_the_end(waiting):
    """Taking batches out one after another empties the list."""
    left = list(waiting)
    for _ in range(len(waiting)):
        batch = choose(left, NOW).batch
        left = [w for i, w in enumerate(left) if i not in batch]
        if not left:
            return
    raise AssertionError(f"{len(left)} calls never ran")
