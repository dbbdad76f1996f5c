"""Ring hop: worker → device → worker with empty work, both ends asleep before; and the floor below it.

The worker end is a uvloop loop with an eventfd reader, the device end a process blocked
in poll. The floor is a bare eventfd ping-pong between the same uvloop loop and a
process blocked in read. Both run in alternating blocks of the same run, so that they
share the machine's noise. Placements: ``free`` (the scheduler decides), ``apart`` (each
end on a core of its own), ``together`` (both on one core).

The hop is everything a request costs but its work: take, publish, push, wake, pop, claim,
finish, push, wake, pop, result, release. Times are microseconds.
"""

from __future__ import annotations

import asyncio
import os
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import uvloop

from benchmarks import common
from kernels.ring import Ring
from kernels.segment import READY, Segment
from kernels.slots import Slots

DEVICE_EPOCH = 2
TARGET_RATIO = 1.6  # p50 of the hop over p50 of the floor


# --- the other end ----------------------------------------------------------------


def pong(ping: int, answer: int) -> None:
    """Bare floor: blocked in read, answers at once."""
    while True:
        os.eventfd_read(ping)
        os.eventfd_write(answer, 1)


def device(segment_fd: int, mine: int, worker_event: int) -> None:
    """A device without work: drains its ring, claims, finishes, tells the worker, sleeps."""
    segment = Segment.attach(segment_fd)
    slots, lane, worker = Slots(segment), segment.device(0), segment.worker(0)
    hints, results = Ring.to_device(segment, 0, 0), Ring.to_worker(segment, 0, 0)
    poller = select.poll()
    poller.register(mine, select.POLLIN)
    lane.state = READY
    while True:
        while (hint := hints.pop()) is not None:
            slot, generation = hint
            if slots.claim(slot, generation, DEVICE_EPOCH):
                slots.finish(slot, generation, DEVICE_EPOCH, slots.header(slot).request_id)
                results.push(slot, generation)
                if worker.sleeping:
                    os.eventfd_write(worker_event, 1)
        lane.prepare_sleep()
        woken = not len(hints) and bool(poller.poll())
        lane.wake()
        if woken:
            os.eventfd_read(mine)


@contextmanager
def other_end(role: str, *fds: int) -> Iterator[int]:
    """Pid of a child that runs one of the two functions above, with these fds."""
    command = [sys.executable, "-m", "benchmarks.bench_ring", role, *map(str, fds)]
    child = subprocess.Popen(command, pass_fds=fds, cwd=common.ROOT)
    try:
        yield child.pid
    finally:
        child.kill()
        child.wait()


# --- the worker's end ----------------------------------------------------------------


class Floor:
    """One round trip of the bare ping-pong."""

    def __init__(self, stack: ExitStack) -> None:
        self._ping = os.eventfd(0)
        self.event = os.eventfd(0, os.EFD_NONBLOCK)
        self.pid = stack.enter_context(other_end("pong", self._ping, self.event))

    def start(self) -> None:
        os.eventfd_write(self._ping, 1)

    def landed(self) -> bool:
        os.eventfd_read(self.event)
        return True

    def rest(self) -> None:
        return


class Hop:
    """One request through slot and rings."""

    def __init__(self, stack: ExitStack) -> None:
        self._device_event = os.eventfd(0, os.EFD_NONBLOCK)
        self.event = os.eventfd(0, os.EFD_NONBLOCK)
        self._segment = Segment.create(1, 1, [(1 << 20, 32)])
        self._segment.worker(0).incarnate(os.getpid(), 1)
        self._segment.device(0).incarnate(os.getpid(), DEVICE_EPOCH)
        self._slots = Slots(self._segment)
        self._worker, self._device = self._segment.worker(0), self._segment.device(0)
        self._hints, self._results = Ring.to_device(self._segment, 0, 0), Ring.to_worker(self._segment, 0, 0)
        self._number = 0
        fds = (self._segment.fd, self._device_event, self.event)
        self.pid = stack.enter_context(other_end("device", *fds))
        while self._device.state != READY:
            time.sleep(0.01)

    def start(self) -> None:
        self._number += 1
        slot = self._slots.take(0, 1000)
        generation = self._slots.publish(
            slot,
            request_id=self._number,
            deadline_ns=1 << 62,
            operation=0,
            device=0,
            cost_us=1,
            request_bytes=1,
        )
        self._hints.push(slot, generation)
        if self._device.sleeping:
            os.eventfd_write(self._device_event, 1)

    def landed(self) -> bool:
        os.eventfd_read(self.event)
        self._worker.wake()
        hint = self._results.pop()
        if hint is None:
            return False
        if self._slots.result(*hint) != self._number or not self._slots.release(*hint):
            raise RuntimeError(f"hop {self._number} came back wrong")
        return True

    def rest(self) -> None:
        """Before the loop blocks."""
        self._worker.prepare_sleep()
        if len(self._results):
            raise RuntimeError("a result without a request")


