"""What all tests share: the import root, who runs beside whom, and the check that nothing stays open."""

import gc
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # `pytest` without `python -m` does not add it
    sys.path.insert(0, str(ROOT))

#: They load, kill or time real processes: one after the other, all in the same process.
IN_FRONT = (
    "tests/e2e/",
    "tests/fault/",
    "tests/native/",
    "tests/unit/pipelines/test_wheels.py",
    "tests/unit/server/test_supervisor.py",
)
#: Niceness of all others when they run beside those: they take what is left of the processors.
BEHIND = 10


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Two processes for the whole suite, where pytest-xdist is installed; one for files that are named.

    ``-n 0`` asks for one as well.
    """
    option, whole = config.option, config.args_source is pytest.Config.ArgsSource.TESTPATHS
    alone = option.usepdb or option.collectonly or len(os.sched_getaffinity(0)) < 2
    if whole and not (alone or is_worker(config)) and getattr(option, "numprocesses", 0) is None:
        option.numprocesses = 2


def is_worker(config):
    """Whether this is one of several processes that run tests."""
    return hasattr(config, "workerinput")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file's tests stay together, and those in front are one job: the largest, which is given out first."""
    from xdist.scheduler import LoadScopeScheduling

    class Lanes(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return "in front" if nodeid.startswith(IN_FRONT) else nodeid.partition("::")[0]

    return Lanes(config, log)


@pytest.fixture(scope="module", autouse=True)
def _behind(request):
    """Gives way to the tests in front, which have limits. It is for good: nobody may become less nice."""
    if is_worker(request.config) and not request.node.nodeid.startswith(IN_FRONT):
        os.setpriority(os.PRIO_PROCESS, 0, max(BEHIND, os.getpriority(os.PRIO_PROCESS, 0)))


def shared_fds():
    """Names of this process's memfds, eventfds and pidfds, by number."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:  # the directory's own fd
            continue
        if target.startswith(("/memfd:", "anon_inode:[eventfd]", "anon_inode:[pidfd]")):
            found[int(entry.name)] = target
    return found


@pytest.fixture(scope="module", autouse=True)
def _settled():
    """What earlier files left stays for good: modules, frameworks, reports. No collection looks at it again.

    Otherwise each one takes a fifth of a second, and hundreds of tests ask for one.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def no_leaks():
    """Fails a test that leaves a memfd, an eventfd or a pidfd open in this process."""
    before = shared_fds()
    yield
    gc.collect()
    left = {fd: name for fd, name in shared_fds().items() if before.get(fd) != name}
    assert not left, f"left open: {left}"
