"""The words the supervisor uses."""

import os
import signal
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest

from server.config import Config
from server.posts import Post, describe_end, url


def child(hang=None, retiring=False):
    return SimpleNamespace(hang=hang, retiring=retiring)


@pytest.mark.parametrize(
    ("who", "code", "text"),
    [
        (child(), -signal.SIGSEGV, "SIGSEGV, cause: item"),
        (child(hang="stage"), -signal.SIGKILL, "SIGKILL, hang: stage"),
        (child(retiring=True), 0, "exit code 0, asked to"),
        (child(), -signal.SIGRTMIN - 1, f"signal {signal.SIGRTMIN + 1}, cause: item"),
    ],
)
def test_how_a_process_ended(who, code, text):
    assert describe_end(who, code, "item") == text


@pytest.mark.parametrize(
    ("host", "family", "expected"),
    [("127.0.0.1", socket.AF_INET, "http://127.0.0.1:"), ("::1", socket.AF_INET6, "http://[::1]:")],
)
def test_url_names_the_real_port(host, family, expected):
    with socket.socket(family) as listen:
        try:
            listen.bind((host, 0))
        except OSError:
            pytest.skip(f"this machine has no {host}")
        port = listen.getsockname()[1]
        assert url(SimpleNamespace(listen=listen, config=Config((), (), host=host))) == f"{expected}{port}"


def test_url_of_another_socket():
    with socket.socket(socket.AF_UNIX) as listen:
        assert url(SimpleNamespace(listen=listen, config=Config((), (), host=""))) == "on its socket"


def test_status_line():
    post = Post("device", 1)
    assert repr(post) == "<device 1 lane 1: None>"
    post.failed = True
    assert repr(post) == "<device 1 lane 1: failed>"


def test_a_ready_line_that_nobody_reads_stops_nothing():
    code = "from server.posts import say; say('ready'); say('still here'); raise SystemExit(7)"
    read, write = os.pipe()
    os.close(read)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert process.communicate()[1] == b""
    assert process.returncode == 7
