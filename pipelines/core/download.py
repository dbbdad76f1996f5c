"""Getting large files without losing or trusting anything: lock, progress, resume, digest, atomic move.

Knows HTTP and files, not models.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TextIO

from .errors import ConfigError

CHUNK = 1 << 20
#: Seconds without a byte before a transfer counts as broken (connect and each read).
STALL_S = 30.0
#: Attempts of one transfer; each continues where the last one broke off.
ATTEMPTS = 3
_HEADERS = {"User-Agent": "paddle-pipeline-server"}


def say(stream: TextIO | None, text: str, end: str = "\n") -> None:
    """Write a line that is seen at once; None is silent."""
    if stream is not None:
        stream.write(text + end)
        stream.flush()


class Progress:
    """A bar that redraws itself on a terminal, a few plain lines anywhere else.

    Args:
        label: what is being fetched.
        total: expected bytes; 0 when unknown.
        stream: where to write, normally ``sys.stderr``; None is silent.
    """

    #: seconds between redraws on a terminal, and between lines elsewhere
    REDRAW_S = 0.1
    LINE_S = 5.0

    def __init__(self, label: str, total: int, stream: TextIO | None) -> None:
        self._label, self._total, self._stream = label, total, stream
        self._tty = bool(stream and stream.isatty())
        self._start = self._last = time.monotonic()
        self.done = 0
        if not self._tty:
            size = f" ({total / 1e6:.1f} MB)" if total else ""
            self._write(f"fetching {label}{size}\n")

    def update(self, done: int) -> None:
        """Tell how many bytes are there by now."""
        self.done = done
        now = time.monotonic()
        if now - self._last < (self.REDRAW_S if self._tty else self.LINE_S):
            return
        self._last = now
        self._write(self._bar(now) if self._tty else f"  {self._words(now)}\n")

    def finish(self) -> None:
        """The last state, on a line of its own."""
        now = time.monotonic()
        self._write(self._bar(now) + "\n" if self._tty else f"fetched {self._label}: {self._words(now)}\n")

    def _words(self, now: float) -> str:
        rate = self.done / max(now - self._start, 1e-3) / 1e6
        if not self._total:
            return f"{self.done / 1e6:.1f} MB, {rate:.1f} MB/s"
        share = min(100, 100 * self.done // self._total)
        return f"{share} % of {self._total / 1e6:.1f} MB, {rate:.1f} MB/s"

    def _bar(self, now: float) -> str:
        filled = min(30, 30 * self.done // self._total) if self._total else 0
        return f"\r{self._label} [{'#' * filled:<30}] {self._words(now)}\x1b[K"

    def _write(self, text: str) -> None:
        say(self._stream, text, end="")


@contextlib.contextmanager
def locked(path: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold an exclusive lock on ``path`` (made if absent); the kernel frees it if the holder dies.

    ``waiting`` is called once when somebody else has it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting:
                waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def fsync_file(path: Path) -> None:
    """Push a finished file to the disk before its name becomes visible."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class NotFoundError(ConfigError):
    """The server answered that there is no such file (404, 403 or 401)."""


def download(url: str, target: Path, *, label: str, stream: TextIO | None = None) -> None:
    """Fetch ``url`` to ``target``; a broken-off transfer is continued, also by a later call.

    What has arrived lies in ``<target>.part`` until it is whole; then it is moved in one step.

    Raises:
        NotFoundError: the server does not have it.
        ConfigError: unreachable, stalled, or broken off too often; the message is one line.
    """
    part = target.with_name(target.name + ".part")
    progress: Progress | None = None
    reason = ""
    for _ in range(ATTEMPTS):
        try:
            progress = _transfer(url, part, label, stream, progress)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in (401, 403, 404):
                raise NotFoundError(f"{url} does not exist (HTTP {error.code})") from None
            reason = f"HTTP {error.code}"
            if error.code == 416:
                part.unlink(missing_ok=True)
        except (OSError, http.client.HTTPException) as error:
            reason = _words(error)
        else:
            fsync_file(part)
            part.replace(target)
            progress.finish()
            return
    raise ConfigError(f"cannot fetch {url}: {reason}")


def answers(url: str, seconds: float) -> str | None:
    """None when a server answers ``url`` in time, whatever it says, else why it does not."""
    request = urllib.request.Request(url, method="HEAD", headers=_HEADERS)  # noqa: S310
    try:
        urllib.request.urlopen(request, timeout=seconds).close()  # noqa: S310 - callers give https URLs
    except urllib.error.HTTPError as error:
        error.close()
    except (OSError, http.client.HTTPException) as error:
        return _words(error)
    return None


def _words(error: BaseException) -> str:
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        error = error.reason
    return f"{type(error).__name__}: {error}".strip().splitlines()[0]


def _transfer(url: str, part: Path, label: str, stream: TextIO | None, progress: Progress | None) -> Progress:
    """One attempt, from where ``part`` ends. Raises OSError when it breaks off."""
    have = part.stat().st_size if part.exists() else 0
    tag = part.with_name(part.name + ".etag")
    request = urllib.request.Request(url, headers=_HEADERS)  # noqa: S310
    if have and tag.exists():
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", tag.read_text())
    with urllib.request.urlopen(request, timeout=STALL_S) as answer:  # noqa: S310 - callers give https URLs
        if answer.status != 206:
            have = 0
        etag = answer.headers.get("ETag", "")
        # A weak tag does not promise equal bytes, so nothing can be continued from it.
        tag.write_text(etag) if etag.startswith('"') else tag.unlink(missing_ok=True)
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else 0
        progress = progress or Progress(label, total, stream)
        with part.open("ab" if have else "wb") as file:
            have += _copy(answer, file, have, progress)
    if total and have != total:
        raise OSError(f"broken off after {have} of {total} bytes")
    tag.unlink(missing_ok=True)
    return progress


def _copy(source: IO[bytes], file: IO[bytes], have: int, progress: Progress) -> int:
    written = 0
    while chunk := source.read(CHUNK):
        file.write(chunk)
        written += len(chunk)
        progress.update(have + written)
    return written
