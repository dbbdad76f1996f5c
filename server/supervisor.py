"""Starts, watches, restarts, replaces, drains and stops all processes. Knows nothing of HTTP or models."""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
from collections import deque

from kernels.segment import DRAINING, EMPTY, FAILED, monotonic_ns
from kernels.slots import Slots
from server.blame import Blame, MemoryKills, find_cause
from server.children import Child, Ground, RoleName, reap_strangers
from server.config import Config
from server.liveness import Policy, Watchman, delay_ns, find_hang, look
from server.logs import setup_logging
from server.posts import Post, describe_end, say, url
from server.signals import Signals

_MS = 1_000_000
#: Exit code of a child whose configuration cannot work: starting it again would not help.
EXIT_CONFIG = 2
#: A server that lost all processes of one kind answers what it holds (503) within this time.
_LAST_WORDS_NS = 5_000 * _MS

_log = logging.getLogger(__name__)


class Supervisor:
    """The loop over all children. ``run`` returns the exit code of the server."""

    def __init__(self, ground: Ground, signals: Signals, policy: Policy) -> None:
        self.ground, self.signals, self.policy = ground, signals, policy
        self.posts = [Post("device", i) for i in range(len(ground.config.devices))]
        self.posts += [Post("worker", i) for i in range(ground.config.workers)]
        self.children: dict[int, Child] = {}
        self.rolls: deque[Post] = deque()
        self.announced = False
        self.exit_code = 0
        self.leaving: RoleName | None = None
        self._deadline_ns = 0
        self._epoch = 0
        self._blame = Blame(ground.segment, Slots(ground.segment))
        self._memory_kills = MemoryKills()
        self._poller = select.poll()

    # --- the loop -----------------------------------------------------------------------------

    def run(self) -> int:
        """Run until the last child has left."""
        self._poller.register(self.signals.fd, select.POLLIN)
        watchman = Watchman(self.policy, monotonic_ns())
        try:
            for post in self.posts:
                self._start(post, post.lane)
            while self.children or self.leaving is None:
                ended = [fd for fd, _ in self._poller.poll(self._patience_ms()) if fd != self.signals.fd]
                now = monotonic_ns()
                for fd in ended:
                    self._bury(self.children.pop(fd), now)
                for number in self.signals.take():
                    self._handle_signal(number, now)
                self._watch(now, watchman.may_judge(now))
                self._restart_due(now)
                self._advance_rolls()
                self._announce()
                self._advance_leaving(now)
                if os.getpid() == 1:  # the init of a container inherits what its children leave behind
                    reap_strangers({child.process.pid for child in self.children.values()})
        finally:
            self._end_all()
        return self.exit_code

    def _patience_ms(self) -> int:
        """How long a pass may wait: shortly while somebody is about to be ready."""
        starting = any(not child.was_ready for child in self.children.values())
        due = any(post.start_at_ns is not None for post in self.posts)
        return 20 if starting or due else max(1, min(250, self.policy.heartbeat_ns // 4 // _MS))

    def _end_all(self) -> None:
        for child in self.children.values():
            child.send(signal.SIGKILL)
        for child in self.children.values():
            child.bury()
        self.children.clear()

    # --- starting and ending one process --------------------------------------------------------

    def _start(self, post: Post, lane: int, successor: bool = False) -> None:
        """Start a process for ``post`` in ``lane``."""
        post.start_at_ns = None
        self._epoch = self._epoch % (2**24 - 1) + 1
        try:
            child = Child(self.ground, post.role, lane, post.ordinal, self._epoch)
        except OSError as error:
            _log.error("cannot start %s-%d: %s", post.role, lane, error)
            if not successor:
                self._count_early_death(post, monotonic_ns(), None)
            return
        self.children[child.pidfd] = child
        self._poller.register(child.pidfd, select.POLLIN)
        if successor:
            post.successor = child
        else:
            post.child, post.lane = child, lane
        _log.info("%s started, pid %d", child.name, child.process.pid)

    def _bury(self, child: Child, now: int) -> None:
        """A process has ended: give back what it held, wake the others, and fill its post again."""
        self._poller.unregister(child.pidfd)
        code = child.bury()
        child.was_ready = child.was_ready or child.is_ready  # it may have died right after it said so
        cause = find_cause(code, child.hang, child.stopped, self._memory_kills.grew())
        if child.retiring and code >= 0:
            cause = "outside"  # it left as it was told to, if not with everything done
        if self.leaving and child.role == "worker" and child.was_ready and code:
            self.exit_code = self.exit_code or 1  # it had accepted requests that nobody answers now
        if child.role == "device":
            outcome = self._blame.reap_device(child.epoch, cause, now)
        else:
            outcome = self._blame.reap_worker(child.index, child.epoch, cause, now)
        child.lane.state = EMPTY
        level = logging.INFO if child.retiring and code == 0 else logging.WARNING
        _log.log(level, "%s ended (%s): %s", child.name, describe_end(child, code, cause), outcome)
        self._refill(child, code, now)
        self._wake_all()

    def _refill(self, child: Child, code: int, now: int) -> None:
        """Decide what happens to the post that ``child`` has left."""
        post = next((p for p in self.posts if child in {p.child, p.successor}), None)
        if post is None:
            return
        if child is post.successor:
            post.successor = None
            self.rolls.clear()
            if not self.leaving:
                _log.error("the replacement of %s-%d did not get ready", post.role, post.lane)
            return
        post.child = None
        if child.retiring or child.role == self.leaving:
            return
        if post.successor is not None:
            post.child, post.lane, post.successor = post.successor, post.successor.index, None
        elif child.was_ready:
            post.early_deaths, post.start_at_ns = 0, now
        else:
            self._count_early_death(post, now, code)

    def _count_early_death(self, post: Post, now: int, code: int | None) -> None:
        """Wait longer after each death before readiness, and give up in the end."""
        post.early_deaths += 1
        delay = None if code == EXIT_CONFIG else delay_ns(post.early_deaths, self.policy)
        if delay is not None:
            post.start_at_ns = now + delay
            return
        post.failed = True
        self.ground.lane(post.role, post.lane).state = FAILED
        _log.error("%s-%d did not get ready %d times: given up", post.role, post.lane, post.early_deaths)
        if all(other.failed for other in self.posts if other.role == post.role) and self.leaving is None:
            _log.critical("no %s process can be started: the server stops", post.role)
            self._leave(EXIT_CONFIG if code == EXIT_CONFIG else 1, now, _LAST_WORDS_NS)

    def _wake_all(self) -> None:
        """Make everybody scan the slot headers: hints of the dead are lost."""
        self.ground.segment.bump_scan_epoch()
        for child in self.children.values():
            self.ground.wake(child.role, child.index)

    # --- watching --------------------------------------------------------------------------------

    def _watch(self, now: int, may_judge: bool) -> None:
        """Notice who has become ready, who hangs, and who was asked to leave and does not."""
        for child in list(self.children.values()):
            if not child.was_ready and child.is_ready:
                self._welcome(child)
            if child.kill_at_ns and now > child.kill_at_ns:
                child.kill_at_ns = 0
                child.send(signal.SIGKILL)
            hang = find_hang(look(child.lane, child.enrolled_ns), now, self.policy) if may_judge else None
            if hang is not None and child.hang is None:
                _log.error("%s hangs (%s): killed", child.name, hang)
                child.kill_hung(hang)

    def _welcome(self, child: Child) -> None:
        child.was_ready = True
        _log.info("%s ready", child.name)
        for post in self.posts:
            if post.successor is child:
                old, post.child, post.lane, post.successor = post.child, child, child.index, None
                if old is not None:
                    self._retire(old, monotonic_ns() + self.ground.config.drain_timeout_ms * _MS)
            if post.child is child:
                post.early_deaths = 0

    def _retire(self, child: Child, kill_at_ns: int) -> None:
        """Ask a process to finish what it has and leave. What waits for it goes to others."""
        child.retiring, child.kill_at_ns = True, kill_at_ns
        child.lane.state = DRAINING
        child.send(signal.SIGTERM)
        self._wake_all()

    def _restart_due(self, now: int) -> None:
        for post in self.posts:
            if post.start_at_ns is not None and now >= post.start_at_ns:
                self._start(post, post.lane)

    def _announce(self) -> None:
        """Print the ready line once: every post is filled or given up."""
        if self.announced or self.leaving:
            return
        if all(post.failed or (post.child is not None and post.child.was_ready) for post in self.posts):
            self.announced = True
            say(f"server ready: {url(self.ground)}")

    # --- replacing -------------------------------------------------------------------------------

    def roll(self, role: RoleName) -> None:
        """Replace every process of ``role``, one by one, each once its successor is ready."""
        self.rolls.extend(post for post in self.posts if post.role == role and post not in self.rolls)

    def _advance_rolls(self) -> None:
        if self.leaving:
            self.rolls.clear()
        changing = any(post.successor for post in self.posts)
        if not self.rolls or changing or any(child.retiring for child in self.children.values()):
            return
        post = self.rolls.popleft()
        if post.failed:
            post.failed, post.early_deaths = False, 0
            self._start(post, post.lane)
        elif post.child is not None and post.child.was_ready:
            used = {other.lane for other in self.posts if other.role == post.role}
            self._start(post, self.ground.spare_lane(post.role, used), successor=True)

    # --- leaving ---------------------------------------------------------------------------------

    def _handle_signal(self, number: signal.Signals, now: int) -> None:
        if number == signal.SIGHUP:
            _log.info("SIGHUP: all processes are replaced, one after another")
            self.roll("device")
            self.roll("worker")
        elif self.leaving is None:
            _log.info("%s: finishing what was accepted", number.name)
            self._leave(0, now, self.ground.config.drain_timeout_ms * _MS)
        else:
            _log.warning("%s again: stopping at once", number.name)
            self.exit_code = 128 + number
            self._end_all()

    def _leave(self, exit_code: int, now: int, patience_ns: int) -> None:
        """Stop accepting; workers finish what they accepted and go, then the devices do."""
        self.exit_code, self.leaving, self._deadline_ns = exit_code, "worker", now + patience_ns
        self.ground.segment.draining = True
        self.ground.close_listener()
        self._dismiss("worker")

    def _dismiss(self, role: RoleName) -> None:
        """Ask everybody of ``role`` to leave; nobody of them is started any more."""
        for post in self.posts:
            if post.role == role:
                post.start_at_ns = None
        for child in self.children.values():
            if child.role == role and not child.retiring:
                self._retire(child, 0)

    def _advance_leaving(self, now: int) -> None:
        if self.leaving is None:
            return
        if self.leaving == "worker" and not any(child.role == "worker" for child in self.children.values()):
            self.leaving = "device"
            self._dismiss("device")
        if now > self._deadline_ns and self.children:
            _log.error("not finished in time: %s", ", ".join(map(repr, self.children.values())))
            self.exit_code = self.exit_code or 1
            self._end_all()


def serve(config: Config, listen: socket.socket, policy: Policy | None = None) -> int:
    """Serve until told to stop. Main thread only: children die with the thread that starts them.

    Args:
        config: the whole configuration.
        listen: bound socket; owned by this function from now on.
        policy: patience with children; by default from ``config.heartbeat_timeout_ms``.

    Returns:
        Exit code: 0 after a clean stop, 1 when accepted work was not finished in time or nothing could
        run, 2 when a child found its configuration impossible, 128 + signal after a second signal.
    """
    setup_logging("supervisor", config.log_format, config.log_level)
    ground = Ground(config, listen)
    try:
        with Signals() as signals:
            return Supervisor(
                ground, signals, policy or Policy(heartbeat_ns=config.heartbeat_timeout_ms * _MS)
            ).run()
    finally:
        ground.close()
