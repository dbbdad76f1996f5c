"""The loop over all processes, signals, and the change from one configuration to the next.

Knows nothing of HTTP or models.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
from collections.abc import Callable, Sequence

import msgspec

from kernels.segment import monotonic_ns
from server.blame import MemoryKills
from server.children import Ground, reap_strangers
from server.config import Config
from server.crew import Crew
from server.liveness import Policy, Watchman
from server.logs import setup_logging
from server.planning import Planning
from server.posts import Shared, say, url
from server.reload import REFUSED, Reload
from server.signals import Signals

_MS = 1_000_000
#: Longest pass of the loop, and the one while somebody is about to be ready.
_PASS_MS, _SHORT_PASS_MS = 250, 20

_log = logging.getLogger(__name__)


class Supervisor:
    """The loop over all children. ``run`` returns the exit code of the server.

    Args:
        ground: what the first crew stands on.
        signals: entered.
        policy: patience with children.
        read_config: reads the configuration again at SIGHUP; without it the one there is stays.
        plan_command: makes the plan of a configuration that lacks it; then that is read again too.

    Attributes:
        crew: the processes that serve.
        coming: those of a new configuration that are getting ready, if any.
        parting: crews that finish what they accepted.
        announced: the ready line has been printed.
    """

    def __init__(
        self,
        ground: Ground,
        signals: Signals,
        policy: Policy,
        read_config: Callable[[], Config] | None = None,
        plan_command: Sequence[str] = (),
    ) -> None:
        self.signals, self.policy, self._read_config = signals, policy, read_config
        self._shared = Shared(select.poll(), MemoryKills())
        self.crew = Crew(ground, policy, self._shared)
        self.coming: Crew | None = None
        self.parting: list[Crew] = []
        self.announced = False
        self._reload: Reload | None = None
        self._reload_again = False
        self._planning = Planning(plan_command)
        self._exit_code: int | None = None
        self._close_at_ns = 0

    def __repr__(self) -> str:
        return f"<Supervisor of {self.crew!r}, coming {self.coming!r}, parting {self.parting!r}>"

    def run(self) -> int:
        """Run until the last child has left."""
        self._shared.poller.register(self.signals.fd, select.POLLIN)
        watchman = Watchman(self.policy, monotonic_ns())
        try:
            self.crew.start()
            while not self.crew.gone or self.parting or self.coming:
                ended = {fd for fd, _ in self._shared.poller.poll(self._patience_ms())}
                now = monotonic_ns()
                for number in self.signals.take():
                    self._handle_signal(number, now)
                may_judge = watchman.may_judge(now)
                for crew in self._crews():
                    for fd in ended & crew.children.keys():
                        crew.bury(crew.children.pop(fd), now)
                    crew.step(now, may_judge)
                self._announce()
                self._advance_plan()
                self._advance_change(now)
                self._advance_leaving(now)
                if os.getpid() == 1:  # the init of a container inherits what its children leave behind
                    ours = {c.process.pid for crew in self._crews() for c in crew.children.values()}
                    reap_strangers(ours | self._planning.pids)
        finally:
            self._planning.end()
            for crew in self._crews():
                crew.end_all()
        return self.crew.exit_code if self._exit_code is None else self._exit_code

    def close(self) -> None:
        """Close what all crews stand on."""
        for crew in self._crews():
            crew.ground.close()

    def _crews(self) -> list[Crew]:
        return [self.crew, *([self.coming] if self.coming else []), *self.parting]

    def _patience_ms(self) -> int:
        """How long a pass may wait: shortly while somebody is about to be ready."""
        if self._close_at_ns or any(crew.is_changing for crew in self._crews()):
            return _SHORT_PASS_MS
        return max(1, min(_PASS_MS, self.policy.heartbeat_ns // 4 // _MS))

    def _announce(self) -> None:
        """Print the ready line once."""
        if self.crew.complete and not self.announced and not self.crew.leaving:
            self.announced = True
            say(f"server ready: {url(self.crew.ground)}")

    # --- a new configuration ----------------------------------------------------------------------

    def _change(self) -> None:
        """SIGHUP: read the configuration again, after what is under way."""
        if self._read_config is None:
            self._replace_all()
        elif self._reload or self.coming:
            self._reload_again = True
        else:
            self._reload = Reload(self._read_config, self.crew.ground.config)

    def _advance_plan(self) -> None:
        """Have the plan made that is missing, and change over to it. Who leaves needs none."""
        if self._close_at_ns or self.crew.leaving:
            self._planning.end()
        elif self._planning.step(self.crew):
            _log.info("there is a plan")
            self._change()

    def _replace_all(self) -> None:
        _log.info("all processes are replaced, one after another")
        self.crew.roll("device")
        self.crew.roll("worker")

    def _advance_change(self, now: int) -> None:
        self._part(now)
        if self._reload is not None and self._reload.done:
            reload, self._reload = self._reload, None
            ground = self.crew.ground
            if reload.config == ground.config:
                self._replace_all()
            elif reload.config is not None and _without_plan(reload.config) == _without_plan(ground.config):
                _log.info("the plan chooses what is served already")
                ground.config = reload.config
                self.crew.roll("worker")  # they say which plan it is
            elif reload.config is not None:
                self._prepare(reload.config)
        if self.coming is not None:
            self._take_over(self.coming, now)
        if self._reload_again and not (self._reload or self.coming):
            self._reload_again = False
            self._change()

    def _prepare(self, config: Config) -> None:
        """Start a crew for a new configuration beside the one that serves, on memory of its own."""
        listen = self.crew.ground.listen
        if self._close_at_ns or self.crew.leaving or listen is None:
            return
        try:
            memfd = self.crew.ground.memfd
            ground = Ground(config, listen.dup(), memfd.dup() if memfd else None)
        except (OSError, MemoryError, ValueError) as error:
            _log.error("%s: %s", REFUSED, error)
            return
        _log.info("the configuration has changed: new processes take over once all of them are ready")
        self.coming = Crew(ground, self.policy, self._shared, successor=True)
        self.coming.start()

    def _take_over(self, coming: Crew, now: int) -> None:
        """Let the old crew go once the new one is complete; give the new one up when a process fails."""
        if coming.failed:
            _log.error("%s: a process did not get ready", REFUSED)
            self._retire(coming, now)
            self.coming = None
        elif coming.complete:
            _log.info("the new configuration serves")
            old, self.crew, self.coming = self.crew, coming, None
            coming.establish(self.policy)
            self._retire(old, now)

    def _retire(self, crew: Crew, now: int) -> None:
        crew.leave(0, now, crew.ground.config.drain_timeout_ms * _MS, handed_over=True)
        self.parting.append(crew)

    def _part(self, now: int) -> None:
        """Close what crews stood on that have left."""
        for crew in [crew for crew in self.parting if crew.gone]:
            self.parting.remove(crew)
            crew.ground.close()

    # --- leaving ------------------------------------------------------------------------------------

    def _handle_signal(self, number: signal.Signals, now: int) -> None:
        if number == signal.SIGHUP:
            _log.info("SIGHUP")
            self._change()
        elif self._close_at_ns or self.crew.leaving:
            _log.warning("%s again: stopping at once", number.name)
            self._exit_code = 128 + number
            self._stop_at_once(now)
        else:
            grace_ms = self.crew.ground.config.drain_grace_ms if number == signal.SIGTERM else 0
            _log.info("%s: not ready from now on, finishing in %d ms", number.name, grace_ms)
            self.crew.ground.segment.draining = True
            self._close_at_ns = now + grace_ms * _MS + 1

    def _stop_at_once(self, now: int) -> None:
        for crew in self._crews():
            if not crew.leaving:
                crew.leave(0, now, 0)
            crew.end_all()

    def _advance_leaving(self, now: int) -> None:
        """Close the port when the time of grace is over."""
        if self.crew.leaving or not self._close_at_ns or now < self._close_at_ns:
            return
        self.crew.leave(0, now, self.crew.ground.config.drain_timeout_ms * _MS)
        if self.coming is not None:
            self._retire(self.coming, now)
            self.coming = None


def _without_plan(config: Config) -> Config:
    return msgspec.structs.replace(config, plans={})


def serve(
    config: Config,
    listen: socket.socket,
    policy: Policy | None = None,
    read_config: Callable[[], Config] | None = None,
    plan_command: Sequence[str] = (),
    memfd: socket.socket | None = None,
) -> int:
    """Serve until told to stop. Main thread only: children die with the thread that starts them.

    Args:
        config: the whole configuration.
        listen: bound socket; owned by this function from now on.
        policy: patience with children; by default from ``config.heartbeat_timeout_ms``.
        read_config: reads the configuration again at SIGHUP.
        plan_command: makes the plan that a configuration lacks.
        memfd: bound socket of ``--memfd_socket``; owned like ``listen``.

    Returns:
        Exit code: 0 after a clean stop, 1 when accepted work was not finished in time or nothing could
        run, 2 when a child found its configuration impossible, 128 + signal after a second signal.
    """
    setup_logging("supervisor", config.log_format, config.log_level)
    ground = Ground(config, listen, memfd)
    patience = policy or Policy(heartbeat_ns=config.heartbeat_timeout_ms * _MS)
    with Signals() as signals:
        supervisor = Supervisor(ground, signals, patience, read_config, plan_command)
        try:
            return supervisor.run()
        finally:
            supervisor.close()
