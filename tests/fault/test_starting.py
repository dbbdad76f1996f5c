"""Processes that never get ready."""

import time

import msgspec
import pytest

from server.liveness import Policy
from tests.fakes import fake_config
from tests.harness import Server

pytestmark = pytest.mark.fault

WHITE = [255, 255, 255]
QUICK = Policy(retries=3, first_delay_ns=200_000_000)


def run_to_its_end(config, folder, policy):
    """Exit code, log, and seconds of a server that cannot start."""
    server = Server(config, folder, policy)
    started = time.monotonic()
    try:
        code = server.process.wait(60)
        return code, server.log(), time.monotonic() - started
    finally:
        server._end()


def test_a_device_that_crashes_on_its_canary_is_retried_with_pauses_then_given_up(tmp_path):
    crash = {"pixel": WHITE, "action": "segv"}
    config = fake_config(tmp_path / "models", devices=1, faults=[crash])
    code, log, seconds = run_to_its_end(config, tmp_path, QUICK)
    assert code == 1
    assert log.count("device-0 ended (SIGSEGV") == QUICK.retries
    assert seconds > 0.2 + 0.4, "it did not pause"
    assert log.count("no device process can be started: the server stops") == 1


def test_a_model_that_is_missing_is_one_line_and_not_retried(tmp_path):
    config = fake_config(tmp_path / "models", devices=1)
    pipeline = config.pipelines[0]
    models = dict(pipeline.models)
    gone = str(tmp_path / "gone")
    models["text_detection"] = msgspec.structs.replace(models["text_detection"], directory=gone)
    config = msgspec.structs.replace(config, pipelines=(msgspec.structs.replace(pipeline, models=models),))
    code, log, _ = run_to_its_end(config, tmp_path, QUICK)
    assert code == 2
    (line,) = [line for line in log.splitlines() if "device-0" in line and "CRITICAL" in line]
    assert gone in line
    assert "Traceback" not in log
    assert log.count("device-0 ended") == 1
