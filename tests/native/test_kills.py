"""A process is killed at every step of the protocol; nothing may be lost, doubled or leaked."""

import itertools
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

HEADERS = Path(__file__).resolve().parents[2] / "kernels"
STEPS = sorted(
    int(number)
    for header in HEADERS.glob("*.h")
    for number in re.findall(r"\bSTOP_POINT\((\d+)\);", header.read_text())
)
MODES = ["alone", "both-worker-first", "both-device-first", "orphan"]
PASSED, FAILED, NOT_REACHED = 0, 1, 3
#: Runs side by side: most of the time each of them waits.
AT_ONCE = 6


def kill(program, role, step, nth, mode):
    done = subprocess.run(
        [str(program), role, str(step), str(nth), mode],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode in {PASSED, FAILED, NOT_REACHED}, (done.returncode, done.stderr)
    return done


def test_steps_have_numbers_of_their_own():
    assert len(STEPS) == len(set(STEPS))
    assert len(STEPS) >= 20


@pytest.mark.fault
@pytest.mark.parametrize("step", STEPS)
def test_kill_at_step_loses_nothing(compiled, step):
    program = compiled("kill_test.c", "-DSTOP_POINTS")
    runs = list(itertools.product(("worker", "device"), (1, 4), MODES))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        ended = list(pool.map(lambda run: kill(program, run[0], step, *run[1:]), runs))
    for run, done in zip(runs, ended, strict=True):
        assert done.returncode != FAILED, f"{run}: {done.stderr}"
    assert any(done.returncode == PASSED for done in ended), "no process came to this step"


@pytest.mark.fault
@pytest.mark.parametrize(
    ("planted", "step", "mode"),
    [
        pytest.param("PLANTED_NO_SCAN", 20, "alone", id="worker-never-scans-after-a-death"),
        pytest.param("PLANTED_BLIND_FINISH", 12, "orphan", id="device-finishes-what-nobody-owns"),
    ],
)
def test_planted_fault_is_found(compiled, planted, step, mode):
    program = compiled("kill_test.c", "-DSTOP_POINTS", "-DLIMIT_MS=2000", f"-D{planted}")
    # Whether the other side is already waiting at that moment is a race: one of five tries has to meet it.
    with ThreadPoolExecutor(5) as pool:
        ended = list(pool.map(lambda _: kill(program, "device", step, 2, mode), range(5)))
    assert any(done.returncode == FAILED for done in ended)
