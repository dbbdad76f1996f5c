"""Serves a configuration from a file, for tests: ``python -m tests.serve SETUP.json``."""

import os
import socket
import sys
from pathlib import Path

import msgspec

import server.children
from pipelines.core.errors import ConfigError
from server.config import Config
from server.liveness import Policy
from server.supervisor import serve
from server.unix_socket import bind_unix


class Setup(msgspec.Struct):
    """What the file holds. ``stops``: folder of planted deaths (``tests/dying_child.py``), if any."""

    config: Config
    policy: Policy
    stops: str = ""


def read(path):
    """The setup in a file. Raises ConfigError, as reading a configuration does."""
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=Setup)
    except msgspec.MsgspecError as error:
        raise ConfigError(str(error)) from error


def main(path):
    setup = read(path)
    if setup.stops:
        os.environ["STOPS_FOLDER"] = setup.stops
        server.children.child_command = lambda module: [sys.executable, "-m", "tests.dying_child", module]
    access = setup.config.access
    if access.unix_socket:
        listen = bind_unix(access.unix_socket, access.unix_socket_mode)
        listen.listen(512)
    else:
        listen = socket.create_server((setup.config.host, 0), backlog=512)
    memfd = None
    if access.memfd_socket:
        memfd = bind_unix(access.memfd_socket, access.unix_socket_mode, socket.SOCK_SEQPACKET)
        memfd.listen(512)
    return serve(setup.config, listen, setup.policy, lambda: read(path).config, memfd=memfd)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
