"""Children that are not ours to restart."""

import os
import socket
import subprocess
import sys

import pytest

import server.children
from server.children import Child, Ground
from server.config import Config, DeviceConfig, Limits

pytestmark = pytest.mark.usefixtures("no_leaks")

#: As the init of a container: adopt a grandchild, then collect it, but not our own child.
INIT = """
import ctypes, os, subprocess, sys
from server.children import reap_strangers
from tests.conditions import wait_for

assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER
code = "import subprocess; print(subprocess.Popen(['sleep', '0.05']).pid)"
orphan = int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
wait_for(lambda: open(f"/proc/{orphan}/stat").read().rpartition(")")[2].split()[0] == "Z")
reap_strangers(set())
assert not os.path.exists(f"/proc/{orphan}")
own = subprocess.Popen(["true"])
os.waitid(os.P_PID, own.pid, os.WEXITED | os.WNOWAIT)
reap_strangers({own.pid})
assert own.wait() == 0
print("collected")
"""


def test_orphans_are_collected_and_own_children_left_to_their_owner():
    done = subprocess.run([sys.executable, "-c", INIT], capture_output=True, text=True, check=False)
    assert done.stdout == "collected\n", done.stderr


@pytest.fixture
def ground(no_leaks):
    config = Config(pipelines=(), devices=(DeviceConfig(),), limits=Limits(max_pixels=1000))
    ground = Ground(config, socket.create_server(("127.0.0.1", 0)))
    yield ground
    ground.close()


def test_there_is_a_spare_lane_on_each_side(ground):
    assert (ground.segment.workers, ground.segment.devices) == (2, 2)
    assert len(ground.worker_events) == len(ground.device_events) == 2


def test_waking_never_blocks(ground):
    os.eventfd_write(ground.device_events[0], 2**64 - 2)
    ground.wake("device", 0)


def test_a_child_that_cannot_be_started_leaves_nothing(ground, monkeypatch):
    monkeypatch.setattr(server.children, "child_command", lambda module: ["/does/not/exist"])
    with pytest.raises(FileNotFoundError):
        Child(ground, "device", 0, 0, 1)
    assert ground.segment.device(0).pid == 0
