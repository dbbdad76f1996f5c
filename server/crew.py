"""The processes of one configuration: starts, watches, restarts, replaces and dismisses them."""

from __future__ import annotations

import logging
import select
import signal
from collections import deque

import msgspec

from kernels.segment import DRAINING, EMPTY, FAILED, monotonic_ns
from kernels.slots import Slots
from server.blame import Blame, find_cause
from server.children import Child, Ground, RoleName
from server.liveness import Policy, delay_ns, find_hang, look
from server.memory import Ceiling
from server.posts import Post, Shared, describe_end

_MS = 1_000_000
#: Exit code of a child whose configuration cannot work: starting it again would not help.
EXIT_CONFIG = 2
#: A server that lost all processes of one kind answers what it holds (503) within this time.
_LAST_WORDS_NS = 5_000 * _MS

_log = logging.getLogger(__name__)


class Crew:
    """All processes that serve one configuration.

    Args:
        ground: what they stand on; owned by the crew from now on.
        policy: patience with them.
        shared: what the supervisor shares among its crews.
        successor: it takes over from a crew that serves: its workers start once all its devices are ready,
            because whoever accepts a connection must be able to answer, and one failure ends the attempt.

    Attributes:
        posts: places to be filled; ``children``: living processes by pidfd.
        rolls: posts whose process is to be replaced.
        complete: every post has been filled or given up.
        leaving: which kind of process is on its way out, None while the crew serves.
        exit_code: what the server would end with, once the crew has left.
    """

    def __init__(self, ground: Ground, policy: Policy, shared: Shared, *, successor: bool = False) -> None:
        self.ground, self._shared, self._successor = ground, shared, successor
        self.policy = msgspec.structs.replace(policy, retries=1) if successor else policy
        self.posts = [Post("device", i) for i in range(len(ground.config.devices))]
        self.posts += [Post("worker", i) for i in range(ground.config.workers)]
        self.children: dict[int, Child] = {}
        self.rolls: deque[Post] = deque()
        self.complete = False
        self.exit_code = 0
        self.leaving: RoleName | None = None
        self._deadline_ns = 0
        self._epoch = 0
        self._ceiling = Ceiling(ground.config.max_rss_mb << 20)
        self._blame = Blame(ground.segment, Slots(ground.segment), policy.quarantine_ns)

    def __repr__(self) -> str:
        return f"<Crew of {len(self.children)}: {'leaving' if self.leaving else 'serving'}>"

    # --- what the supervisor calls ----------------------------------------------------------------

    def start(self) -> None:
        """Start everybody, or the devices first when another crew still serves."""
        for post in self.posts:
            if post.role == "device" or not self._successor:
                self._start(post, post.lane)

    def step(self, now: int, may_judge: bool) -> None:
        """One pass of the supervisor's loop."""
        self._watch(now, may_judge)
        self._restart_due(now)
        self._advance_rolls()
        self._check_complete()
        self._advance_leaving(now)

    def establish(self, policy: Policy) -> None:
        """From now on this crew is the one that serves."""
        self._successor, self.policy = False, policy

    @property
    def gone(self) -> bool:
        """It was told to leave, and has."""
        return self.leaving is not None and not self.children

    @property
    def failed(self) -> bool:
        """A post has been given up."""
        return any(post.failed for post in self.posts)

    @property
    def is_changing(self) -> bool:
        """Somebody is about to be ready, or to be started."""
        starting = any(not child.was_ready for child in self.children.values())
        return starting or any(post.start_at_ns is not None for post in self.posts)

    def end_all(self) -> None:
        """Kill and collect everybody."""
        for child in self.children.values():
            child.send(signal.SIGKILL)
        for child in self.children.values():
            self._shared.poller.unregister(child.pidfd)
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
        self._shared.poller.register(child.pidfd, select.POLLIN)
        if successor:
            post.successor = child
        else:
            post.child, post.lane = child, lane
        _log.info("%s started, pid %d", child.name, child.process.pid)

    def bury(self, child: Child, now: int) -> None:
        """A process has ended: give back what it held, wake the others, and fill its post again."""
        self._shared.poller.unregister(child.pidfd)
        code = child.bury()
        child.was_ready = child.was_ready or child.is_ready  # it may have died right after it said so
        cause = find_cause(code, child.hang, child.stopped, self._shared.memory_kills.grew())
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
        if self._successor or self.leaving is not None:
            return
        if all(other.failed for other in self.posts if other.role == post.role):
            _log.critical("no %s process can be started: the server stops", post.role)
            self.leave(EXIT_CONFIG if code == EXIT_CONFIG else 1, now, _LAST_WORDS_NS)

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
            if child.was_ready and not child.retiring and self._ceiling.is_over(child, now):
                self._renew(child)
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

    def _check_complete(self) -> None:
        """Notice when every post is filled or given up; start the workers of a successor in time."""
        if self.complete or self.leaving:
            return
        missing = [p for p in self.posts if not p.failed and not (p.child and p.child.was_ready)]
        self.complete = not missing
        if self._successor and not self.failed and all(post.role == "worker" for post in missing):
            for post in missing:
                if post.child is None:
                    self._start(post, post.lane)

    # --- replacing -------------------------------------------------------------------------------

    def roll(self, role: RoleName) -> None:
        """Replace every process of ``role``, one by one, each once its successor is ready."""
        self.rolls.extend(post for post in self.posts if post.role == role and post not in self.rolls)

    def _renew(self, child: Child) -> None:
        """Replace one process that holds too much."""
        self.rolls.extend(post for post in self.posts if post.child is child and post not in self.rolls)

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

    def leave(self, exit_code: int, now: int, patience_ns: int, *, handed_over: bool = False) -> None:
        """Stop accepting; workers finish what they accepted and go, then the devices do.

        ``handed_over``: another crew accepts from now on, so the server does not cease to be ready.
        """
        self.ground.segment.draining = self.ground.segment.draining or not handed_over
        self.exit_code, self.leaving, self._deadline_ns = exit_code, "worker", now + patience_ns
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
            self.end_all()
