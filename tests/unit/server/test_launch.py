"""Where code is imported from: the same copy in every process, never an unbuilt tree."""

import importlib.machinery
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from server.launch import NOT_BUILT, ROOT, child_command, child_environment, missing_extensions

SUFFIX = importlib.machinery.EXTENSION_SUFFIXES[0]
SHOW = """
import json, os, sys
import server
print(json.dumps([os.path.dirname(server.__file__), sys.argv, __name__, sys.path]))
"""


def tree(folder, built):
    """A source tree as far as starting goes: ``server.launch``, a module that reports, one kernel."""
    for name in ("server", "kernels", "pipelines"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("")
    for name in ("launch.py", "__main__.py"):
        shutil.copyfile(ROOT / "server" / name, folder / "server" / name)
    (folder / "server" / "cli.py").write_text(
        f"def main(argv):\n    sys_argv = argv\n{_indent(SHOW)}\n    return 0\n"
    )
    (folder / "server" / "show.py").write_text(SHOW)
    (folder / "kernels" / "ring.pyi").write_text("")
    if built:
        (folder / "kernels" / f"ring{SUFFIX}").write_bytes(b"")
    return folder


def _indent(text):
    return "\n".join("    " + line for line in text.strip().splitlines())


def run(command, cwd, **environment):
    environment = os.environ | environment
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=30, check=False
    )


def test_children_come_from_the_copy_that_is_running():
    assert child_command("server.worker")[:1] == [sys.executable]
    assert child_command("server.worker")[-1] == "server.worker"
    assert Path(child_command("server.worker")[1]).is_file()


@pytest.mark.parametrize("safe", ["", "1"], ids=["", "PYTHONSAFEPATH"])
def test_a_child_ignores_the_working_directory(tmp_path, safe):
    right, wrong = tree(tmp_path / "right", True), tree(tmp_path / "wrong", True)
    command = [sys.executable, str(right / "server" / "launch.py"), "server.show", "--index", "3"]
    done = run(command, wrong, PYTHONSAFEPATH=safe)
    place, argv, name, path = json.loads(done.stdout)
    assert place == str(right / "server")
    assert argv[1:] == ["--index", "3"]
    assert name == "__main__"
    assert str(wrong) not in path
    assert "" not in path
    assert str(right / "server") not in path


def test_a_child_honours_what_is_already_on_the_path(tmp_path):
    right, other = tree(tmp_path / "right", True), tmp_path / "other"
    other.mkdir()
    done = run(
        [sys.executable, str(right / "server" / "launch.py"), "server.show"],
        tmp_path,
        PYTHONPATH=f"{other}{os.pathsep}{right}",
    )
    path = json.loads(done.stdout)[3]
    assert path[:2] == [str(other), str(right)]  # where it was, not in front


def test_an_unbuilt_tree_with_nothing_installed_says_what_to_do(tmp_path):
    here = tree(tmp_path / "here", False)
    done = run([sys.executable, "-I", "-c", _main_of(here)], here)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", NOT_BUILT + "\n")


def _main_of(folder):
    """``python -m server`` run in ``folder`` without anything that is installed beside it."""
    return (
        f"import sys, runpy; sys.path.insert(0, {str(folder)!r}); sys.argv[1:] = ['--port', '1']; "
        "sys.meta_path[:] = [f for f in sys.meta_path if 'Editable' not in str(f)]; "
        "runpy.run_module('server', run_name='__main__', alter_sys=True)"
    )


@pytest.mark.parametrize("safe", ["", "1"], ids=["", "PYTHONSAFEPATH"])
def test_an_unbuilt_tree_hands_over_to_an_installed_copy(tmp_path, safe):
    here, installed = tree(tmp_path / "here", False), tree(tmp_path / "site", True)
    path = str(installed) if not safe else f"{here}{os.pathsep}{installed}"
    done = run([sys.executable, "-m", "server", "--port", "1"], here, PYTHONPATH=path, PYTHONSAFEPATH=safe)
    assert done.returncode == 0, done.stderr
    place, argv, _, found = json.loads(done.stdout)
    assert place == str(installed / "server")
    assert argv[1:] == ["--port", "1"]
    assert found.index(str(installed)) >= 0


def test_a_built_tree_is_used_itself(tmp_path):
    here, installed = tree(tmp_path / "here", True), tree(tmp_path / "site", True)
    done = run([sys.executable, "-m", "server"], here, PYTHONPATH=str(installed))
    assert json.loads(done.stdout)[0] == str(here / "server")


def test_extensions_of_another_python_do_not_count(tmp_path):
    folder = tree(tmp_path / "here", False) / "kernels"
    (folder / "ring.cpython-27-x86_64-linux-gnu.so").write_bytes(b"")
    assert missing_extensions(folder) == ["ring"]
    (folder / f"ring{SUFFIX}").write_bytes(b"")
    assert missing_extensions(folder) == []


def test_a_missing_dependency_is_one_line(tmp_path):
    here = tree(tmp_path / "here", True)
    (here / "server" / "cli.py").write_text("import a_module_that_is_not_there\n")
    done = run([sys.executable, "-m", "server"], here)
    assert done.returncode == 2
    assert done.stderr == (
        "not installed: a_module_that_is_not_there is missing; run python -m pip install -e .\n"
    )


def test_this_tree_is_built():
    assert missing_extensions(ROOT / "kernels") == []


def test_devices_get_an_allocator_for_large_memory():
    assert "glibc.malloc.hugetlb=1" in child_environment("server.device", {})["GLIBC_TUNABLES"].split(":")
    assert child_environment("server.worker", {"A": "b"}) == {"A": "b", "OPENBLAS_NUM_THREADS": "1"}


def test_what_the_user_told_the_allocator_stays():
    mine = "glibc.malloc.hugetlb=0:glibc.malloc.check=1"
    found = child_environment("server.device", {"GLIBC_TUNABLES": mine})["GLIBC_TUNABLES"]
    assert found.startswith(mine + ":")
    assert found.count("glibc.malloc.hugetlb=") == 1


def test_the_allocator_takes_the_settings():
    """glibc ignores what it does not know, so a misspelt name would go unnoticed."""
    loader = Path("/lib64/ld-linux-x86-64.so.2")
    if tuple(map(int, platform.libc_ver()[1].split("."))) < (2, 35) or not loader.exists():
        pytest.skip("no x86-64 glibc that knows them")
    listed = subprocess.run([loader, "--list-tunables"], capture_output=True, text=True, check=True)
    for entry in child_environment("server.device", {})["GLIBC_TUNABLES"].split(":"):
        assert entry.partition("=")[0] in listed.stdout
