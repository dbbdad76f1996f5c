"""The port of gRPC: whether it can be served at all, who holds it, and who serves it in a worker.

Nothing here needs grpcio, which is an extra: only ``open_grpc`` loads it, and only when it is asked for.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from pipelines.core.errors import ConfigError

if TYPE_CHECKING:
    from server.admission import Admission
    from server.config import Config
    from server.guard import Guard
    from server.routes import Routes
    from server.work import Ground

_PACKAGES = ("grpc", "google.protobuf")


class Calls(Protocol):
    """What a worker does with its gRPC server."""

    async def start(self) -> None:
        """Listen."""

    async def stop(self, seconds: float) -> int:
        """Take no more calls, and finish those inside in time; returns how many were cut off."""


class NoCalls:
    """Of a door that is not open."""

    async def start(self) -> None:
        """Nothing to do."""

    async def stop(self, seconds: float) -> int:
        """Nothing to do."""
        return 0


def open_grpc(
    config: Config,
    ground: Ground,
    admission: Admission,
    routes: Routes,
    font: Callable[[], str],
    guard: Guard | None,
) -> Calls:
    """The gRPC server of this worker; the arguments are those of its HTTP routes."""
    if not config.grpc_port:
        return NoCalls()
    # What gRPC's own library writes to stderr is no line of our log, and any client can make it write.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from server.grpc_server import GrpcServer  # noqa: PLC0415 - an extra

    return GrpcServer(config, ground, admission, routes, font, guard)


def check_grpc(port: int) -> int:
    """The port again. Raises ConfigError when it is wanted and the packages for it are missing."""
    if port and not all(map(_is_installed, _PACKAGES)):
        raise ConfigError("--grpc_port needs the extra 'grpc': python -m pip install -e '.[grpc]'")
    return port


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # of the package around it
        return False


@contextlib.contextmanager
def port_held(host: str, port: int) -> Iterator[None]:
    """Keep a port for the workers, who share it (SO_REUSEPORT); 0 is none.

    Nobody connects to what is held here, because it does not listen. Raises ConfigError when the port is
    taken, even by somebody who would share it, or the address is not ours.
    """
    with contextlib.ExitStack() as held:
        if port:
            try:
                with _bound(host, port, socket.SO_REUSEADDR):
                    pass
                held.enter_context(_bound(host, port, socket.SO_REUSEPORT))
            except OSError as error:
                taken = error.errno == errno.EADDRINUSE
                reason = "the port is taken" if taken else (error.strerror or str(error))
                raise ConfigError(f"cannot listen for gRPC on {host}:{port}: {reason}") from error
        yield


def _bound(host: str, port: int, option: int) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, protocol, _, address = found[0]
    made = socket.socket(family, socket.SOCK_STREAM, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, option, 1)
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made


def address(host: str, port: int) -> str:
    """``host:port`` as gRPC writes it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
