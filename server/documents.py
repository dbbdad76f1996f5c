"""The worker's end of the render child: start it, ask for pages, copy them into slots, end it.

The child may crash, hang or grow: each costs its own request a 422 and nothing else.
"""

from __future__ import annotations

import asyncio
import fcntl
import mmap
import os
import signal
import time
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Literal, TypeVar

import msgspec
import numpy as np

from pipelines.core.errors import BadRequest
from server import wire
from server.clock import within
from server.config import Limits
from server.headers import INVALID
from server.launch import child_command
from server.mapped import FileData
from server.wire import Shape

T = TypeVar("T")

#: Longest line of the child: 65,536 pages of ``[12345, 12345], `` fit.
_MAX_LINE_BYTES = 2 << 20


class _Reply(msgspec.Struct):
    """One line of the child."""

    sizes: list[tuple[int, int]] = []
    total: int = 0
    page: int = -1
    error: str = ""


class Renderer:
    """One render child for one document; an async context manager that ends it.

    Args:
        data: the file.
        kind: which library reads it.
        max_pages: PaddleX's ``max_num_input_imgs``: further pages are dropped; None for no limit.
        limits: hard limits of the server.

    Attributes:
        sizes: (width, height) in pixels of the pages that will be rendered; known once entered.
    """

    def __init__(
        self, data: FileData, kind: Literal["pdf", "tiff"], max_pages: int | None, limits: Limits
    ) -> None:
        self._kind, self._max_pages, self._limits = kind, max_pages, limits
        self._data: FileData = data
        self._file = -1
        self._pixels = os.memfd_create("pages", os.MFD_CLOEXEC)
        self._left_s = limits.render_timeout_ms / 1000
        self._process: asyncio.subprocess.Process | None = None
        self._map: mmap.mmap | None = None
        self.sizes: list[tuple[int, int]] = []

    async def __aenter__(self) -> Renderer:
        """Start the child and read the page sizes. Raises BadRequest."""
        try:
            await self._copy_file()
            await self._start()
            reply = await self._patiently(self._read())
            self._accept(reply)
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def draw(self, index: int) -> None:
        """Have page ``index`` drawn; :meth:`copy` then takes it. Raises BadRequest."""
        assert self._process is not None and self._process.stdin is not None  # noqa: S101 - entered
        if self._process.stdin.is_closing():  # the child has ended; uvloop's write would be a RuntimeError
            raise BadRequest(f"{INVALID}: the document could not be rendered")
        try:
            self._process.stdin.write(b"%d\n" % index)
            reply = await self._patiently(self._read())
        except (BrokenPipeError, ConnectionResetError):
            raise BadRequest(f"{INVALID}: the document could not be rendered") from None
        if reply.page != index:
            raise BadRequest(f"{INVALID}: the document could not be rendered")

    def copy(self, index: int, view: memoryview) -> Shape:
        """Copy the page just drawn into a slot. Any thread."""
        assert self._map is not None  # noqa: S101 - entered
        width, height = self.sizes[index]
        shape = Shape(height=height, width=width)
        page = np.frombuffer(self._map, np.uint8, shape.nbytes).reshape(height, width, 3)
        np.copyto(wire.pixels(view, shape), page)
        return shape

    async def _copy_file(self) -> None:
        """Put the file where the child finds it, off the loop: a large one takes 0.1 s."""
        copying = asyncio.get_running_loop().run_in_executor(None, _sealed_memfd, self._data)
        self._data = b""
        try:
            self._file = await asyncio.shield(copying)
        except asyncio.CancelledError:
            copying.add_done_callback(lambda done: os.close(done.result()))
            raise

    async def _start(self) -> None:
        limits = self._limits
        listed = limits.max_pages + 1 if self._max_pages is None else self._max_pages
        options = {
            "parent-pid": os.getpid(),
            "file-fd": self._file,
            "pixel-fd": self._pixels,
            "limit": min(listed, limits.max_pages + 1),
            "max-pixels": limits.max_pixels,
            "memory-bytes": limits.render_memory_bytes,
            "cpu-s": -(-limits.render_timeout_ms // 1000),
        }
        command = [*child_command("server.render"), "--kind", self._kind]
        command += [f"--{name}={value}" for name, value in options.items()]
        self._process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=(self._file, self._pixels),
            limit=_MAX_LINE_BYTES,
        )

    def _accept(self, reply: _Reply) -> None:
        """Check what the child says of the document; make room for its largest page."""
        if not reply.sizes:
            raise BadRequest(f"{INVALID}: the document has no pages")
        if len(reply.sizes) > self._limits.max_pages:
            raise BadRequest(
                f"The document has {reply.total} pages; this server takes at most {self._limits.max_pages}"
            )
        largest = max(width * height for width, height in reply.sizes)
        if largest > self._limits.max_pixels or min(min(size) for size in reply.sizes) <= 0:
            raise BadRequest(f"{INVALID}: the document could not be rendered")
        self.sizes = reply.sizes
        os.ftruncate(self._pixels, largest * 3)
        self._map = mmap.mmap(self._pixels, largest * 3, prot=mmap.PROT_READ)

    async def _read(self) -> _Reply:
        assert self._process is not None and self._process.stdout is not None  # noqa: S101 - entered
        try:
            line = await self._process.stdout.readline()
            reply = msgspec.json.decode(line, type=_Reply)
        except (msgspec.DecodeError, ValueError):  # it ended, or it is not itself any more
            raise BadRequest(f"{INVALID}: the document could not be rendered") from None
        if reply.error:
            raise BadRequest(reply.error)
        return reply

    async def _patiently(self, answer: Coroutine[Any, Any, T]) -> T:
        """Wait within the child's wall time, which runs only while something is asked of it."""
        started = time.monotonic()
        try:
            return await within(self._left_s, answer)
        except asyncio.TimeoutError:
            raise BadRequest(
                f"The document takes more than {self._limits.render_timeout_ms} ms to render"
            ) from None
        finally:
            self._left_s = max(0.0, self._left_s - (time.monotonic() - started))

    async def _end(self) -> None:
        """Kill the child, collect it, close everything. Twice is fine."""
        process, self._process = self._process, None
        if process is not None:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
            await asyncio.shield(_collected(process))
        if self._map is not None:
            self._map = None  # unmapped when the last array over it is gone
        for fd in (self._file, self._pixels):
            if fd >= 0:
                os.close(fd)
        self._file = self._pixels = -1


async def _collected(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    await process.wait()


def _sealed_memfd(data: FileData) -> int:
    """A read-only copy of the file that the child opens by number."""
    fd = os.memfd_create("document", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    except BaseException:
        os.close(fd)
        raise
    return fd
