"""API keys: a file of names and SHA-256 digests, read again whenever it changes.

One line per key: ``NAME:DIGEST[:rate=R][:burst=N][:concurrent=N]``; ``#`` starts a comment line. Keys are 256
random bits, so one fast hash is enough: nobody can try them all. Their own text is stored nowhere.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pipelines.core.errors import ConfigError

#: Keys in one file.
MAX_KEYS = 1024
#: Starts every key, so that scanners of repositories and logs can find one that was leaked.
PREFIX = "pps_"
_MAX_FILE_BYTES = 1 << 20
#: Requests a second, requests at once: more is no limit for any server.
_MAX_RATE, _MAX_COUNT = 1e6, 1_000_000

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")

_log = logging.getLogger(__name__)


class Key(NamedTuple):
    """Who may ask, and how much. 0 is no limit.

    Attributes:
        name: for the operator; it is no secret.
        digest: SHA-256 of the key.
        rate: requests a second, on average; ``burst``: how many may come at once.
        concurrent: requests inside the server at the same time.
    """

    name: str
    digest: bytes
    rate: float = 0.0
    burst: int = 1
    concurrent: int = 0

    def line(self) -> str:
        """The key's line in a file."""
        parts = [self.name, self.digest.hex()]
        if self.rate:
            parts += [f"rate={self.rate:g}", f"burst={self.burst}"]
        if self.concurrent:
            parts.append(f"concurrent={self.concurrent}")
        return ":".join(parts)


def new_key(name: str, rate: float = 0.0, burst: int = 0, concurrent: int = 0) -> tuple[str, Key]:
    """A fresh key: its text, to be shown once, and what is kept. Raises ConfigError."""
    text = PREFIX + secrets.token_urlsafe(32)
    made = Key(name, digest_of(text), rate, burst or _burst_of(rate), concurrent)
    parse_keys(made.line())
    return text, made


def digest_of(text: str) -> bytes:
    """What is kept of a key."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def parse_keys(text: str) -> list[Key]:
    """The keys of a file. Raises ConfigError, which names the line but never shows it."""
    keys: list[Key] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            keys.append(_parse_line(line.strip()))
        except ValueError as fault:
            raise ConfigError(f"line {number} of the API keys: {fault}") from None
        if len(keys) > MAX_KEYS:
            raise ConfigError(f"more than {MAX_KEYS} API keys")
    for what, found in (("names", [key.name for key in keys]), ("digests", [key.digest for key in keys])):
        if len(set(found)) < len(keys):
            raise ConfigError(f"two API keys have equal {what}")
    return keys


def _parse_line(line: str) -> Key:
    name, *rest = line.split(":")
    if not _NAME.fullmatch(name):
        raise ValueError("the name is not 1 to 64 letters, digits, dots, dashes or underscores")
    if not rest or not _DIGEST.fullmatch(rest[0]):
        raise ValueError("behind the name comes the SHA-256 of the key, 64 hex digits")
    limits: dict[str, float] = {}
    for part in rest[1:]:
        option, _, value = part.partition("=")
        if option not in {"rate", "burst", "concurrent"} or option in limits:
            raise ValueError("what follows is rate=, burst= and concurrent=, each at most once")
        limits[option] = _number(option, value)
    if "burst" in limits and "rate" not in limits:
        raise ValueError("burst= needs rate=")
    rate = limits.get("rate", 0.0)
    burst = int(limits.get("burst", _burst_of(rate)))
    return Key(name, bytes.fromhex(rest[0]), rate, burst, int(limits.get("concurrent", 0)))


def _number(option: str, text: str) -> float:
    largest = _MAX_RATE if option == "rate" else _MAX_COUNT
    pattern = r"\d{1,7}(\.\d{1,6})?" if option == "rate" else r"\d{1,7}"
    if not re.fullmatch(pattern, text, re.ASCII) or not 0 < float(text) <= largest:
        raise ValueError(f"{option}= is a number above 0, at most {largest:g}")
    return float(text)


def _burst_of(rate: float) -> int:
    """What comes in one second may come at once."""
    return max(1, int(rate))


class KeyRing:
    """Finds a key by its text. The time that takes says nothing about the keys that there are."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._near: dict[bytes, list[Key]] = {}
        for key in keys:
            self._near.setdefault(key.digest[:8], []).append(key)

    def find(self, text: str) -> Key | None:
        """The key, or None.

        Looked up by a part of its digest, which nobody can steer towards that of a key they do not have;
        what is found is compared in constant time.
        """
        digest = digest_of(text)
        for key in self._near.get(digest[:8], ()):
            if hmac.compare_digest(key.digest, digest):
                return key
        return None


class KeyFile:
    """The keys of a file as it is now.

    Args:
        path: the file. Raises ConfigError when it cannot be used.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._stamp: tuple[int, ...] = ()
        self._load()

    def refresh(self) -> None:
        """Read the file again if it has changed. One that cannot be used changes nothing, and is logged."""
        try:
            self._load()
        except ConfigError as fault:
            _log.error("the API keys stay as they were: %s", fault)

    def find(self, text: str) -> Key | None:
        """As :meth:`KeyRing.find`."""
        return self._ring.find(text)

    def _load(self) -> None:
        try:
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino)
            if stamp == self._stamp:
                return
            self._stamp = stamp  # a bad file is complained of once
            if found.st_mode & stat.S_IWOTH:
                raise ConfigError(f"{self._path} can be written by everybody: chmod o-w it")
            if found.st_size > _MAX_FILE_BYTES:
                raise ConfigError(f"{self._path} is larger than {_MAX_FILE_BYTES} bytes")
            keys = parse_keys(self._path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as fault:
            if self._stamp:
                self._stamp = (0,)
            reason = fault.strerror if isinstance(fault, OSError) else "not UTF-8"
            raise ConfigError(f"cannot read the API keys in {self._path}: {reason}") from None
        self._ring = KeyRing(keys)
        _log.info("%d API keys from %s", len(keys), self._path)


def append_key(path: Path, key: Key) -> None:
    """Add a line to a file of keys, made for its owner only if absent. Raises ConfigError."""
    try:
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        parse_keys(before + "\n" + key.line())
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(("" if not before or before.endswith("\n") else "\n") + key.line() + "\n")
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigError(f"cannot write {path}: {getattr(fault, 'strerror', 'not UTF-8')}") from None
