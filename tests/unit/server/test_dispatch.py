"""The worker's end of slots and rings, against a device in a thread over real shared memory."""

import asyncio
import contextlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from kernels.ring import Ring
from kernels.segment import DRAINING, EMPTY, FAILED, READY, STARTING, monotonic_ns
from kernels.slots import CLAIMED, DONE, FREE, WRITING, YIELDS
from kernels.slots import READY as SLOT_READY
from pipelines.core.errors import BadRequest, DeadlinePassed, NotReady, Overloaded
from server import loads, wire
from server.dispatch import Dispatcher
from server.wire import Shape
from tests.standin import Memory, StandIn
from tests.toy_pipeline import ToyParams, ToyResult

pytestmark = pytest.mark.usefixtures("no_leaks")

SECOND = 10**9


class Bench:
    """A dispatcher on its loop, with real memory."""

    def __init__(self, memory, threads):
        self.memory, self.slots = memory, memory.slots
        self.dispatcher = Dispatcher(
            memory.segment,
            memory.slots,
            memory.lane,
            memory.worker_events[0],
            memory.device_events,
            len(memory.device_events),
            memory.metrics(),
            threads,
        )

    def hand_over(self, lease, content=b"abc", cost_ms=5.0, deadline_ns=0, operation=0):
        """The answer to wait for."""
        shape = Shape(blob_bytes=len(content))
        lease.view[wire.META : wire.META + len(content)] = content
        return self.dispatcher.publish(
            lease,
            request_id=7,
            deadline_ns=deadline_ns or monotonic_ns() + 10 * SECOND,
            operation=operation,
            cost_ms=cost_ms,
            request_bytes=wire.write_request(lease.view, 0, 0, 0, shape, ToyParams()),
        )

    async def ask(self, content):
        """Length of what the device says of the content, in numbers."""
        with self.dispatcher.take(100_000) as lease:
            answer = self.hand_over(lease, content)
            length = await self.dispatcher.wait(answer, monotonic_ns() + 10 * SECOND)
            result, _ = wire.read_result(lease.view, Shape(blob_bytes=len(content)), length, ToyResult)
            return result.doubles

    def states(self):
        """Slots per state."""
        return [self.slots.count(state) for state in (FREE, WRITING, SLOT_READY, CLAIMED, DONE)]

    async def until(self, condition):
        for _ in range(2000):
            if condition():
                return
            await asyncio.sleep(0.005)
        raise AssertionError(f"not within 10 s: {self.states()}")


def run(test, devices=1, missed_wakeups=0, classes=((1 << 20, 4), (16 << 20, 4))):
    """Run ``test(bench)`` on a loop of its own; in the end every slot must be free."""

    async def body():
        loop = asyncio.get_running_loop()
        with Memory(devices, classes) as memory, ThreadPoolExecutor(2) as threads:
            bench = Bench(memory, threads)
            bench.dispatcher.start(loop)
            try:
                await test(bench)
                await bench.until(lambda: bench.slots.count(FREE) == memory.segment.slots)
                assert len(bench.dispatcher) == 0
                assert memory.counter("worker_missed_wakeups") == missed_wakeups
            finally:
                bench.dispatcher.stop()
                bench.slots = bench.dispatcher = None
                await asyncio.sleep(0)  # leaves the wake-up that holds the last future

    asyncio.run(body())


def echo(request, content):
    return ToyResult(list(content))


def test_there_and_back():
    async def test(bench):
        with StandIn(bench.memory, echo):
            for number in range(20):
                assert await bench.ask(bytes([number, 1])) == [number, 1]
        assert bench.memory.counter("worker_rescued") == 0

    run(test)


def test_many_at_once_each_get_their_own():
    async def test(bench):
        with StandIn(bench.memory, echo, 0), StandIn(bench.memory, echo, 1):
            for _ in range(10):
                answers = await asyncio.gather(*(bench.ask(bytes([i])) for i in range(8)))
                assert answers == [[i] for i in range(8)]

    run(test, devices=2)


def test_the_least_loaded_device_is_chosen():
    async def test(bench):
        with StandIn(bench.memory, echo, 0) as slow, StandIn(bench.memory, echo, 1) as quick:
            slow.gate.clear()
            quick.gate.clear()
            slow.lane.cost_scale = 3.0
            leases = [bench.dispatcher.take(1000) for _ in range(4)]
            answers = [
                bench.hand_over(lease, cost_ms=cost)
                for lease, cost in zip(leases, (10, 10, 10, 50), strict=True)
            ]
            chosen = [bench.slots.header(lease.slot).device for lease in leases]
            # 10 ms are 30 ms on the slow device: one each, then the quick one twice (20 and 30 against 30)
            assert sorted(chosen[:2]) == [0, 1]
            assert chosen[2:] == [1, 1] or chosen[2:] == [1, 0]
            slow.gate.set()
            quick.gate.set()
            for lease, answer in zip(leases, answers, strict=True):
                await bench.dispatcher.wait(answer, monotonic_ns() + 10 * SECOND)
                lease.close()

    run(test, devices=2)


