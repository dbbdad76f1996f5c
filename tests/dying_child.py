"""A worker or device that kills itself at a planted step: ``python -m tests.dying_child MODULE ARGUMENT...``.

A step is planted by a file of its name in ``STOPS_FOLDER``. The first process that comes to it takes the
file away and is gone, without another instruction. While a file ``hold`` is there, processes wait at
their start.
"""

import os
import runpy
import signal
import sys
import time
from pathlib import Path

import kernels.ring
import kernels.slots

#: Steps of each kind of process, in the order in which a request comes to them.
STEPS = {
    "device": ("claimed", "computed", "finished", "told"),
    "worker": ("taken", "published", "pushed", "read"),
}
#: No test holds a process for longer; should one forget to let go, it ends.
HOLD_LIMIT_S = 60


def step(name):
    """Die here, if that is planted."""
    try:
        Path(os.environ["STOPS_FOLDER"], name).unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


class Slots(kernels.slots.Slots):
    """Comes to a step around each edge."""

    def take(self, worker, nbytes):
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
            step("claimed")
        return claimed

    def finish(self, slot, generation, epoch, result_bytes):
        step("computed")
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


def main():
    give_up = time.monotonic() + HOLD_LIMIT_S
    while Path(os.environ["STOPS_FOLDER"], "hold").exists() and time.monotonic() < give_up:
        time.sleep(0.002)
    kernels.slots.Slots, kernels.ring.Ring = Slots, Ring
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
