"""One server on fake models for the tests of a module, and what they send it."""

import base64
import json

import pytest

from kernels.slots import FREE
from server.config import Limits
from tests.conditions import wait_for
from tests.fakes import fake_config
from tests.harness import Server


@pytest.fixture(scope="module")
def options():
    """Options of :func:`tests.fakes.fake_config`; a module may have its own."""
    return {"limits": Limits(body_timeout_ms=2000, max_body_bytes=8 << 20)}


@pytest.fixture(scope="module")
def server(tmp_path_factory, options):
    folder = tmp_path_factory.mktemp("server")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PIP_NO_INDEX", "1")  # pictures are drawn without a font: no test loads one
        environment.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        with Server(fake_config(folder / "models", **options), folder) as running:
            running.wait_ready()
            yield running


@pytest.fixture
def clean(server):
    """Fails a test that costs the server a slot, a process or a lost wake-up."""
    starts = server.starts()
    yield
    wait_for(lambda: server.slots.count(FREE) == server.segment.slots, what="slots are still taken")
    assert server.starts() == starts, server.log()[-3000:]
    assert server.counter("worker_missed_wakeups") == 0


def request(data, **fields):
    """A 3.x body for the bytes of a file."""
    body = {"file": base64.b64encode(data).decode(), "fileType": 1, "visualize": False} | fields
    return json.dumps({key: value for key, value in body.items() if value is not ...}).encode()
