"""The image kernels' tests once more, in a process that uses the bodies for other processors."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.mark.parametrize("subject", ["resize", "text", "warp", "boxes", "nms"])
def test_portable_bodies_pass_the_same_tests(subject):
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        HERE / f"test_{subject}.py",
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=HERE.parents[2],
        env={**os.environ, "KERNELS_SIMD": "off"},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
