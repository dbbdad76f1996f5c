"""Answers that a worker keeps for who sends the same file with the same parameters again. Off by default.

Each worker keeps its own: a common store would need locks that a killed process may hold, and would save one
miss per worker. Nothing outlives the process, so a new configuration, which comes with new processes, starts
with nothing.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from server.config import Config
    from server.metrics import Metrics
    from server.work import Work

#: Beside an answer: its key, the entries of the table.
_ENTRY_BYTES = 512
#: An answer may take this part of what there is: one large picture must not push out everything else.
_LARGEST_PART = 4
_DIGEST_BYTES = 32


class AnswerCache:
    """Answers of one worker, the one that was least recently asked for going first. Event loop only.

    An answer is kept as the JSON of its ``result``; the envelope with its ``logId`` is made each time.

    Args:
        capacity: bytes.
        config: everything that answers depend on beside the request, models with their digests included.
        metrics: counts hits, misses and what goes.
    """

    def __init__(self, capacity: int, config: Config, metrics: Metrics) -> None:
        self._capacity, self._metrics = capacity, metrics
        self._answers: OrderedDict[bytes, bytes] = OrderedDict()
        self._nbytes = 0
        # With a secret key nobody can look for two inputs with one name, however short the digest were.
        self._secret = secrets.token_bytes(_DIGEST_BYTES)
        self._setup = hashlib.blake2b(msgspec.json.encode(config)).digest()
        metrics.set("worker_cache_bytes", 0)  # whoever had this lane before has left

    def __len__(self) -> int:
        return len(self._answers)

    def key(self, work: Work, owner: str) -> bytes:
        """The name of a request's answer. Any thread; about 1.2 ms of CPU a MiB of file.

        Args:
            work: the request, with its file.
            owner: name of the API key that asks: nobody can learn from a hit what others have sent.
        """
        parsed = work.parsed
        request: Any = parsed.request
        fields = {name: getattr(request, name) for name in request.__struct_fields__ if name != "log_id"}
        about = msgspec.json.encode(
            (
                owner,
                work.endpoint.path,
                parsed.form_index,
                work.kind,
                work.size,
                work.visualize,
                parsed.params,
                fields,
            )
        )
        digest = hashlib.blake2b(self._setup, digest_size=_DIGEST_BYTES, key=self._secret)
        digest.update(len(about).to_bytes(8, "little"))
        digest.update(about)
        digest.update(work.data)
        return digest.digest()

    def get(self, key: bytes) -> bytes | None:
        """The JSON of the result, or None."""
        found = self._answers.get(key)
        if found is None:
            self._metrics.add("worker_cache_misses")
            return None
        self._answers.move_to_end(key)
        self._metrics.add("worker_cache_hits")
        return found

    def put(self, key: bytes, content: bytes) -> None:
        """Keep the JSON of a result, unless it is too large."""
        size = len(content) + _ENTRY_BYTES
        if size > self._capacity // _LARGEST_PART:
            return
        before = self._answers.pop(key, None)
        self._nbytes += size - (0 if before is None else len(before) + _ENTRY_BYTES)
        self._answers[key] = content
        while self._nbytes > self._capacity:
            _, gone = self._answers.popitem(last=False)
            self._nbytes -= len(gone) + _ENTRY_BYTES
            self._metrics.add("worker_cache_evictions")
        self._metrics.set("worker_cache_bytes", self._nbytes)
