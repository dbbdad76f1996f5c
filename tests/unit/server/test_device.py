"""The device loop on a real segment: what is claimed, batched, dropped, answered and counted."""

import os
import threading
import time

import msgspec
import pytest

from kernels.segment import monotonic_ns
from kernels.slots import CLAIMED, DONE, FREE, READY
from pipelines.core.errors import BadRequest, DeadlinePassed, EngineError, Overloaded, Poisoned, ServeError
from server.device import prove
from tests.conditions import wait_for
from tests.toy_pipeline import ToyResult, ToyStage

pytestmark = pytest.mark.usefixtures("no_leaks")

MS = 1_000_000

# --- the plain path


def test_an_item_is_answered_into_its_slot_with_hint_and_timings(world):
    claim = world.send(values=(1, 2, 3))
    world.turns()
    assert world.hints() == [claim]
    assert world.answer(claim) == ToyResult([2, 4, 6])
    assert set(world.timings.stages) == {"queue", "steps", "det"}
    assert all(value >= 0 for value in world.timings.stages.values())
    assert world.count("device_items") == 1
    assert world.slots.count(FREE) == world.segment.slots


def test_a_sleeping_worker_is_woken_and_a_busy_one_is_not(world):
    world.send()
    world.turns()
    with pytest.raises(BlockingIOError):
        os.eventfd_read(world.worker_event)
    world.segment.worker(0).prepare_sleep()
    world.send()
    world.turns()
    assert os.eventfd_read(world.worker_event) == 1


def test_every_round_of_an_item_is_run(world):
    claim = world.send(values=(1, 3), rounds=3)
    world.turns()
    assert world.answer(claim).doubles == [8, 24]


def test_an_item_without_calls_is_answered(world):
    claim = world.send(values=())
    world.turns()
    assert world.answer(claim).doubles == []
    assert world.stage.log == []


# --- claiming


def test_it_claims_no_more_than_its_window(world):
    claims = [world.send() for _ in range(5)]
    states = []
    world.stage.before_run = lambda inputs: states.append(world.slots.count(CLAIMED))
    world.turns()
    assert max(states) == 2
    assert [world.answer(claim).doubles for claim in claims] == [[2]] * 5


def test_on_a_cpu_the_next_item_stays_free_while_much_is_left_of_the_one_in_work(make):
    world = make(batches_pay=False)
    first, second = world.send(values=(1, 2, 3, 4), deadline_s=10), world.send(values=(5,), deadline_s=20)
    states = []
    world.stage.before_run = lambda inputs: states.append(world.slots.header(second[0]).state)
    world.turns()
    # 40 ms are expected and next to nothing is spent: the second is claimed when the first is done.
    assert states == [READY, READY, READY, READY, CLAIMED]
    assert [world.answer(claim).doubles for claim in (first, second)] == [[2, 4, 6, 8], [10]]


def test_earliest_deadline_first(world):
    for index, deadline in enumerate((50, 20, 40, 30)):
        world.send(values=(index,), key=str(index), deadline_s=deadline)
    world.turns()
    assert [inputs[0] for _, inputs in world.stage.log] == [1, 3, 2, 0]


def test_a_withdrawn_item_is_skipped(world):
    claim, other = world.send(), world.send(values=(7,))
    assert world.slots.withdraw(*claim)
    world.turns()
    assert world.answer(other).doubles == [14]
    assert world.count("device_items") == 1


def test_a_hint_of_an_older_generation_is_skipped(world):
    claim = world.send()
    world.slots.withdraw(*claim)
    again = world.send(values=(5,))
    assert again == (claim[0], claim[1] + 1)
    world.turns()
    assert world.answer(again).doubles == [10]


def test_an_idle_device_takes_what_waits_for_another(world):
    claim = world.send(device=1)
    world.turns()
    assert world.answer(claim).doubles == [2]
    assert world.count("device_stolen") == 1