async def block(end: Floor | Hop, rounds: int, pause_s: float) -> list[float]:
    """Microseconds of each round trip; both ends have slept for ``pause_s`` before each."""
    loop = asyncio.get_running_loop()
    took: list[float] = []
    done: asyncio.Future[None] = loop.create_future()
    began = 0

    def on_event() -> None:
        if end.landed():
            took.append((time.perf_counter_ns() - began) / 1000)
            done.set_result(None)

    loop.add_reader(end.event, on_event)
    for _ in range(rounds):
        end.rest()
        await asyncio.sleep(pause_s)
        done = loop.create_future()
        began = time.perf_counter_ns()
        end.start()
        await asyncio.wait_for(done, 10)
    loop.remove_reader(end.event)
    return took


def place(placement: str, cores: list[int], children: list[int]) -> bool:
    """Put this process and its children on their cores; False when there are too few."""
    if placement == "apart" and len(cores) < 2:
        return False
    one, other = cores[:1], cores[1:2]
    mine, theirs = {"free": (cores, cores), "apart": (one, other), "together": (one, one)}[placement]
    os.sched_setaffinity(0, mine)
    for pid in children:
        os.sched_setaffinity(pid, theirs)
    return True


async def measure(blocks: int, rounds: int, pause_s: float) -> list[dict[str, object]]:
    """A row for floor and hop per placement; the hop's row has the ratios."""
    rows: list[dict[str, object]] = []
    cores = sorted(os.sched_getaffinity(0))
    with ExitStack() as stack:
        floor, hop = Floor(stack), Hop(stack)
        stack.callback(os.sched_setaffinity, 0, cores)
        for placement in ("free", "apart", "together"):
            if not place(placement, cores, [floor.pid, hop.pid]):
                continue
            took: dict[str, list[float]] = {"floor": [], "hop": []}
            ratios = []
            for end in (floor, hop):
                await block(end, rounds, pause_s)
            for _ in range(blocks):
                one = {"floor": await block(floor, rounds, pause_s), "hop": await block(hop, rounds, pause_s)}
                ratios.append(statistics.median(one["hop"]) / statistics.median(one["floor"]))
                for name, values in one.items():
                    took[name].extend(values)
            base, full = common.summary(took["floor"]), common.summary(took["hop"])
            rows.append({"what": "floor", "placement": placement, **base})
            rows.append({
                "what": "hop", "placement": placement, **full,
                "ratio_p50": full["p50"] / base["p50"], "ratio_p99": full["p99"] / base["p99"],
                "ratio_p50_of_blocks": common.summary(ratios),
            })  # fmt: skip
    return rows


# --- scans -------------------------------------------------------------------------------


def scans() -> list[dict[str, object]]:
    """Microseconds of the calls that look at every header, over 300 slots, all READY but one."""
    with Segment.create(2, 2, [(1 << 16, 150)]) as segment:
        slots = Slots(segment)
        for number in range(299):
            slot = slots.take(number // 150, 1)
            slots.publish(
                slot,
                request_id=number,
                deadline_ns=1,
                operation=0,
                device=number % 2,
                cost_us=1,
                request_bytes=1,
            )
        calls: dict[str, Callable[[], object]] = {
            "pending_us, 300 slots": slots.pending_us,
            "count, 300 slots": lambda: slots.count(2),
            "ready, 299 found": slots.ready,
            "done, none found": lambda: slots.done(0),
            "take + release, 149 before it are taken": lambda: slots.release(
                299, slots.generation(slots.take(1, 1))
            ),
            "header": lambda: slots.header(0),
        }
        return [
            {"what": name, **{k: v * 1e6 for k, v in common.time_call(call).items() if k != "n"}}
            for name, call in calls.items()
        ]


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--blocks", type=int, default=20, help="pairs of blocks per placement")
    parser.add_argument("--rounds", type=int, default=150, help="round trips per block")
    parser.add_argument("--pause-us", type=int, default=300, help="sleep of both ends before each round trip")
    options = parser.parse_args()
    if options.quick:
        options.blocks, options.rounds = 2, 20
    uvloop.install()
    rows = asyncio.run(measure(options.blocks, options.rounds, options.pause_us / 1e6))
    looks = scans()
    shown = ("what", "placement", "n", "p50", "p90", "p99", "ratio_p50", "ratio_p99")
    print(common.table(shown, [[row.get(name) for name in shown] for row in rows]))
    print(f"\ntarget: ratio p50 <= {TARGET_RATIO} (free)\n")
    print(common.table(["scan", "p50 µs", "max µs"], [[r["what"], r["p50"], r["max"]] for r in looks]))
    common.report(
        "ring", rows, options=vars(options), path=options.json, scans=looks, target_ratio=TARGET_RATIO
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["pong"]:
        pong(*map(int, sys.argv[2:]))
    elif sys.argv[1:2] == ["device"]:
        device(*map(int, sys.argv[2:]))
    else:
        main()
