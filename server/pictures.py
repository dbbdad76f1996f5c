"""Pictures of documents on their way to a store: own keys, threads of their own, bounds on how many wait.

Devices, decoding and drawing know nothing of it: a store that is slow or down costs a request its answer, in
bounded time, and nobody else anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from pipelines.core.errors import DeadlinePassed, Overloaded, ServeError, Upstream, UpstreamTimeout
from server.clock import within
from server.config import Config
from server.storage import Store, reason, store_of

#: Uploads of a worker at once, for one store.
THREADS = 4
#: Pictures of a worker that may wait for one store, those that are sent included.
MAX_WAITING = 128
#: Seconds that storing the pictures of an answer, or of a page in lines, may take: all of it, and each.
LIMIT_S, _EACH_S = 15.0, 0.1
#: What a refused client is told to wait.
_RETRY_S = 2

_log = logging.getLogger(__name__)


class Picture(NamedTuple):
    """One picture of a result: the object that holds it, its name in there, and the name of its file."""

    holder: dict[str, Any]
    name: str
    file: str


def pictures_of(result: Mapping[str, Any], first: int = 0) -> Iterator[Picture]:
    """The pictures in the lists of a document's result; their files are numbered by page, from ``first``.

    Names are those of the API's fields (``ocrImage_0.jpg``): nothing of them is a client's.
    """
    for rows in result.values():
        if isinstance(rows, list):
            for index, row in enumerate(rows, first):
                if isinstance(row, dict):
                    yield from _in_row(row, index)


def _in_row(row: dict[str, Any], index: int) -> Iterator[Picture]:
    for name, value in row.items():
        if isinstance(value, bytes):
            yield Picture(row, name, f"{name}_{index}.jpg")
        elif isinstance(value, dict):
            for inner, picture in value.items():
                if isinstance(picture, bytes):
                    yield Picture(value, inner, f"{inner}_{index}.jpg")


class Pictures:
    """The pictures of one pipeline, or of several with one store. Event loop only.

    Args:
        store: where they go.
        title: what the log calls it.
    """

    def __init__(self, store: Store, title: str) -> None:
        self._store, self._title = store, title
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="store")
        self._places = asyncio.Semaphore(THREADS)
        self._waiting, self._works = 0, True

    async def keep(self, result: Mapping[str, Any], name: str, first: int, seconds: float) -> None:
        """Store the pictures of ``result``, and put their addresses in their places where those are wanted.

        Args:
            result: of a document's form; changed in place.
            name: a UUID of this server: the folder that they have in the store.
            first: number of the first page.
            seconds: until the request's deadline.

        Raises:
            Overloaded: too many wait.
            UpstreamTimeout, Upstream: the store did not take them.
            DeadlinePassed: nor in the time that the request has.
        """
        pictures = list(pictures_of(result, first))
        if self._waiting + len(pictures) > max(MAX_WAITING, len(pictures)):
            raise Overloaded("Too many pictures wait for their storage", _RETRY_S)
        self._waiting += len(pictures)
        limit = LIMIT_S + _EACH_S * len(pictures)
        try:
            addresses = await within(min(seconds, limit), self._put_all(pictures, name))
        except asyncio.TimeoutError:
            if seconds < limit:  # a client's impatience says nothing about the store
                raise DeadlinePassed from None
            raise self._failed(UpstreamTimeout("The storage of pictures took too long"), "timeout") from None
        except Exception as error:
            raise self._failed(Upstream("The storage of pictures failed"), reason(error)) from None
        finally:
            self._waiting -= len(pictures)
        if not self._works:
            self._works = True
            _log.info("%s stores pictures again", self._title)
        for picture, address in zip(pictures, addresses, strict=True):
            if address:
                picture.holder[picture.name] = address

    async def _put_all(self, pictures: list[Picture], name: str) -> list[str]:
        tasks = [
            asyncio.ensure_future(self._put(f"{name}/{each.file}", each.holder[each.name]))
            for each in pictures
        ]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _put(self, key: str, content: bytes) -> str:
        """One picture. Its place is free when its thread is, also when nobody waits for that any more."""
        await self._places.acquire()
        loop = asyncio.get_running_loop()

        def ended(_job: Future[str]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended before
                loop.call_soon_threadsafe(self._places.release)

        try:
            job = self._pool.submit(self._store.put, key, content)
        except BaseException:
            self._places.release()
            raise
        job.add_done_callback(ended)
        return await asyncio.wrap_future(job)

    def _failed(self, fault: ServeError, why: str) -> ServeError:
        if self._works:
            self._works = False
            _log.warning("%s: pictures cannot be stored: %s", self._title, why)
        return fault

    def shutdown(self, *, wait: bool, cancel_futures: bool) -> None:
        """As that of an executor."""
        self._pool.shutdown(wait=wait, cancel_futures=cancel_futures)


def pictures_by_pipeline(config: Config) -> dict[str, Pictures]:
    """Name of a pipeline to where its pictures go; pipelines that keep none are absent."""
    made: dict[str, Pictures] = {}
    for pipeline in config.pipelines:
        options = pipeline.serving
        if options.storage is None:
            continue
        same = (each.name for each in config.pipelines if each.name in made and each.serving == options)
        shared = next(same, None)
        made[pipeline.name] = (
            made[shared] if shared else Pictures(store_of(options.storage, options, THREADS), pipeline.title)
        )
    return made
