"""The image kernels' tests once more, in a process that uses the bodies for other processors."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SUBJECTS = ("resize", "text", "warp", "boxes", "nms")


def test_portable_bodies_pass_the_same_tests():
    files = [HERE / f"test_{subject}.py" for subject in SUBJECTS]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files]
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