def test_of_equal_devices_the_same_one_is_kept_warm():
    async def test(bench):
        chosen = []
        for lane in (0, 1):
            bench.memory.segment.device(lane).state = READY
        for _ in range(4):
            with bench.dispatcher.take(1000) as lease:
                bench.hand_over(lease)
                chosen.append(bench.slots.header(lease.slot).device)
        assert chosen == [0, 0, 0, 0]

    run(test, devices=2)


def test_small_items_meet_on_one_device_until_a_millisecond_of_them_waits():
    async def test(bench):
        with StandIn(bench.memory, echo, 0) as first, StandIn(bench.memory, echo, 1) as second:
            first.gate.clear()
            second.gate.clear()
            leases = [bench.dispatcher.take(1000) for _ in range(8)]
            answers = [bench.hand_over(lease, cost_ms=0.3) for lease in leases]
            chosen = [bench.slots.header(lease.slot).device for lease in leases]
            assert chosen == [0, 0, 0, 0, 1, 1, 1, 1]
            first.gate.set()
            second.gate.set()
            for lease, answer in zip(leases, answers, strict=True):
                await bench.dispatcher.wait(answer, monotonic_ns() + 10 * SECOND)
                lease.close()

    run(test, devices=2)


def test_no_slot_is_large_enough():
    async def test(bench):
        with pytest.raises(BadRequest, match="at most"):
            bench.dispatcher.take(17 << 20)

    run(test)


def test_all_slots_are_taken():
    async def test(bench):
        leases = [bench.dispatcher.take(2 << 20) for _ in range(4)]
        with pytest.raises(Overloaded):
            bench.dispatcher.take(2 << 20)
        bench.dispatcher.take(100).close()  # a small one is still there
        for lease in leases:
            lease.close()

    run(test)


# --- endings


