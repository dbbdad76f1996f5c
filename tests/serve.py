"""Serves a configuration from a file, for tests: ``python -m tests.serve SETUP.json``."""

import socket
import sys
from pathlib import Path

import msgspec

from server.config import Config
from server.liveness import Policy
from server.supervisor import serve


class Setup(msgspec.Struct):
    """What the file holds."""

    config: Config
    policy: Policy


def main(path):
    setup = msgspec.json.decode(Path(path).read_bytes(), type=Setup)
    return serve(setup.config, socket.create_server((setup.config.host, 0), backlog=512), setup.policy)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
