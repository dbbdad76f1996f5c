"""A plan is made beside the server that lacks it: another process, which gives way to those that serve."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Sequence

from server.config import NO_PLAN_YET, SOME_PLANS_MADE
from server.crew import Crew

_log = logging.getLogger(__name__)


class Planning:
    """Starts ``python -m server plan`` once for every crew that serves without the plan it wants.

    Args:
        command: makes the plan; empty: nobody does.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = tuple(command)
        self._process: subprocess.Popen[bytes] | None = None
        self._last: Crew | None = None

    def __repr__(self) -> str:
        return f"<Planning {'at work' if self._process else 'idle'}>"

    @property
    def pids(self) -> set[int]:
        """The process that is at work."""
        return {self._process.pid} if self._process else set()

    def step(self, crew: Crew) -> bool:
        """One pass of the supervisor's loop; True once when a plan has been made."""
        if self._process is None:
            if self._command and crew.complete and NO_PLAN_YET in crew.ground.config.plans.values():
                self._start(crew)
            return False
        code = self._process.poll()
        if code is None:
            return False
        self._process = None
        if code == SOME_PLANS_MADE:
            _log.warning("not every pipeline got a plan")
        elif code:
            _log.warning("no plan was made (exit code %d): the server goes on without", code)
        return code in {0, SOME_PLANS_MADE}

    def _start(self, crew: Crew) -> None:
        if crew is self._last:
            return
        self._last = crew
        try:
            # What it prints is for people who ask for it; what goes wrong is in its lines on stderr.
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # Ctrl-C reaches the supervisor only, which ends this one.
                start_new_session=True,
            )
        except OSError as error:
            _log.warning("no plan is made: %s", error)
            return
        _log.info("engines are tried for a plan, pid %d", self._process.pid)

    def end(self) -> None:
        """Stop what is under way; its own children end with it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
