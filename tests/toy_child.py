"""A child for the supervisor's tests: plays a part instead of serving.

``TOY_PARTS`` (JSON) maps ``device 0`` (role and ordinal) to the parts of its incarnations, one
after another; the last one is repeated. ``TOY_FOLDER`` counts them.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from kernels.segment import READY
from kernels.slots import Slots
from server.child import enter

PARENT_LIMIT_S = 60


def part_of(boot):
    """This incarnation's part."""
    name = f"{boot.role} {boot.ordinal}"
    parts = json.loads(os.environ["TOY_PARTS"]).get(name, ["serve"])
    record = Path(os.environ["TOY_FOLDER"]) / name
    with record.open("a") as file:
        file.write(f"{boot.index} {boot.epoch} {os.getpid()}\n")
    return parts[min(len(record.read_text().splitlines()), len(parts)) - 1]


def serve(lane, until=lambda: False):
    """Turn the loop until told to leave."""
    leaving = []
    signal.signal(signal.SIGTERM, lambda number, frame: leaving.append(number))
    lane.touch()
    lane.state = READY
    give_up = time.monotonic() + PARENT_LIMIT_S
    while not leaving and not until() and time.monotonic() < give_up:
        lane.touch()
        time.sleep(0.005)


def main():
    role = sys.argv[1]
    boot, segment, lane = enter(sys.argv[2:])
    assert boot.role == role
    part, _, amount = part_of(boot).partition(" ")
    if part == "exit":
        return int(amount)
    if part == "load":
        time.sleep(PARENT_LIMIT_S)
    if part == "claim":  # an item, then play on
        slots = Slots(segment)
        serve(lane, lambda: any(slots.claim(*hint, boot.epoch) for hint in slots.ready()))
        part = amount
    if part == "crash":
        lane.state = READY
        os.kill(os.getpid(), signal.SIGSEGV)
    if part == "stage":
        lane.touch()
        lane.state = READY
        lane.stage_begin(1)
        time.sleep(PARENT_LIMIT_S)
    if part == "stall":
        lane.touch()
        lane.state = READY
        time.sleep(PARENT_LIMIT_S)
    if part == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        lane.touch()
        lane.state = READY
        give_up = time.monotonic() + PARENT_LIMIT_S
        while time.monotonic() < give_up:
            lane.touch()
            time.sleep(0.005)
    serve(lane)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
