"""A worker or device with planted faults: ``python -m tests.dying_child MODULE ARGUMENT...``.

A step is planted by a file of its name in ``STOPS_FOLDER``. The first process that comes to it takes the
file away and is gone, without another instruction. While a file ``hold`` is there, processes wait at
their start; while one named in ``BUGS`` is there, they have that bug.
"""

import os
import runpy
import signal
import sys
import time
import zlib
from pathlib import Path

import kernels.ring
import kernels.slots

#: Steps of each kind of process, in the order in which a request comes to them.
STEPS = {
    "device": ("claimed", "computed", "finished", "told"),
    "worker": ("taken", "published", "pushed", "read"),
}
#: Bugs that a gate must catch.
BUGS = {
    "mute": "wake-ups are not sent",
    "mix": "a device answers with the texts of the item before",
    "lose": "a device drops what it has computed",
    "hang": "a device drops it, and the deadline is forgotten as well",
    "keep_slot": "a worker does not free slots",
    "keep_file": "a worker opens a file for each request",
    "keep_memory": "a worker and a device keep a little memory for each request",
    "finish_all": "work that nobody waits for is done all the same",
    "ready": "a worker says that the server is ready whatever happens",
    "admit_all": "a worker lets everybody in, however long the queue is",
    "starve": "a device leaves low priority waiting while there is anything else",
}
#: No test holds a process for longer; should one forget to let go, it ends.
HOLD_LIMIT_S = 60
#: What ``keep_memory`` keeps: about as much as a body has.
KEPT_BYTES = 48 << 10
kept = []


def step(name):
    """Die here, if that is planted."""
    try:
        Path(os.environ["STOPS_FOLDER"], name).unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def has(bug):
    """Whether this process has the bug now."""
    assert bug in BUGS
    return Path(os.environ["STOPS_FOLDER"], bug).exists()


def keep():
    """Have the bug ``keep_memory``."""
    if has("keep_memory"):
        kept.append(b"x" * KEPT_BYTES)


class Slots(kernels.slots.Slots):
    """Comes to a step around each edge."""

    def take(self, worker, nbytes):
        if has("keep_file"):
            os.open("/dev/null", os.O_RDONLY)
        keep()
        slot = super().take(worker, nbytes)
        step("taken")
        return slot

    def publish(self, slot, **fields):
        generation = super().publish(slot, **fields)
        step("published")
        return generation

    def result(self, slot, generation):
        length = super().result(slot, generation)
        if length >= 0:
            step("read")
        return length

    def claim(self, slot, generation, epoch):
        claimed = super().claim(slot, generation, epoch)
        if claimed:
            keep()
            step("claimed")
        return claimed

    def release(self, slot, generation):
        return has("keep_slot") or super().release(slot, generation)

    def withdraw(self, slot, generation):
        return not has("finish_all") and super().withdraw(slot, generation)

    def abandon(self, slot, generation):
        if not has("finish_all"):
            super().abandon(slot, generation)

    def finish(self, slot, generation, epoch, result_bytes):
        step("computed")
        if has("lose") or has("hang"):
            return False
        finished = super().finish(slot, generation, epoch, result_bytes)
        if finished:
            step("finished")
        return finished


class Ring:
    """Comes to a step behind each push."""

    def __init__(self, ring, pushed):
        self._ring, self._pushed, self.pop = ring, pushed, ring.pop

    @classmethod
    def to_device(cls, *ends, make=kernels.ring.Ring.to_device):
        return cls(make(*ends), "pushed")

    @classmethod
    def to_worker(cls, *ends, make=kernels.ring.Ring.to_worker):
        return cls(make(*ends), "told")

    def __len__(self):
        return len(self._ring)

    def push(self, slot, generation):
        pushed = self._ring.push(slot, generation)
        step(self._pushed)
        return pushed


def plant_in_engine():
    """Give the fake engine the bug ``mix``."""
    import pipelines.engines.fake

    class Checksums:
        last = 0

        def crc32(self, data):
            answer, self.last = self.last, zlib.crc32(data)
            return answer if has("mix") else self.last

    pipelines.engines.fake.zlib = Checksums()


def plant_in_system():
    """Give wake-ups the bug ``mute``."""
    write = os.eventfd_write
    os.eventfd_write = lambda fd, value: None if has("mute") else write(fd, value)


def plant_in_worker():
    """Give deadlines the bug ``hang``, readiness ``ready``, the door ``admit_all``."""
    import server.dispatch
    import server.routes
    from server.admission import Admission

    expire, unready, check = server.dispatch._expire, server.routes.unready, Admission.check_queue
    server.dispatch._expire = lambda answer: None if has("hang") else expire(answer)
    server.routes.unready = lambda *about: [] if has("ready") else unready(*about)
    Admission.check_queue = lambda self, *about: None if has("admit_all") else check(self, *about)


def plant_in_device():
    """Give its queues the bug ``starve``."""
    from server.intake import Intake

    following = Intake._next
    Intake._next = lambda self: self._urgent or self._batch if has("starve") else following(self)


def main():
    give_up = time.monotonic() + HOLD_LIMIT_S
    while Path(os.environ["STOPS_FOLDER"], "hold").exists() and time.monotonic() < give_up:
        time.sleep(0.002)
    kernels.slots.Slots, kernels.ring.Ring = Slots, Ring
    plant_in_engine()
    plant_in_system()
    sys.argv = sys.argv[1:]
    plant = {"server.worker": plant_in_worker, "server.device": plant_in_device}.get(sys.argv[0])
    if plant:  # a render child has none
        plant()
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
