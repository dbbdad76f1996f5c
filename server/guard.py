"""Who may ask: the first look at a request, at its header only, before anything is read or counted.

Rates and numbers of requests are those of the whole server: all workers count in one piece of memory
(``kernels/quota.pyx``).
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType

from kernels.fingerprint import xxh64
from kernels.quota import Quota, quota_bytes
from pipelines.core.errors import RateLimited, Unauthorized
from server.keys import MAX_KEYS, Key, KeyFile

#: Names that limits are counted by. A name keeps its place until the server ends, keys come and go.
_PLACES = 4 * MAX_KEYS
_SECOND_NS = 1_000_000_000


def quota_memfd(workers: int) -> int:
    """The memory that ``workers`` lanes count in; the caller closes it."""
    fd = os.memfd_create("quota", os.MFD_CLOEXEC)
    os.ftruncate(fd, quota_bytes(_PLACES, workers))
    return fd


def open_quota(fd: int, workers: int, own: int) -> Quota:
    """This process's view of that memory; ``fd`` stays open."""
    quota = Quota(mmap.mmap(fd, quota_bytes(_PLACES, workers)), _PLACES, workers, own)
    quota.forget(own)  # whoever had this lane before is dead
    return quota


class Pass:
    """One request that may come in. A context manager: at the end it is out again.

    Attributes:
        name: of the API key; "" where there are none.
    """

    def __init__(self, name: str = "", quota: Quota | None = None, place: int = -1) -> None:
        self.name = name
        self._quota, self._place = quota, place

    def __enter__(self) -> Pass:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        quota, self._quota = self._quota, None
        if quota is not None:
            quota.leave(self._place)


class Guard:
    """Lets in who has a key, within its limits.

    Args:
        keys: who may ask.
        quota: where all workers count.
        clock_ns: CLOCK_MONOTONIC.
    """

    def __init__(self, keys: KeyFile, quota: Quota, clock_ns: Callable[[], int]) -> None:
        self.keys = keys
        self._quota, self._clock_ns = quota, clock_ns

    def refresh(self, dead: Iterable[int]) -> None:
        """Look whether the file of keys has changed; forget what the workers in the lanes ``dead`` let in."""
        self.keys.refresh()
        for lane in dead:
            self._quota.forget(lane)

    def identify(self, headers: Mapping[str, str]) -> Key:
        """Whose request it is: ``Authorization: Bearer KEY``, or ``X-API-Key: KEY``. Raises Unauthorized."""
        scheme, _, text = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            text = headers.get("x-api-key", "")
        key = self.keys.find(text.strip()) if text else None
        if key is None:
            raise Unauthorized
        return key

    def admit(self, headers: Mapping[str, str]) -> Pass:
        """Let a request in. Raises Unauthorized or RateLimited."""
        key = self.identify(headers)
        if not key.rate and not key.concurrent:
            return Pass(key.name)
        place = self._quota.place(xxh64(key.name.encode()) or 1)
        if place is None:
            raise RateLimited("Too many API keys have come and gone; the server has to be started again")
        # One that is refused for the number of requests inside has not used up a part of the rate.
        inside = Pass(key.name)
        if key.concurrent:
            if not self._quota.enter(place, key.concurrent):
                raise RateLimited(f"This API key may have {key.concurrent} requests at once")
            inside = Pass(key.name, self._quota, place)
        if key.rate:
            interval = max(1, round(_SECOND_NS / key.rate))
            wait_ns = self._quota.take(place, self._clock_ns(), interval, key.burst)
            if wait_ns:
                inside.__exit__(None, None, None)
                seconds = math.ceil(wait_ns / _SECOND_NS)
                raise RateLimited(f"This API key may ask {key.rate:g} times a second", retry_after_s=seconds)
        return inside