def test_a_busy_device_leaves_others_their_items(world):
    first, other = world.send(rounds=2), world.send(device=1)
    world.loop.turn()
    assert world.slots.header(other[0]).state == READY
    world.turns()
    assert world.answer(first).doubles == [4]


def test_after_a_death_it_scans_for_lost_hints(world):
    claim = world.send(hint=False)
    world.segment.bump_scan_epoch()
    assert world.intake.has_news()
    world.turns()
    assert world.answer(claim).doubles == [2]
    assert world.count("device_rescued") == 1


# --- batches


def test_calls_of_several_items_share_a_run(make):
    world = make(batches_pay=True)
    claims = [world.send(values=(1, 2)), world.send(values=(3,))]
    world.turns()
    assert [inputs for _, inputs in world.stage.log] == [[1, 2, 3]]
    assert [world.answer(claim).doubles for claim in claims] == [[2, 4], [6]]


def test_batches_hold_one_key_and_at_most_max_batch(make):
    world = make(batches_pay=True)
    world.send(values=tuple(range(6)), key="a", deadline_s=10)
    world.send(values=(9,), key="b", deadline_s=20)
    world.turns()
    assert [inputs for _, inputs in world.stage.log] == [[0, 1, 2, 3], [4, 5], [9]]


def test_where_batches_do_not_pay_a_stage_says_how_many_share_a_run(make):
    world = make(batches_pay=False)
    world.send(values=(1, 2, 3))
    world.turns()
    world.stage.cpu_batch = 2
    world.send(values=(4, 5, 6))
    world.turns()
    assert [inputs for _, inputs in world.stage.log] == [[1], [2], [3], [4, 5], [6]]


def test_a_finished_item_does_not_wait_for_its_neighbour(world):
    quick, long = world.send(deadline_s=10), world.send(rounds=3, deadline_s=20)
    world.loop.turn()
    assert world.slots.header(quick[0]).state == DONE
    assert world.slots.header(long[0]).state == CLAIMED
    world.turns()


def test_where_batches_pay_it_waits_for_what_is_being_decoded(make):
    world = make(batches_pay=True)
    world.slots.take(0, 10)  # a worker writes
    claim = world.send()
    until = world.loop.turn()
    assert until is not None and 0 < until - monotonic_ns() <= 5_000_000
    wait_for(lambda: world.loop.turn() is None)
    assert world.answer(claim).doubles == [2]


# --- faults stay with their item


@pytest.mark.parametrize(
    ("trouble", "kind", "message"),
    [
        pytest.param("steps", ServeError, "Internal server error", id="bug in the steps"),
        pytest.param("refuse", BadRequest, "no such page", id="refused by the steps"),
        pytest.param("item", ServeError, "Internal server error", id="stage fails this input"),
        pytest.param("engine", EngineError, "the engine refused", id="engine fails this input"),
        pytest.param("batch", ServeError, "Internal server error", id="stage raises"),
        pytest.param("none", ServeError, "Internal server error", id="no result"),
        pytest.param("pack", ServeError, "Internal server error", id="result cannot be packed"),
        pytest.param("big", ServeError, "Internal server error", id="result too large"),
    ],
)
def test_a_fault_answers_its_item_alone(world, trouble, kind, message):
    bad, good = world.send(trouble=trouble), world.send(values=(4,))
    world.turns()
    fault = world.answer(bad)
    assert type(fault) is kind and fault.message == message
    assert world.answer(good).doubles == [8]
    assert world.lane.stage_start_ns == 0


def test_the_log_has_the_traceback_under_the_request(world, caplog):
    world.send(trouble="steps")
    world.turns()
    (record,) = [entry for entry in caplog.records if entry.exc_info]
    assert "ZeroDivisionError" in caplog.text
    assert record.log_id == f"{0xABC:016x}"


def test_steps_may_catch_a_failed_call(world):
    claim = world.send(trouble="catch")
    world.turns()
    assert world.answer(claim).doubles == [-1]


