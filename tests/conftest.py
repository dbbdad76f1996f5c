"""What all tests share: the import root, and the check that nothing stays open."""

import gc
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # `pytest` without `python -m` does not add it
    sys.path.insert(0, str(ROOT))


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
