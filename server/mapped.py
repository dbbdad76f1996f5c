"""A client's file in memory that it shares with a worker: checked, mapped, and looked at as bytes are.

Only what can neither change nor shrink any more is mapped: a memfd that its client has sealed. A parser
then sees the same bytes twice, and no access is a SIGBUS.
"""

from __future__ import annotations

import fcntl
import mmap
import os

from pipelines.core.errors import BadRequest

#: What a client has to seal before it sends a memfd (memfd_create(2), fcntl(2)).
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
#: Longer than what any format begins with.
_LONGEST_START = 16
_BLOCK = 512


class MappedFile(mmap.mmap):
    """The bytes of a sealed memfd, read-only. Its slices are bytes."""

    def startswith(self, start: bytes | tuple[bytes, ...]) -> bool:
        """As of bytes; ``start`` of at most 16 bytes."""
        return self[:_LONGEST_START].startswith(start)


#: A file of a request: what a worker has received, or what a client shares.
FileData = bytes | MappedFile


def is_sealed(fd: int) -> bool:
    """Whether ``fd`` is a memfd with all of :data:`SEALS`. Safe for any fd: nothing of a file is asked."""
    try:
        return fcntl.fcntl(fd, fcntl.F_GET_SEALS) & SEALS == SEALS
    except OSError:  # what is no memfd has no seals
        return False


def sealed_bytes(fd: int) -> int:
    """Size of a sealed memfd. Raises BadRequest for one that is empty, has holes or is of huge pages.

    Whoever reads a hole first pays for its memory, and a huge page that is missing then is a SIGBUS.
    """
    about = os.fstat(fd)
    if not about.st_size:
        raise BadRequest("The memfd is empty")
    if about.st_blocks * _BLOCK < about.st_size or os.fstatvfs(fd).f_bsize != mmap.PAGESIZE:
        raise BadRequest("The memfd has holes, or is of huge pages: all of it must have been written")
    return about.st_size


def map_sealed(fd: int, nbytes: int) -> MappedFile:
    """The content of a sealed memfd; ``fd`` is not needed afterwards. Raises OSError.

    Private, because Linux before 6.7 refuses a shared mapping of what is sealed against writing; nothing is
    copied, because nothing is written.
    """
    return MappedFile(fd, nbytes, mmap.MAP_PRIVATE, mmap.PROT_READ)
