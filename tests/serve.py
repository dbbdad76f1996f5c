"""Serves a configuration from a file, for tests: ``python -m tests.serve SETUP.json``."""

import os
import socket
import sys
from pathlib import Path

import msgspec

import server.children
from server.config import Config
from server.liveness import Policy
from server.supervisor import serve


class Setup(msgspec.Struct):
    """What the file holds. ``stops``: folder of planted deaths (``tests/dying_child.py``), if any."""

    config: Config
    policy: Policy
    stops: str = ""


def main(path):
    setup = msgspec.json.decode(Path(path).read_bytes(), type=Setup)
    if setup.stops:
        os.environ["STOPS_FOLDER"] = setup.stops
        server.children.child_command = lambda module: [sys.executable, "-m", "tests.dying_child", module]
    return serve(setup.config, socket.create_server((setup.config.host, 0), backlog=512), setup.policy)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