def test_an_overflow_is_counted(world):
    world.send(trouble="big")
    world.turns()
    assert world.count("device_result_overflow") == 1


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(b"\xc1\xc1\xc1", id="no msgpack"),
        pytest.param(msgspec.msgpack.encode([9, 0, 0, {}, {}]), id="unknown pipeline"),
    ],
)
def test_a_damaged_request_record_is_answered(world, record):
    claim = world.send(record=record)
    world.turns()
    header = world.slots.header(claim[0])
    assert header.state == DONE
    assert world.count("device_failed_items") == 1


# --- deadlines, clients, workers


def test_an_expired_item_is_not_started(world):
    claim = world.send(deadline_s=-0.001)
    world.turns()
    assert isinstance(world.answer(claim), DeadlinePassed)
    assert world.pipeline.started == [] and world.count("device_expired") == 1


def test_a_deadline_is_checked_before_each_stage(world):
    claim = world.send(rounds=5, deadline_s=0.2)
    world.loop.turn()
    wait_for(lambda: monotonic_ns() > world.slots.header(claim[0]).deadline_ns)
    world.turns()
    assert isinstance(world.answer(claim), DeadlinePassed)
    assert len(world.stage.log) == 1


def test_an_abandoned_item_is_dropped_before_its_next_stage(world):
    claim = world.send(rounds=5)
    world.loop.turn()
    world.slots.abandon(*claim)
    world.turns()
    assert isinstance(world.answer(claim), DeadlinePassed)
    assert len(world.stage.log) == 1 and world.count("device_abandoned") == 1


def test_an_item_of_a_dead_worker_is_freed(world):
    slot, generation = world.send(rounds=5)
    world.loop.turn()
    world.slots.reap_worker(0, world.segment.worker(0).epoch)
    world.turns()
    header = world.slots.header(slot)
    assert (header.state, header.generation) == (FREE, generation + 1)
    assert world.hints() == []


def test_a_late_result_never_touches_a_slot_that_was_taken_away(world):
    slot, generation = claim = world.send()
    world.stage.before_run = lambda inputs: world.slots.reap_device(world.lane.epoch)
    world.loop.turn()
    header = world.slots.header(slot)
    assert header.state == READY and header.generation == generation
    assert world.count("device_lost_claims") == 1
    world.stage.before_run = lambda inputs: None
    world.lane.incarnate(os.getpid(), next(world.epochs))
    world.segment.bump_scan_epoch()
    world.turns()
    assert world.answer(claim).doubles == [2]


# --- suspicion


def die(world, *claims):
    """Another device claims these and crashes."""
    lane = world.segment.device(1)
    lane.incarnate(os.getpid(), next(world.epochs))
    for slot, generation in claims:
        assert world.slots.claim(slot, generation, lane.epoch)
    world.slots.reap_device(lane.epoch)
    world.segment.bump_scan_epoch()


def test_suspects_run_alone(world):
    claims = [world.send(values=(index,), hint=False) for index in range(3)]
    die(world, *claims)
    alone = []
    world.stage.before_run = lambda inputs: alone.append(world.slots.count(CLAIMED))
    world.turns()
    assert alone == [1, 1, 1]
    assert [world.answer(claim).doubles for claim in claims] == [[0], [2], [4]]


def test_a_suspect_waits_for_the_work_that_is_under_way_and_nothing_overtakes_it(world):
    innocent = world.send(rounds=2, deadline_s=10)
    suspect = world.send(values=(2,), hint=False, deadline_s=20)
    world.loop.turn()
    die(world, suspect)
    later = world.send(values=(3,), deadline_s=30)
    together = []
    world.stage.before_run = lambda inputs: together.append([value for _, value in inputs])
    world.turns()
    assert together == [[2], [2], [3]]
    assert [world.answer(claim).doubles for claim in (innocent, suspect, later)] == [[4], [4], [6]]


