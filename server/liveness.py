"""When a child counts as hung, and how long a failing one waits. Pure: the clock is an argument."""

from __future__ import annotations

from typing import Literal

import msgspec

from kernels.segment import DRAINING, READY, Lane

#: What a hung child no longer does: beat, finish a stage, turn its loop, or start.
Hang = Literal["heartbeat", "stage", "loop", "start"]

_SECOND = 1_000_000_000


class Policy(msgspec.Struct, frozen=True):
    """Limits of patience, in nanoseconds unless named otherwise.

    Attributes:
        heartbeat_ns: age of the native thread's beat (50 ms period) at which a process is stopped
            or dead.
        stage_floor_ns, stage_factor: a stage may take max(factor x expected, floor): ten times is
            beyond what load on the machine explains, ten seconds beyond any wrong estimate of a
            short stage.
        tick_ns: age of the main loop's tick.
        hello_ns: from enrolment to the first beat (interpreter start and imports on a loaded machine).
        load_ns: from enrolment to readiness; compiling a model for a device takes minutes.
        retries: deaths before readiness, one after another, at which a process is given up.
        quarantine_ns: how long an input that brings processes down is refused.
        first_delay_ns, last_delay_ns: pause after the first such death, doubled up to the last.
    """

    heartbeat_ns: int = 3 * _SECOND
    stage_floor_ns: int = 10 * _SECOND
    stage_factor: int = 10
    tick_ns: int = 30 * _SECOND
    hello_ns: int = 30 * _SECOND
    load_ns: int = 900 * _SECOND
    quarantine_ns: int = 600 * _SECOND
    retries: int = 5
    first_delay_ns: int = _SECOND // 2
    last_delay_ns: int = 8 * _SECOND


class Sight(msgspec.Struct, frozen=True):
    """One look at a child's lane; times in CLOCK_MONOTONIC ns.

    ``enrolled_ns`` is the beat that the supervisor itself wrote when it entered the
    process into the lane: as long as nothing newer is there, the process has not spoken yet.
    """

    state: int
    enrolled_ns: int
    heartbeat_ns: int
    tick_ns: int
    stage_start_ns: int
    stage_expected_ns: int


def look(lane: Lane, enrolled_ns: int) -> Sight:
    """Copy what :func:`find_hang` judges by."""
    return Sight(
        state=lane.state,
        enrolled_ns=enrolled_ns,
        heartbeat_ns=lane.heartbeat_ns,
        tick_ns=lane.tick_ns,
        stage_start_ns=lane.stage_start_ns,
        stage_expected_ns=lane.stage_expected_ns,
    )


def find_hang(sight: Sight, now_ns: int, policy: Policy) -> Hang | None:
    """Why the process has to be killed, or None.

    A stage that runs is judged by its own length only: the main loop cannot
    tick while an engine holds it.
    """
    if sight.heartbeat_ns <= sight.enrolled_ns:
        return "start" if now_ns - sight.enrolled_ns > policy.hello_ns else None
    if now_ns - sight.heartbeat_ns > policy.heartbeat_ns:
        return "heartbeat"
    if sight.stage_start_ns:
        limit = max(policy.stage_factor * sight.stage_expected_ns, policy.stage_floor_ns)
        return "stage" if now_ns - sight.stage_start_ns > limit else None
    if sight.state not in {READY, DRAINING}:
        return "start" if now_ns - sight.enrolled_ns > policy.load_ns else None
    if now_ns - sight.tick_ns > policy.tick_ns:
        return "loop"
    return None


def delay_ns(early_deaths: int, policy: Policy) -> int | None:
    """Pause before the next start after ``early_deaths`` (>= 1) in a row; None: give up."""
    if early_deaths >= policy.retries:
        return None
    return min(policy.first_delay_ns << (early_deaths - 1), policy.last_delay_ns)


class Watchman:
    """Tells whether the supervisor itself has just been asleep.

    After a pause of its own (stopped, swapped out, frozen) every other process
    may look old only because nobody looked. Judging starts again once the
    others had time to beat.
    """

    def __init__(self, policy: Policy, now_ns: int) -> None:
        self._policy = policy
        self._last_ns = now_ns
        self._mercy_until_ns = 0

    def may_judge(self, now_ns: int) -> bool:
        """Whether ages seen at ``now_ns`` can be trusted; call it once per pass of the loop."""
        if now_ns - self._last_ns > self._policy.heartbeat_ns // 2:
            self._mercy_until_ns = now_ns + self._policy.heartbeat_ns
        self._last_ns = now_ns
        return now_ns >= self._mercy_until_ns
