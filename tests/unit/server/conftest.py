"""A device loop on a real segment, for the tests of the device process."""

import gc
import os

import pytest

from kernels.ring import Ring
from kernels.segment import READY as LANE_READY
from kernels.segment import Segment, monotonic_ns
from kernels.slots import Slots
from pipelines.core.config import ModelFiles, PipelineConfig
from server.config import Config, DeviceConfig
from server.device_loop import DeviceLoop
from server.intake import Intake
from server.metrics import Metrics, Table
from server.outbox import Outbox
from server.stages import Stages
from server.wire import Shape, read_result, write_request
from tests.toy_pipeline import ToyParams, ToyPipeline, ToyResult

FAKE = b'{"kind": "classification"}'
SECOND = 10**9


class World:
    """One worker lane and two device lanes in this process; ``loop`` is device 0."""

    def __init__(self, folder, window=2, batches_pay=False, makes_way=False, threads=(1, 2), lanes=2):
        (folder / "fake.json").write_bytes(FAKE)
        self.model = ModelFiles("toy", str(folder), {"fake": str(folder / "fake.json")})
        self.pipeline_config = PipelineConfig("toy", "toy", "v3", {}, {"only": self.model}, {"only": "fake"})
        self.device_config = DeviceConfig(threads=threads[0], all_threads=threads[1])
        self.config = Config(pipelines=(), devices=(self.device_config,) * lanes)
        self.segment = Segment.create(1, lanes, [(1 << 16, 16), (1 << 20, 4)])
        self.slots = Slots(self.segment)
        self.epochs = iter(range(1, 1000))
        self.segment.worker(0).incarnate(os.getpid(), next(self.epochs))
        for index in range(lanes):
            self.segment.device(index).incarnate(os.getpid(), next(self.epochs))
            self.segment.device(index).state = LANE_READY
        self.worker_event, self.device_event = os.eventfd(0, os.EFD_NONBLOCK), os.eventfd(0, os.EFD_NONBLOCK)
        self.lane = self.segment.device(0)
        self.table = Table(["/toy"])
        self.metrics = Metrics(self.table, self.lane.counters)
        self.stages = Stages(self.config, self.device_config)
        self.pipeline = ToyPipeline(self.pipeline_config, self.stages)
        self.stage = self.pipeline.stage
        self.stages.load()
        self.intake = Intake(self.segment, self.slots, self.lane, self.device_event, self.metrics)
        self.outbox = Outbox(self.segment, self.slots, self.lane, [self.worker_event], self.metrics)
        self.loop = DeviceLoop(
            self.segment,
            self.slots,
            self.lane,
            [self.pipeline],
            self.stages,
            self.intake,
            self.outbox,
            self.metrics,
            window=window,
            batches_pay=batches_pay,
            makes_way=makes_way,
        )
        self.to_device = [Ring.to_device(self.segment, 0, index) for index in range(lanes)]
        self.to_worker = Ring.to_worker(self.segment, 0, 0)
        assert self.loop.turn() == 0  # the scan that every new device begins with

    def close(self):
        del self.loop, self.metrics, self.intake, self.outbox
        os.close(self.worker_event)
        os.close(self.device_event)
        self.segment.close()

    def send(self, params=None, *, deadline_s=60.0, device=0, hint=True, record=None, **fields):
        """What a worker does; (slot, generation)."""
        slot = self.slots.take(0, 20_000)
        view = self.slots.data(slot)
        shape = Shape(height=2, width=2)
        length = write_request(view, 0, 0, 0, shape, params or ToyParams(**fields))
        if record is not None:
            view[: len(record)] = record
        generation = self.slots.publish(
            slot,
            request_id=0xABC,
            deadline_ns=monotonic_ns() + int(deadline_s * SECOND),
            operation=0,
            device=device,
            cost_us=10_000,
            request_bytes=length,
        )
        if hint:
            self.to_device[device].push(slot, generation)
        return slot, generation

    def turns(self, count=20):
        """Turn until nothing is left to do."""
        for _ in range(count):
            if self.loop.turn() is not None:
                return
        raise AssertionError(f"still at work after {count} turns: {self.loop!r}")

    def answer(self, claim):
        """What the worker reads, and gives back: result or fault."""
        slot, generation = claim
        length = self.slots.result(slot, generation)
        assert length >= 0, f"slot {slot} is in state {self.slots.header(slot).state}"
        outcome, self.timings = read_result(self.slots.data(slot), Shape(2, 2), length, ToyResult)
        assert self.slots.release(slot, generation)
        return outcome

    def hints(self):
        """What the worker's ring holds."""
        found = []
        while (hint := self.to_worker.pop()) is not None:
            found.append(hint)
        return found

    def count(self, name):
        return self.lane.counters[self.table.counters[name]]


@pytest.fixture
def make(tmp_path, no_leaks, caplog):
    worlds = []

    def build(**options):
        worlds.append(World(tmp_path, **options))
        return worlds[-1]

    yield build
    caplog.get_records("call").clear()  # tracebacks hold views of the segment
    gc.collect()
    for world in worlds:
        world.close()


@pytest.fixture
def world(make):
    return make()