def test_poison_is_refused_without_running(world):
    claim = world.send(hint=False)
    die(world, claim)
    die(world, claim)
    world.turns()
    assert isinstance(world.answer(claim), Poisoned)
    assert world.stage.log == [] and world.count("device_refused_poison") == 1


def test_four_attempts_are_enough(world):
    claims = [world.send(hint=False), world.send(hint=False)]
    for _ in range(4):
        die(world, *claims)
    world.turns()
    assert [type(world.answer(claim)) for claim in claims] == [Overloaded, Overloaded]
    assert world.stage.log == [] and world.count("device_refused_spent") == 2


# --- forms of the engines


def engines_used(world):
    return [engine for engine, _ in world.stage.log]


def test_alone_it_uses_all_cores(world):
    world.send()
    world.turns()
    assert engines_used(world) == [world.stages.engine(world.stage, True)]
    assert world.count("device_all_threads_runs") == 1
    assert world.stages.engine(world.stage, True) is not world.stages.engine(world.stage, False)


def test_it_takes_its_share_while_another_computes(world):
    world.segment.device(1).stage_begin(1)
    world.send()
    world.turns()
    assert engines_used(world) == [world.stages.engine(world.stage, False)]


def test_it_takes_its_share_while_another_has_work_between_two_stages(world):
    slot, generation = world.send(device=1, hint=False)
    world.slots.claim(slot, generation, world.segment.device(1).epoch)
    world.send()
    world.turns()
    assert engines_used(world) == [world.stages.engine(world.stage, False)]


def test_it_takes_its_share_when_work_waits_that_another_will_take(make):
    world = make(window=1)
    world.send(deadline_s=10)
    world.send(deadline_s=20)
    world.turns()
    forms = [world.stages.engine(world.stage, whole) for whole in (False, True)]
    assert engines_used(world) == forms


def test_the_only_device_uses_all_cores_however_much_waits(make):
    world = make(window=1, lanes=1)
    world.send()
    world.send()
    world.turns()
    assert engines_used(world) == [world.stages.engine(world.stage, True)] * 2


# --- making way for another device's all-core run


def test_it_waits_for_an_all_core_run_and_then_has_all_cores_itself(make, monkeypatch):
    world, clock = make(makes_way=True), Clock(monkeypatch)
    other = world.segment.device(1)
    clock.begin(other, 5)
    claim = world.send()
    for _ in range(3):
        assert 0 < world.loop.turn() - clock.now_ns < MS
        clock.pass_ms(1)
    assert engines_used(world) == []
    other.stage_end()
    world.turns()
    assert engines_used(world) == [world.stages.engine(world.stage, True)]
    assert world.answer(claim).doubles == [2]
    assert world.count("device_made_way") == 1


@pytest.mark.parametrize(
    ("expected_ms", "whole", "makes_way"),
    [
        pytest.param(5000, True, True, id="it would take longer than its own run"),
        pytest.param(5, False, True, id="the other takes a share"),
        pytest.param(5, True, False, id="there are cores for both"),
    ],
)
def test_it_runs_at_once_beside_another(make, expected_ms, whole, makes_way):
    world = make(makes_way=makes_way)
    world.segment.device(1).stage_begin(expected_ms * MS, whole)
    world.send()
    world.turns()
    assert engines_used(world) == [world.stages.engine(world.stage, False)]
    assert world.count("device_made_way") == 0


def test_it_waits_no_longer_than_its_own_run_takes(make, monkeypatch):
    world = make(makes_way=True)
    world.segment.device(1).stage_begin(5 * MS, True)  # and never ends
    world.send()
    start = monotonic_ns()
    for after_ms, ran in ((0, 0), (9, 0), (11, 1)):
        monkeypatch.setattr("server.whole_runs.monotonic_ns", lambda ms=after_ms: start + ms * MS)
        world.loop.turn()
        assert len(engines_used(world)) == ran
    assert engines_used(world) == [world.stages.engine(world.stage, False)]


