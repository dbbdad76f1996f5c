"""Large runs of the device processes of a machine take turns, because memory is what they would share.

The activations of one page of 1600 x 2016 px are 400 to 500 MB for tens of milliseconds to a second. Two
devices that meet in them need twice that; detection being a fifth of the work on a page, waiting for
each other costs a few hundredths of the throughput of large pages and nothing of others.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

#: Inputs above this size (0.7 megapixels of float32 colour) are large: their run takes a turn, and
#: gives its activations back to the system before the turn ends.
LARGE_INPUT_BYTES = 8 << 20


class Turns:
    """A few places for large runs; the kernel frees the place of a process that dies in it.

    Args:
        cache_dir: folder that all processes share which take turns; None: no turns.
        places: how many runs may be inside at once; by default one for every two cores.
    """

    def __init__(self, cache_dir: str | None, places: int | None = None) -> None:
        self._folder = Path(cache_dir) / "locks" if cache_dir else None
        self._places = places or max(1, len(os.sched_getaffinity(0)) // 2)

    @contextlib.contextmanager
    def take(self) -> Iterator[None]:
        """Hold a place; waits while all are taken. A folder that cannot be written means no turns."""
        with contextlib.ExitStack() as stack:
            files = self._open(stack)
            if files and not any(_try(file) for file in files):
                fcntl.flock(files[os.getpid() % len(files)], fcntl.LOCK_EX)
            yield  # closing the files frees the place

    def _open(self, stack: contextlib.ExitStack) -> list[IO[str]]:
        if self._folder is None:
            return []
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            paths = [self._folder / f"large-{i}.lock" for i in range(self._places)]
            return [stack.enter_context(path.open("a")) for path in paths]
        except OSError:
            return []


def _try(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
