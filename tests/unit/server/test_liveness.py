"""Who counts as hung, case by case; no process, no clock."""

import msgspec
import pytest

from kernels.segment import DRAINING, READY, STARTING
from server.liveness import Policy, Sight, Watchman, delay_ns, find_hang

S = 1_000_000_000
NOW = 1_000 * S
POLICY = Policy()
FRESH = Sight(
    state=READY,
    enrolled_ns=NOW - 500 * S,
    heartbeat_ns=NOW - S // 20,
    tick_ns=NOW - S,
    stage_start_ns=0,
    stage_expected_ns=0,
)


def seen(**changes):
    return find_hang(msgspec.structs.replace(FRESH, **changes), NOW, POLICY)


def test_a_process_that_beats_and_ticks_is_alive():
    assert seen() is None
    assert seen(state=DRAINING) is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"heartbeat_ns": NOW - 3 * S - 1}, "heartbeat", id="no beat for over 3 s"),
        pytest.param({"heartbeat_ns": NOW - 3 * S}, None, id="a beat 3 s ago"),
        pytest.param({"tick_ns": NOW - 31 * S}, "loop", id="loop stands still"),
        pytest.param({"tick_ns": NOW - 30 * S}, None, id="loop turns slowly"),
        pytest.param({"state": STARTING, "tick_ns": NOW - 400 * S}, None, id="no tick while loading"),
        pytest.param({"state": STARTING, "enrolled_ns": NOW - 901 * S}, "start", id="never ready"),
    ],
)
def test_heartbeat_and_loop(changes, expected):
    assert seen(**changes) == expected


@pytest.mark.parametrize(
    ("running_s", "expected_s", "verdict"),
    [
        pytest.param(9.9, 0.001, None, id="short stage within the floor"),
        pytest.param(10.1, 0.001, "stage", id="short stage over the floor"),
        pytest.param(40, 5, None, id="long page within ten times"),
        pytest.param(50.1, 5, "stage", id="long page over ten times"),
    ],
)
def test_a_stage_is_judged_by_its_own_length(running_s, expected_s, verdict):
    start = NOW - int(running_s * S)
    assert seen(stage_start_ns=start, stage_expected_ns=int(expected_s * S)) == verdict


def test_a_long_stage_excuses_the_loop_but_not_the_heartbeat():
    long_stage = {"stage_start_ns": NOW - 40 * S, "stage_expected_ns": 5 * S, "tick_ns": NOW - 40 * S}
    assert seen(**long_stage) is None
    assert seen(**long_stage, heartbeat_ns=NOW - 4 * S) == "heartbeat"


def test_a_hung_stage_while_loading_is_found():
    assert seen(state=STARTING, stage_start_ns=NOW - 700 * S, stage_expected_ns=60 * S) == "stage"


def test_before_its_first_beat_a_process_gets_time_to_start():
    """The interpreter may need longer than a heartbeat's age to come up on a loaded machine."""
    for age, expected in ((29 * S, None), (31 * S, "start")):
        since = NOW - age
        assert seen(state=STARTING, enrolled_ns=since, heartbeat_ns=since) == expected


def test_pause_doubles_up_to_its_limit_then_gives_up():
    policy = Policy(retries=8)
    delays = [delay_ns(deaths, policy) for deaths in range(1, 9)]
    assert delays == [S // 2, S, 2 * S, 4 * S, 8 * S, 8 * S, 8 * S, None]


def test_after_its_own_pause_the_supervisor_judges_nobody_for_a_while():
    watchman = Watchman(POLICY, NOW)
    assert watchman.may_judge(NOW + S // 4)
    resumed = NOW + 60 * S
    assert not watchman.may_judge(resumed)
    times = [resumed + i * S // 4 for i in range(1, 13)]
    assert [watchman.may_judge(t) for t in times] == [False] * 11 + [True]