def test_devices_that_are_never_without_work_go_side_by_side_after_a_wait(make, monkeypatch):
    world, clock = make(makes_way=True), Clock(monkeypatch)
    world.stage.before_run = lambda inputs: clock.pass_ms(10)
    other = world.segment.device(1)
    for idle_ms, whole in ((0, True), (0, False), (0, False), (60, True)):
        clock.pass_ms(idle_ms)
        clock.begin(other, 5)
        world.send()
        assert world.loop.turn()
        other.stage_end()
        world.turns()
        assert engines_used(world)[-1] is world.stages.engine(world.stage, whole), idle_ms


def test_a_device_that_waited_for_nobody_has_all_cores_however_busy_it_is(make, monkeypatch):
    world, clock = make(makes_way=True), Clock(monkeypatch)
    world.stage.before_run = lambda inputs: clock.pass_ms(10)
    for _ in range(3):
        world.send()
        world.turns()
    assert engines_used(world) == [world.stages.engine(world.stage, True)] * 3


class Clock:
    """Of the parts that decide about cores: it stands still but for what is passed."""

    def __init__(self, monkeypatch):
        self.now_ns = monotonic_ns()
        monkeypatch.setattr("server.whole_runs.monotonic_ns", lambda: self.now_ns)

    def pass_ms(self, ms):
        self.now_ns += ms * MS

    def begin(self, device, expected_ms):
        """An all-core run of another device that begins now."""
        device.stage_begin(expected_ms * MS, True)
        device.stage_start_ns = self.now_ns


def test_a_deadline_passes_while_it_waits(make):
    world = make(makes_way=True)
    world.segment.device(1).stage_begin(5 * MS, True)
    claim = world.send(deadline_s=0.002)
    assert wait_for(lambda: world.loop.turn() in {0, None}, what="it gives up")
    assert isinstance(world.answer(claim), DeadlinePassed)
    assert engines_used(world) == []


def test_a_form_that_is_left_gives_its_memory_back(world, monkeypatch):
    share, whole = (world.stages.engine(world.stage, form) for form in (False, True))
    trimmed = []
    for name, engine in (("share", share), ("whole", whole)):
        monkeypatch.setattr(engine, "trim", lambda name=name: trimmed.append(name))
    world.stages.engine(world.stage, True)
    world.stages.engine(world.stage, False)
    assert trimmed == ["share", "whole"]


def test_an_idle_device_gives_memory_back(world, monkeypatch):
    monkeypatch.setattr("server.intake.COARSE_TIMEOUT_MS", 1)
    trimmed = threading.Event()

    def trim():
        trimmed.set()
        world.loop.stop()

    monkeypatch.setattr(world.stages, "trim", trim)
    world.loop.run()
    assert trimmed.is_set()


# --- stages and canaries


def test_equal_stages_are_built_once_and_share_an_engine_with_other_settings(world):
    first = world.stages.get(ToyStage, world.model, "fake", offset=1)
    assert world.stages.get(ToyStage, world.model, "fake", offset=1) is first
    second = world.stages.get(ToyStage, world.model, "fake", offset=2)
    assert second is not first
    world.stages.load()
    assert world.stages.engine(first, False) is world.stages.engine(second, False)


def test_canaries_run_every_form_then_every_pipeline(world):
    prove([world.pipeline], world.stages, world.loop)
    share, whole = (world.stages.engine(world.stage, form) for form in (False, True))
    assert engines_used(world) == [share, whole, share, share]
    assert world.lane.stage_start_ns == 0


def test_a_canary_that_fails_is_raised(world, monkeypatch):
    monkeypatch.setattr(world.stage, "_one", lambda params, value: EngineError("wrong answer"))
    with pytest.raises(EngineError, match="wrong answer"):
        prove([world.pipeline], world.stages, world.loop)


