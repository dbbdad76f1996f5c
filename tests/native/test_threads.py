"""The protocol between threads, under the sanitizers; and that the sanitizers would have told."""

import os
import shutil
import subprocess

import pytest

THREAD = ("-fsanitize=thread", "-Wno-tsan")  # it does not model fences; none of them orders data
ADDRESS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def run(program, mapping, requests=1500):
    command = [str(program), mapping, str(requests)]
    # The first report is the result.
    environment = {**os.environ, "TSAN_OPTIONS": "halt_on_error=1"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=150, env=environment)
    if "unexpected memory mapping" in done.stderr and shutil.which("setarch"):
        # More address randomisation than this thread sanitizer knows.
        done = subprocess.run(
            ["setarch", "-R", *command],
            check=False,
            capture_output=True,
            text=True,
            timeout=150,
            env=environment,
        )
    return done


@pytest.mark.parametrize("mapping", ["shared", "separate"])
@pytest.mark.parametrize(
    "flags",
    [pytest.param((), id="plain"), pytest.param(THREAD, id="thread"), pytest.param(ADDRESS, id="address")],
)
def test_every_request_is_answered_once_and_every_slot_returns(compiled, flags, mapping):
    done = run(compiled("threads_test.c", *flags), mapping)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = dict(word.split("=") for word in done.stdout.split())
    for event in ("device_deaths", "worker_deaths", "withdrawn", "stolen"):
        assert int(counts[event]) > 0, f"no {event}: the run tested less than it says"


@pytest.mark.parametrize(
    ("flags", "planted", "report"),
    [
        pytest.param(THREAD, "PLANTED_RACE_SLOT", "data race", id="slot-published-without-release"),
        pytest.param(THREAD, "PLANTED_RACE_RING", "data race", id="hint-pushed-without-release"),
        pytest.param(ADDRESS, "PLANTED_OVERFLOW", "use-after-poison", id="write-behind-the-slot"),
        pytest.param(ADDRESS, "PLANTED_UNDEFINED", "signed integer overflow", id="undefined"),
    ],
)
def test_sanitizer_reports_a_planted_fault(compiled, flags, planted, report):
    done = run(compiled("threads_test.c", *flags, f"-D{planted}"), "shared")
    assert done.returncode != 0
    assert report in done.stderr
