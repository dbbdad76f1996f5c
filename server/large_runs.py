"""One large engine run at a time on the CPUs of a machine, because memory is what large runs would share."""

from __future__ import annotations

import fcntl

#: Runs that take more memory than this beside the model are large: a page of 0.8 megapixels in text
#: detection. Smaller ones may meet.
LARGE_BYTES = 128 << 20
#: How long a device that has nothing else to do waits before it looks at the place again.
LOOK_AGAIN_NS = 5_000_000


class LargeRuns:
    """The machine's one place for a large run: a record lock on the segment's memfd.

    The kernel frees it with the process that holds it, however that ends.

    Args:
        fd: the segment's memfd.
        limited: whether there is such a place; not on a GPU, whose memory is its own.
    """

    def __init__(self, fd: int, limited: bool) -> None:
        self._fd, self._limited = fd, limited

    def enter(self) -> bool:
        """Take the place, or see that another process has it. Taking it twice is the same as once."""
        if not self._limited:
            return True
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
        except (BlockingIOError, PermissionError):  # fcntl(2): EAGAIN or EACCES
            return False
        return True

    def leave(self) -> None:
        """Give it back; no harm without it."""
        if self._limited:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1)
