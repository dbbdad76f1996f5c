"""Places that the supervisor keeps filled, and the words it uses about them."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from typing import NamedTuple

from server.blame import MemoryKills
from server.children import Child, Ground, RoleName


class Post:
    """A place that must be filled: worker or device number ``ordinal``, in whatever lane.

    ``child`` fills it; ``successor`` gets ready in the spare lane during a replacement.
    """

    def __init__(self, role: RoleName, ordinal: int) -> None:
        self.role, self.ordinal = role, ordinal
        self.lane = ordinal
        self.child: Child | None = None
        self.successor: Child | None = None
        self.early_deaths = 0
        self.start_at_ns: int | None = None
        self.failed = False

    def __repr__(self) -> str:
        state = "failed" if self.failed else repr(self.child)
        return f"<{self.role} {self.ordinal} lane {self.lane}: {state}>"


class Shared(NamedTuple):
    """What all crews of a supervisor use: where pidfds are waited for, and the count of memory kills."""

    poller: select.poll
    memory_kills: MemoryKills


def describe_end(child: Child, code: int, cause: str) -> str:
    """How a process ended, in words."""
    how = f"exit code {code}" if code >= 0 else _signal_name(-code)
    why = f"hang: {child.hang}" if child.hang else "asked to" if child.retiring else f"cause: {cause}"
    return f"{how}, {why}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def url(ground: Ground) -> str:
    """Where the server answers."""
    access = ground.config.access
    if ground.listen is None or ground.listen.family not in {socket.AF_INET, socket.AF_INET6}:
        return access.unix_socket or "on its socket"
    host, port = ground.config.host, ground.listen.getsockname()[1]
    scheme = "https" if access.tls_cert else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def say(line: str) -> None:
    """One line on stdout. That its reader has gone must not stop a server."""
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())  # else the interpreter fails at exit, when it flushes
        os.close(null)
