"""Lint, format and types are tests: one command checks everything."""

import contextlib
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


COMMANDS = {
    "mypy": ["mypy"],
    "cython-lint": ["cython-lint", "kernels"],
    "format": ["ruff", "format", "--check", *CODE],
    "ruff": ["ruff", "check", *CODE],
}


@pytest.fixture(scope="module")
def running():
    """All at once: none of them uses more than a core."""
    with contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(
                subprocess.Popen(
                    [tool(program), *options],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    cwd=ROOT,
                )
            )
            for name, (program, *options) in COMMANDS.items()
        }


@pytest.mark.parametrize("name", COMMANDS)
def test_clean(running, name):
    output, _ = running[name].communicate()
    assert running[name].returncode == 0, output[-6000:]
