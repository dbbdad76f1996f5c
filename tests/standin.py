"""A device end inside the test process: a thread that answers slots over the real rings."""

import gc
import os
import threading

from kernels.segment import READY, Segment
from kernels.slots import Slots
from server import wire
from server.intake import Intake
from server.metrics import Metrics, Table
from server.outbox import Outbox


class Memory:
    """A segment with its eventfds, one worker lane to be used by the test, and device lanes.

    A context manager: leaving it closes everything.
    """

    def __init__(self, devices=1, classes=((1 << 20, 4), (16 << 20, 4)), workers=1):
        self.segment = Segment.create(workers, devices, list(classes))
        self.slots = Slots(self.segment)
        self.worker_events = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(workers)]
        self.device_events = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(devices)]
        self.lane = self.segment.worker(0)
        self.lane.incarnate(os.getpid(), 1)
        self.table = Table(["/toy"])

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        for fd in (*self.worker_events, *self.device_events):
            os.close(fd)
        self.slots = None
        gc.collect()  # leases in the cycles of finished tasks still hold views
        if exc_info[0] is None:  # a failed test's frames hold more; its own message matters
            self.segment.close()

    def metrics(self):
        return Metrics(self.table, self.lane.counters)

    def counter(self, name):
        return self.lane.counters[self.table.counters[name]]


class StandIn:
    """A device in a thread. A context manager.

    Args:
        memory: where it works.
        answer: ``(request, item bytes) -> Struct or ServeError`` for every slot.
        index: its lane.

    Attributes:
        gate: claimed slots wait for it; set by default.
        claimed: requests it has claimed so far.
    """

    def __init__(self, memory, answer, index=0, epoch=100):
        self._memory, self._answer = memory, answer
        self.lane = memory.segment.device(index)
        self.lane.incarnate(os.getpid(), epoch + index)
        self.gate = threading.Event()
        self.gate.set()
        self.claimed = []
        self._stop = False
        self._thread = threading.Thread(target=self._run, name=f"stand-in-{index}")

    def __enter__(self):
        self.lane.state = READY
        self._thread.start()
        return self

    def __exit__(self, *exc_info):
        self._stop = True
        self.gate.set()
        os.eventfd_write(self._memory.device_events[self.lane.index], 1)
        self._thread.join(10)
        assert not self._thread.is_alive(), "the stand-in does not end"

    def _run(self):
        memory = self._memory
        metrics = Metrics(memory.table, self.lane.counters)
        event = memory.device_events[self.lane.index]
        intake = Intake(memory.segment, memory.slots, self.lane, event, metrics)
        outbox = Outbox(memory.segment, memory.slots, self.lane, memory.worker_events, metrics)
        while not self._stop:
            intake.collect()
            claim = intake.claim(busy=False)
            if claim is None:
                intake.sleep()
                continue
            view = memory.slots.data(claim.slot)
            request = wire.read_request(view, claim.header.request_bytes)
            self.claimed.append(request)
            self.gate.wait(10)
            content = bytes(view[wire.META : wire.META + request.shape.nbytes])
            timings = wire.Timings({"queue": 0.5, "det": 1.0})
            outbox.send(claim, request.shape, self._answer(request, content), timings)
