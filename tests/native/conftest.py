"""Compiles the C tests from the kernels' headers, as the extensions are compiled, with other flags."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
HEADERS = HERE.parent.parent / "kernels"
FLAGS = ["-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-fno-strict-aliasing", "-pthread"]


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """``compiled(source, *flags)`` is the path of a program."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    assert compiler, "a C compiler builds this project and its native tests"
    folder, programs = tmp_path_factory.mktemp("native"), {}

    def compile_once(source, *flags):
        key = (source, flags)
        if key not in programs:
            program = folder / f"program-{len(programs)}"
            command = [*compiler.split(), *FLAGS, f"-I{HEADERS}", *flags, "-o", program, HERE / source]
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            programs[key] = program
        return programs[key]

    return compile_once
