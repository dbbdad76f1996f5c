"""Lint, format and types are tests: one command checks everything."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CODE = ["server", "pipelines", "kernels", "benchmarks", "examples", "tests", "tools", "setup.py"]


def tool(name):
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    assert found, f"{name} is missing: install the extra 'test'"
    return found


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["ruff", "check", *CODE], id="ruff"),
        pytest.param(["ruff", "format", "--check", *CODE], id="format"),
        pytest.param(["mypy"], id="mypy"),
        pytest.param(["cython-lint", "kernels"], id="cython-lint"),
    ],
)
def test_clean(command):
    done = subprocess.run(
        [tool(command[0]), *command[1:]], check=False, capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