# --- cost, liveness, sleep


def test_the_supervisor_sees_the_stage_while_it_runs(make):
    world = make(batches_pay=True)
    seen = []
    world.stage.before_run = lambda inputs: seen.append(
        (world.lane.stage_start_ns, world.lane.stage_expected_ns)
    )
    world.send(values=(1, 2))
    world.turns()
    assert seen[0][0] > 0 and seen[0][1] == 20_000_000
    assert world.lane.stage_start_ns == 0


def test_cost_scale_follows_what_items_take(world):
    world.stage.before_run = lambda inputs: time.sleep(0.02)
    for _ in range(3):
        world.send(values=(1,), key="slow")  # estimated at 10 ms
        world.turns()
    assert 1.4 < world.lane.cost_scale < 6
    world.stage.before_run = lambda inputs: None
    for _ in range(60):
        claim = world.send(key="quick")
        world.turns()
        world.answer(claim)
    assert world.lane.cost_scale < 0.5


def test_cost_scale_rises_faster_than_it_falls(world):
    """Full pages after empty ones must not look cheap until far too many wait."""
    world.lane.cost_scale = 0.01
    world.stage.before_run = lambda inputs: time.sleep(0.02)
    for _ in range(4):
        world.send(values=(1,), key="slow")  # estimated at 10 ms
        world.turns()
    assert world.lane.cost_scale > 0.5


def run_in_thread(world):
    thread = threading.Thread(target=world.loop.run)
    thread.start()
    return thread


def test_a_sleeping_device_is_woken_by_its_eventfd_and_leaves_when_told(world):
    thread = run_in_thread(world)
    try:
        wait_for(lambda: world.lane.sleeping)
        claim = world.send()
        os.eventfd_write(world.device_event, 1)
        wait_for(lambda: world.slots.header(claim[0]).state == DONE)
        wait_for(lambda: world.lane.sleeping)
    finally:
        world.loop.stop()
        thread.join(10)
    assert not thread.is_alive()
    assert world.count("device_missed_wakeups") == 0


def test_told_to_leave_it_finishes_what_it_has_and_leaves_the_rest(world):
    claims = [world.send(values=(i,), rounds=2, deadline_s=10 + i) for i in range(4)]
    world.loop.turn()
    world.loop.stop()
    world.loop.run()
    states = [world.slots.header(slot).state for slot, _ in claims]
    assert states == [DONE, DONE, READY, READY]


def test_a_lost_wake_up_is_repaired_and_counted(world, monkeypatch):
    monkeypatch.setattr("server.intake.COARSE_TIMEOUT_MS", 50)
    thread = run_in_thread(world)
    try:
        wait_for(lambda: world.lane.sleeping)
        claim = world.send()  # and no write to the eventfd
        wait_for(lambda: world.slots.header(claim[0]).state == DONE)
    finally:
        world.loop.stop()
        thread.join(10)
    assert world.count("device_missed_wakeups") == 1


def test_what_comes_at_the_end_of_a_short_sleep_needs_no_wake_up(world, monkeypatch):
    """The worker that pushes sees that the device does not sleep any more, and writes no event."""
    monkeypatch.setattr("server.intake._LATE_EVENT_MS", 60_000)
    poll = world.intake._poller.poll
    times = []

    class Poller:
        def poll(self, timeout_ms):
            times.append(timeout_ms)
            found = poll(timeout_ms)
            world.send()
            return found

    world.intake._poller = Poller()
    assert not world.intake.sleep(monotonic_ns() + MS)
    assert len(times) == 1
    world.turns()
    assert world.count("device_items") == 1
    assert world.count("device_missed_wakeups") == 0


def test_status_lines(world):
    world.send(rounds=2)
    world.loop.turn()
    assert repr(world.loop) == "<DeviceLoop 1/2 in work, <Intake device-0: 0 waiting>>"
