"""A process is killed at every step of the protocol; nothing may be lost, doubled or leaked."""

import re
import subprocess
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
    reached = 0
    for role in ("worker", "device"):
        for mode in MODES:
            for nth in (1, 4):
                done = kill(program, role, step, nth, mode)
                assert done.returncode != FAILED, f"{role} {mode} {nth}: {done.stderr}"
                reached += done.returncode == PASSED
    assert reached, "no process came to this step"


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
    assert any(kill(program, "device", step, 2, mode).returncode == FAILED for _ in range(5))
