"""Starting child processes, and what the supervisor remembers of each."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
from collections.abc import Container
from typing import Literal

from kernels.segment import READY, Lane, Segment
from server.blame import is_stopped
from server.config import Boot, Config, boot_memfd
from server.guard import quota_memfd
from server.launch import child_command, child_environment
from server.liveness import Hang
from server.sizes import slot_classes

RoleName = Literal["worker", "device"]

_log = logging.getLogger(__name__)


class Ground:
    """What all children stand on: segment, wake-ups, listening socket. Made once by the supervisor.

    There is one lane more than processes on each side: the spare in which a
    replacement gets ready before the old process leaves.
    """

    def __init__(self, config: Config, listen: socket.socket, memfd: socket.socket | None = None) -> None:
        self.config = config
        self.listen: socket.socket | None = listen
        self.memfd = memfd
        workers, devices = config.workers + 1, len(config.devices) + 1
        self.segment = Segment.create(workers, devices, slot_classes(config.limits))
        self.worker_events = tuple(self._eventfd() for _ in range(workers))
        self.device_events = tuple(self._eventfd() for _ in range(devices))
        self.quota_fd = quota_memfd(workers)

    @staticmethod
    def _eventfd() -> int:
        return os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def lane(self, role: RoleName, index: int) -> Lane:
        """Lane ``index`` of that side."""
        return self.segment.worker(index) if role == "worker" else self.segment.device(index)

    def spare_lane(self, role: RoleName, used: Container[int]) -> int:
        """The lane of that side that is not ``used``."""
        lanes = self.segment.workers if role == "worker" else self.segment.devices
        return next(index for index in range(lanes) if index not in used)

    def wake(self, role: RoleName, index: int) -> None:
        """Wake the process in that lane."""
        event = (self.worker_events if role == "worker" else self.device_events)[index]
        try:
            os.eventfd_write(event, 1)
        except BlockingIOError:  # the counter is full: it is awake already
            return

    def close_listener(self) -> None:
        """Give up this process's hold on the listening sockets; workers close theirs."""
        for listen in (self.listen, self.memfd):
            if listen is not None:
                listen.close()
        self.listen = self.memfd = None

    def close(self) -> None:
        """Close every fd. Children keep theirs."""
        self.close_listener()
        for fd in (*self.worker_events, *self.device_events, self.quota_fd):
            os.close(fd)
        self.segment.close()


class Child:
    """One incarnation of one process.

    Attributes:
        role, index, ordinal, epoch: which lane it is in, which place it fills, its incarnation.
        enrolled_ns: CLOCK_MONOTONIC when its lane was made.
        was_ready: it has been seen ready.
        retiring: it was told to finish and leave; nobody replaces it when it does.
        hang: why the supervisor killed it, if it did.
        stopped: it was in a stopped state then.
        kill_at_ns: when patience with a retiring process ends, 0 for never.
        seen_ns: when its memory was looked at, 0 for never yet; -1 when it is not looked at any more.
    """

    def __init__(self, ground: Ground, role: RoleName, index: int, ordinal: int, epoch: int) -> None:
        """Start it. Raises OSError when the system has no process or memory for it."""
        self.role, self.index, self.ordinal, self.epoch = role, index, ordinal, epoch
        self.was_ready = False
        self.retiring = False
        self.hang: Hang | None = None
        self.stopped = False
        self.kill_at_ns = self.seen_ns = 0
        self.lane = ground.lane(role, index)
        self.process = _popen(ground, role, index, ordinal, epoch)
        try:
            self.pidfd = os.pidfd_open(self.process.pid)
        except OSError:
            self.process.kill()
            self.process.wait()
            raise
        self.lane.incarnate(self.process.pid, epoch)
        self.enrolled_ns = self.lane.heartbeat_ns

    def __repr__(self) -> str:
        state = "retiring" if self.retiring else "ready" if self.was_ready else "starting"
        return f"<{self.name} pid {self.process.pid} epoch {self.epoch} {state}>"

    @property
    def name(self) -> str:
        """``device-0``."""
        return f"{self.role}-{self.index}"

    @property
    def is_ready(self) -> bool:
        """What its lane says now."""
        return self.lane.state == READY

    def send(self, number: signal.Signals) -> None:
        """Send a signal. A process that has ended meanwhile is fine."""
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            return

    def kill_hung(self, hang: Hang) -> None:
        """End a process that does not move any more."""
        self.hang, self.stopped = hang, is_stopped(self.process.pid)
        self.send(signal.SIGKILL)

    def bury(self) -> int:
        """Collect the exit status of a process whose pidfd is readable, and close the pidfd."""
        os.close(self.pidfd)
        return self.process.wait()


def _popen(ground: Ground, role: RoleName, index: int, ordinal: int, epoch: int) -> subprocess.Popen[bytes]:
    """Spawn (never fork a threaded process into Python): the child is told everything in a memfd."""
    listen_fd = ground.listen.fileno() if role == "worker" and ground.listen is not None else -1
    memfd_fd = ground.memfd.fileno() if role == "worker" and ground.memfd is not None else -1
    quota_fd = ground.quota_fd if role == "worker" else -1
    boot = Boot(
        role=role,
        index=index,
        epoch=epoch,
        ordinal=ordinal,
        parent_pid=os.getpid(),
        segment_fd=ground.segment.fd,
        listen_fd=listen_fd,
        worker_events=ground.worker_events,
        device_events=ground.device_events,
        config=ground.config,
        quota_fd=quota_fd,
        memfd_fd=memfd_fd,
    )
    boot_fd = boot_memfd(boot)
    inherited = [boot_fd, boot.segment_fd, *ground.worker_events, *ground.device_events]
    try:
        return subprocess.Popen(
            [*child_command(f"server.{role}"), "--index", str(index), "--boot-fd", str(boot_fd)],
            pass_fds=inherited + [fd for fd in (listen_fd, memfd_fd, quota_fd) if fd >= 0],
            stdin=subprocess.DEVNULL,
            env=child_environment(f"server.{role}", os.environ),
            # Ctrl-C reaches the supervisor only; it tells the children what to do.
            start_new_session=True,
        )
    finally:
        os.close(boot_fd)


def reap_strangers(ours: set[int]) -> None:
    """Collect ended children that this process inherited as the init of a container.

    Such are helpers of a worker that died. Children in ``ours`` (pids) are left to their owner.
    """
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or found.si_pid in ours:
            return
        os.waitpid(found.si_pid, 0)
        _log.debug("collected orphan %d", found.si_pid)
