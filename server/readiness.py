"""Whether the server can do its work: what ``/health/ready`` answers."""

from __future__ import annotations

from kernels.segment import DRAINING, EMPTY, FAILED, READY, STARTING, Lane, Segment, monotonic_ns
from server.config import Config

#: Age of a beat (50 ms period, of a thread of its own) at which a process cannot be counted on. The
#: supervisor waits longer before it kills.
_SILENCE_MS = 1500

_NAMES = {EMPTY: "down", STARTING: "starting", READY: "ready", DRAINING: "draining", FAILED: "failed"}


def unready(segment: Segment, config: Config) -> list[str]:
    """Why the server is not ready, in words; empty when it is. Busy is ready."""
    reasons = ["draining"] if segment.draining else []
    now, patience_ns = monotonic_ns(), min(_SILENCE_MS, config.heartbeat_timeout_ms) * 1_000_000
    workers = [segment.worker(index) for index in range(segment.workers)]
    devices = [segment.device(index) for index in range(segment.devices)]
    for role, lanes, wanted in (
        ("worker", workers, config.workers),
        ("device", devices, len(config.devices)),
    ):
        serving = [lane for lane in lanes if lane.state == READY]
        if len(serving) < wanted:
            idle = [lane for lane in lanes if lane.state != READY][: wanted - len(serving)]
            reasons += [f"{role}-{lane.index} is {_NAMES.get(lane.state, 'unknown')}" for lane in idle]
        reasons += [
            f"{role}-{lane.index} does not answer" for lane in serving if _is_old(lane, now, patience_ns)
        ]
    return reasons


def _is_old(lane: Lane, now_ns: int, patience_ns: int) -> bool:
    return now_ns - lane.heartbeat_ns > patience_ns