def test_deadline_while_it_waits_takes_the_slot_back():
    async def test(bench):
        bench.memory.segment.device(0).state = READY
        with bench.dispatcher.take(1000) as lease:
            answer = bench.hand_over(lease)
            with pytest.raises(DeadlinePassed):
                await bench.dispatcher.wait(answer, monotonic_ns() + SECOND // 50)
        assert bench.states()[0] == bench.memory.segment.slots

    run(test)


def test_deadline_while_a_device_has_it_leaves_the_slot_until_it_is_posted():
    async def test(bench):
        with StandIn(bench.memory, echo) as device:
            device.gate.clear()
            with bench.dispatcher.take(1000) as lease:
                answer = bench.hand_over(lease)
                await bench.until(lambda: device.claimed)
                with pytest.raises(DeadlinePassed):
                    await bench.dispatcher.wait(answer, monotonic_ns())
            assert bench.states()[3] == 1
            assert bench.slots.header(lease.slot).abandoned
            assert len(bench.dispatcher) == 1
            device.gate.set()
            await bench.until(lambda: bench.states()[3] == 0)

    run(test)


def test_a_client_that_leaves_gives_its_slot_back_in_every_state():
    async def test(bench):
        async def request(hand_over):
            with bench.dispatcher.take(1000) as lease:
                if hand_over:
                    answer = bench.hand_over(lease)
                    await bench.dispatcher.wait(answer, monotonic_ns() + 10 * SECOND)
                else:
                    await asyncio.Event().wait()

        bench.memory.segment.device(0).state = READY
        for hand_over, state in ((False, 1), (True, 2)):
            task = asyncio.create_task(request(hand_over))
            await bench.until(lambda state=state: bench.states()[state] == 1)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            assert bench.states()[0] == bench.memory.segment.slots
        with StandIn(bench.memory, echo) as device:
            device.gate.clear()
            task = asyncio.create_task(request(True))
            await bench.until(lambda: device.claimed)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            assert bench.states()[3] == 1
            device.gate.set()
            await bench.until(lambda: bench.states()[0] == bench.memory.segment.slots)

    run(test)


def test_a_slot_that_a_thread_writes_to_is_kept_until_the_thread_has_ended():
    async def test(bench):
        go, running = threading.Event(), threading.Event()

        def work():
            running.set()
            go.wait(10)

        async def request():
            with bench.dispatcher.take(1000) as lease:
                await bench.dispatcher.in_thread([lease], work)

        task = asyncio.create_task(request())
        await bench.until(running.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert bench.states()[1] == 1, "the thread still writes to it"
        go.set()
        await bench.until(lambda: bench.states()[1] == 0)

    run(test)


def test_work_that_has_not_begun_is_cancelled_with_its_request():
    async def test(bench):
        go, done = threading.Event(), []
        blockers = [asyncio.create_task(bench.dispatcher.in_thread([], go.wait, 10)) for _ in range(2)]

        async def request():
            with bench.dispatcher.take(1000) as lease:
                await bench.dispatcher.in_thread([lease], done.append, 1)

        task = asyncio.create_task(request())
        await bench.until(lambda: bench.states()[1] == 1)
        task.cancel()
        await bench.until(lambda: bench.states()[1] == 0)
        go.set()
        await asyncio.gather(*blockers)
        assert done == []

    run(test)


def test_a_result_for_an_earlier_generation_is_no_result():
    async def test(bench):
        ring = Ring.to_worker(bench.memory.segment, 0, 0)
        bench.memory.segment.device(0).state = READY
        with bench.dispatcher.take(1000) as lease:
            answer = bench.hand_over(lease)
            for hint in ((lease.slot, lease.generation), (lease.slot, lease.generation + 1), (0, 77)):
                ring.push(*hint)  # of a slot that nobody has finished
            os.eventfd_write(bench.memory.worker_events[0], 1)
            with pytest.raises(DeadlinePassed):
                await bench.dispatcher.wait(answer, monotonic_ns() + SECOND // 20)

    run(test)


# --- deaths


def finished(bench, lease):
    """What to wait for, and the length of its result: a device has written it and told nobody."""
    lane = bench.memory.segment.device(0)
    lane.incarnate(os.getpid(), 5)
    lane.state = READY
    answer = bench.hand_over(lease)
    assert bench.slots.claim(lease.slot, lease.generation, 5)
    length = wire.write_result(lease.view, Shape(blob_bytes=3), ToyResult([1]), wire.Timings())
    assert bench.slots.finish(lease.slot, lease.generation, 5, length)
    return answer, length


def test_a_result_whose_hint_died_is_found_by_the_scan():
    async def test(bench):
        with bench.dispatcher.take(10_000) as lease:
            answer, length = finished(bench, lease)
            bench.dispatcher.tick()
            assert not answer.done(), "nobody has said that anything happened"
            bench.memory.segment.bump_scan_epoch()
            os.eventfd_write(bench.memory.worker_events[0], 1)
            assert await bench.dispatcher.wait(answer, monotonic_ns() + 10 * SECOND) == length
        assert bench.memory.counter("worker_rescued") == 1

    run(test)


def test_a_lost_wake_up_is_repaired_by_the_tick_and_counted():
    async def test(bench):
        with bench.dispatcher.take(10_000) as lease:
            answer, _ = finished(bench, lease)
            Ring.to_worker(bench.memory.segment, 0, 0).push(lease.slot, lease.generation)
            bench.dispatcher.tick()
            assert not answer.done(), "its wake-up may still be on the way"
            bench.dispatcher.tick()
            assert answer.done()

    run(test, missed_wakeups=1)


@pytest.mark.parametrize("state", [STARTING, DRAINING])
def test_work_waits_for_a_device_that_is_coming(state):
    async def test(bench):
        bench.memory.segment.device(0).state = state
        assert bench.dispatcher.queued_ms() == 0.0
        with bench.dispatcher.take(1000) as lease:
            answer = bench.hand_over(lease)
            bench.dispatcher.tick()
            assert not answer.done()

    run(test)


def test_a_device_that_has_just_died_is_waited_for(monkeypatch):
    async def test(bench):
        bench.memory.segment.device(0).state = EMPTY
        assert bench.dispatcher.queued_ms() == 0.0
        with bench.dispatcher.take(1000) as lease:
            answer = bench.hand_over(lease)
            bench.dispatcher.tick()
            assert not answer.done()
            monkeypatch.setattr(loads, "HOPELESS_AFTER_NS", 0)
            bench.dispatcher.tick()
            with pytest.raises(NotReady):
                await bench.dispatcher.wait(answer, monotonic_ns() + SECOND)
            with pytest.raises(NotReady):
                bench.dispatcher.queued_ms()
        bench.memory.segment.device(0).state = STARTING
        assert bench.dispatcher.queued_ms() == 0.0

    run(test)


def test_when_all_devices_are_given_up_what_waits_is_answered_at_once():
    async def test(bench):
        with bench.dispatcher.take(1000) as lease:
            answer = bench.hand_over(lease)
            bench.memory.segment.device(0).state = FAILED
            bench.dispatcher.tick()
            with pytest.raises(NotReady):
                await bench.dispatcher.wait(answer, monotonic_ns() + SECOND)

    run(test)


def test_queue_is_that_of_the_least_loaded_device():
    async def test(bench):
        for index, scale in ((0, 1.0), (1, 4.0)):
            bench.memory.segment.device(index).state = READY
            bench.memory.segment.device(index).cost_scale = scale
        leases = [bench.dispatcher.take(1000) for _ in range(2)]
        for lease in leases:
            bench.hand_over(lease, cost_ms=10)
        found = {bench.slots.header(lease.slot).device for lease in leases}
        assert found == {0, 1}
        assert bench.dispatcher.queued_ms() == pytest.approx(10.0)
        for lease in leases:
            lease.close()

    run(test, devices=2)


def test_what_waits_of_low_priority_costs_urgent_work_its_share_at_most():
    async def test(bench):
        bench.memory.segment.device(0).state = READY
        leases = [bench.dispatcher.take(1000) for _ in range(4)]
        for lease, operation in zip(leases, (0, YIELDS, YIELDS, YIELDS), strict=True):
            bench.hand_over(lease, cost_ms=70, operation=operation)
        assert bench.dispatcher.queued_ms() == pytest.approx(80.0)  # an eighth of it is not its own
        assert bench.dispatcher.queued_ms(batch=True) == pytest.approx(280.0)  # all there is
        leases[1].close()
        leases[2].close()
        assert bench.dispatcher.queued_ms(batch=True) == pytest.approx(140.0)
        for lease in leases:
            lease.close()

    run(test)


def test_low_priority_has_half_of_the_slots():
    async def test(bench):
        bench.memory.segment.device(0).state = READY
        half = bench.memory.segment.worker_slots // 2
        leases = [bench.dispatcher.take(10, batch=True) for _ in range(half)]
        for lease in leases:
            bench.hand_over(lease, operation=YIELDS)
        with pytest.raises(Overloaded):
            bench.dispatcher.take(10, batch=True)
        leases.append(bench.dispatcher.take(10))
        for lease in leases:
            lease.close()

    run(test)


def test_a_full_ring_is_counted_and_the_device_woken():
    async def test(bench):
        ring = Ring.to_device(bench.memory.segment, 0, 0)
        while ring.push(0, 999):
            pass
        with StandIn(bench.memory, echo) as device:  # its first scan finds it whatever the ring says
            await bench.until(lambda: not len(ring))
            device.gate.clear()
            while ring.push(0, 999):
                pass
            with bench.dispatcher.take(1000) as lease:
                bench.hand_over(lease)
                assert bench.memory.counter("worker_ring_full") in {0, 1}
            device.gate.set()

    run(test)


def test_repr_is_a_status_line():
    async def test(bench):
        bench.memory.segment.device(0).state = READY
        with bench.dispatcher.take(1000) as lease:
            assert repr(lease) == f"<Lease slot {lease.slot} generation 0: writing>"
            bench.hand_over(lease)
            assert repr(bench.dispatcher) == "<Dispatcher worker-0: 1 with devices>"
            assert repr(lease).endswith(": published>")
        assert repr(lease).endswith(": closed>")

    run(test)


@pytest.mark.parametrize("end", ["released", "withdrawn", "abandoned"])
def test_the_loop_does_not_wait_for_the_pages_of_big_slots(end):
    """Giving 512 MiB back to the system takes 0.2 s."""
    where = []

    class Watched:
        def __init__(self, slots):
            self._slots = slots

        def __getattr__(self, name):
            found = getattr(self._slots, name)
            if name not in {"release", "withdraw"}:
                return found

            def noted(*arguments):
                where.append((name, threading.current_thread() is threading.main_thread()))
                return found(*arguments)

            return noted

    async def test(bench):
        dispatcher = bench.dispatcher
        dispatcher.slots = Watched(bench.slots)
        with contextlib.ExitStack() as devices:
            if end != "withdrawn":
                device = devices.enter_context(StandIn(bench.memory, echo))
                device.gate.clear()
            lease = dispatcher.take(20 << 20)
            if end != "released":
                bench.hand_over(lease)
            if end == "abandoned":
                await bench.until(lambda: bench.slots.count(CLAIMED) == 1)
            lease.close()
            if end == "abandoned":
                await bench.until(lambda: bench.slots.header(lease.slot).abandoned)
                device.gate.set()
            await bench.until(lambda: bench.slots.count(FREE) == bench.memory.segment.slots)
            await bench.until(lambda: len(dispatcher) == 0)
        assert where
        assert not any(on_loop for _, on_loop in where)
        where.clear()
        with dispatcher.take(1000):
            pass
        assert where == [("release", True)]

    run(test, classes=((1 << 20, 4), (24 << 20, 2)))
