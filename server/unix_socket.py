"""A listening socket in the file system, for clients and proxies on the same machine."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from pipelines.core.errors import ConfigError


def bind_unix(path: str, mode: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """A bound Unix socket of this kind with these permission bits; nobody can connect before they are set.

    What a server that was killed has left is replaced. Raises ConfigError when another one answers
    there, or something else than a socket is in the way.
    """
    _clear(Path(path), kind)
    listen = socket.socket(socket.AF_UNIX, kind)
    before = os.umask(0o777)
    try:
        listen.bind(path)
        Path(path).chmod(mode)
    except OSError as error:
        listen.close()
        raise ConfigError(f"cannot listen on {path}: {error.strerror or error}") from error
    finally:
        os.umask(before)
    return listen


def _clear(path: Path, kind: socket.SocketKind) -> None:
    try:
        found = path.lstat()
    except OSError:  # nothing there, or a fault that binding will name
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ConfigError(f"cannot listen on {path}: it is no socket")
    with socket.socket(socket.AF_UNIX, kind) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:  # its server is gone
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise ConfigError(f"cannot listen on {path}: {error.strerror}") from error
    raise ConfigError(f"cannot listen on {path}: a server answers there")


@contextlib.contextmanager
def removed_at_the_end(path: str) -> Iterator[None]:
    """Take the socket's file away afterwards, unless it is another's by then. "" is none."""
    own = Path(path).lstat() if path else None
    try:
        yield
    finally:
        if own is not None:
            with contextlib.suppress(OSError):
                now = Path(path).lstat()
                if (now.st_dev, now.st_ino) == (own.st_dev, own.st_ino):
                    Path(path).unlink()
