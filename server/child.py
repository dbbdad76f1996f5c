"""What every child process does first: read its orders, attach, beat, and die with its parent."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Literal, NamedTuple

from kernels.segment import Lane, Segment, set_parent_death_signal, set_process_name
from server.config import Boot, read_boot
from server.logs import setup_logging

#: Seconds a child waits for the supervisor to enter its pid into the lane; that takes microseconds.
_LANE_WAIT_S = 30.0
#: File descriptors up to this one are for everybody.
_STDERR = 2
#: Added to the kernel's out-of-memory score: devices hold the most memory and are replaced without loss,
#: so they go first; the supervisor (0) goes last.
_OOM_SCORE = {"device": 500, "worker": 300}


class Child(NamedTuple):
    """A started child: its orders, the mapped segment and its own lane."""

    boot: Boot
    segment: Segment
    lane: Lane


def enter(argv: list[str]) -> Child:
    """Turn this fresh process into the child that its command line names.

    Args:
        argv: ``--index I --boot-fd N``.

    Raises:
        SystemExit: the supervisor is gone, or never entered this process into its lane.
    """
    parser = argparse.ArgumentParser(description="A child of the server; started by its supervisor only.")
    parser.add_argument("--index", type=int, required=True, help="lane of this process")
    parser.add_argument("--boot-fd", type=int, required=True, help="memfd that holds the Boot record")
    boot = read_boot(parser.parse_args(argv).boot_fd)
    role = f"{boot.role}-{boot.index}"
    _keep_files_to_itself()
    set_process_name(role)
    if not set_parent_death_signal(signal.SIGKILL, boot.parent_pid):
        raise SystemExit(f"{role}: the supervisor is gone")
    setup_logging(role, boot.config.log_format, boot.config.log_level)
    _be_killed_before_the_supervisor(boot.role)
    segment = Segment.attach(boot.segment_fd)
    lane = segment.worker(boot.index) if boot.role == "worker" else segment.device(boot.index)
    _wait_for_lane(lane, boot)
    lane.start_heartbeat()
    return Child(boot, segment, lane)


def _keep_files_to_itself() -> None:
    """What the supervisor has handed down ends here: uvloop lets children inherit all that may be inherited.

    A render child would have the segment, the port and the counters of API keys, and parses hostile files.
    """
    for entry in list(Path("/proc/self/fd").iterdir()):
        if int(entry.name) > _STDERR:
            with contextlib.suppress(OSError):  # the listing's own
                os.set_inheritable(int(entry.name), False)


def _wait_for_lane(lane: Lane, boot: Boot) -> None:
    """Return once the supervisor has written this process into ``lane``."""
    give_up = time.monotonic() + _LANE_WAIT_S
    while lane.pid != os.getpid() or lane.epoch != boot.epoch:
        if time.monotonic() > give_up:
            raise SystemExit(f"{boot.role}-{boot.index}: never entered into its lane")
        time.sleep(0.0005)


def _be_killed_before_the_supervisor(role: Literal["worker", "device"]) -> None:
    try:
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE[role]), encoding="ascii")
    except OSError:  # read-only /proc in some sandboxes: an advantage lost, nothing broken
        return
