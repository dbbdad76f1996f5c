"""One operation's request from body to answer, without HTTP: parse, items, result object, JSON.

``server/routes.py`` owns the socket side; this file does not know Sanic.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable
from typing import Any

import orjson

from pipelines.core.config import Generation
from pipelines.core.errors import DeadlinePassed, NotReady, Overloaded, Poisoned, ServeError
from pipelines.core.forms import Page
from server import encode
from server.admission import Permit
from server.decode import Endpoint, Parsed, log_id_of
from server.doors import PADDLEX, Door
from server.errands import run_errand
from server.files import FileKind, check_file, file_bytes, file_kind, forget_file, is_url
from server.items import run_items
from server.leases import Lease
from server.lines import Lines
from server.mapped import FileData
from server.pictures import Pictures
from server.traces import Trace
from server.uploads import Upload
from server.work import Ground, Work

#: Bodies above this are parsed, and answers above this are made, off the event loop; either takes
#: about a millisecond at this size.
INLINE_BYTES = 1 << 20

_FAULT_COUNTERS: dict[type[ServeError], str] = {
    Overloaded: "worker_refused",
    NotReady: "worker_refused_not_ready",
    DeadlinePassed: "worker_deadline_passed",
    Poisoned: "worker_poisoned",
}

_HEADER_SAFE = re.compile(r"[\x21-\x7e]{1,128}")

_log = logging.getLogger(__name__)


def is_header_safe(text: str) -> bool:
    """Whether a header may repeat what a client has sent."""
    return _HEADER_SAFE.fullmatch(text) is not None


class Exchange:
    """What is known of one request from its first byte to its log line.

    Attributes:
        own_id: a UUID; ``request_id`` is its first half, which devices log.
        log_id: what answers and logs carry: the client's ``logId`` if it sent one.
        timings: milliseconds per step, in order.
        generation: of the body, or the server's default until that is known.
        status: HTTP status of the answer; 499 when the client has gone.
        owner: name of the API key that asks, "" where there are none; None until it is known.
        cached: ``hit`` or ``miss``; "" where nothing is kept.
        trace: its place in a trace, where traces are wanted.
        client: address of who asks, where somebody watches; bytes_in, bytes_out: of the body, and of the
            answer where it is a success or in lines; pages: how many were computed.

    Args:
        endpoint: the route.
        door: how the request came in.
    """

    def __init__(self, endpoint: Endpoint, door: Door = PADDLEX) -> None:
        identity = uuid.uuid4()
        self.endpoint, self.door = endpoint, door
        self.started = time.perf_counter()
        self.own_id = self.log_id = str(identity)
        self.request_id = identity.int >> 64
        self.timings: dict[str, float] = {}
        self.generation: Generation = endpoint.default_generation
        self.status = 200
        self.owner: str | None = None
        self.cached = self._url = ""
        self._content = b""
        self.trace: Trace | None = None
        self.client = ""
        self.bytes_in = self.bytes_out = self.pages = 0

    @property
    def header_id(self) -> str:
        """``log_id`` where a header can carry it, else ``request_id``."""
        return self.log_id if is_header_safe(self.log_id) else f"{self.request_id:016x}"

    def observe(self, ground: Ground, client: str, traceparent: str) -> None:
        """Remember what whoever watches wants to know; ``traceparent`` is a header, or ""."""
        if ground.watchers:
            self.client = client
        if ground.tracer:
            self.trace = ground.tracer.begin(traceparent)

    def received(self, nbytes: int) -> None:
        """The body is complete."""
        self.bytes_in = nbytes
        self.timings["recv"] = 1000 * (time.perf_counter() - self.started)

    async def run(
        self,
        ground: Ground,
        permit: Permit,
        body: bytes | Upload,
        font: Callable[[], str],
        lines: Lines | None = None,
    ) -> bytes:
        """From body to answer: JSON, or what is not, or the last of ``lines``. Raises ServeError."""
        started = time.perf_counter()
        dispatcher = ground.dispatcher
        if len(body) > INLINE_BYTES:
            work = await dispatcher.in_thread([], self._parse, ground, permit, body)
        else:
            work = self._parse(ground, permit, body)
        permit.free(len(body))
        permit.hold(len(work.data))
        del body
        if self._url and ground.fetcher is not None:
            work.data = await ground.fetcher.fetch(self._url, work.kind, permit)
            check_file(work.data, work.kind, "file")
        self.timings["decode"] = 1000 * (time.perf_counter() - started)
        if self.endpoint.operation.input == "none":
            result = await run_errand(ground, work)
            return await dispatcher.in_thread([], self._written, work, result)
        if lines is not None and work.parsed.form.page_by_page:
            return await self._in_lines(ground, work, font, lines)
        key = await self._key(ground, work)
        known = ground.answers.get(key) if key and ground.answers is not None else None
        if known is not None:
            return await self._repeat(ground, work, known)
        return await self._compute(ground, work, font, key)

    async def _compute(self, ground: Ground, work: Work, font: Callable[[], str], key: bytes) -> bytes:
        """Have devices do the work; the answer is kept under ``key``, unless that is empty."""
        try:
            await run_items(ground, work)
            self.pages = len(work.pages)
            if (pictures := ground.pictures.get(work.pictures_name)) is not None:
                return await self._with_addresses(ground, work, font, pictures)
            if work.visualize or work.result_bytes + work.answer_bytes > INLINE_BYTES:
                answer = await ground.dispatcher.in_thread(work.leases, self._answer, work, font)
            else:
                answer = self._answer(work, font)
            if key and ground.answers is not None:
                ground.answers.put(key, self._content)
            return answer
        finally:
            for lease in work.leases:
                lease.close()

    def _parse(self, ground: Ground, permit: Permit, body: bytes | Upload) -> Work:
        """Type the body and take the file out of it. Any thread; raises BadRequest or PipelineError."""
        endpoint, max_depth = self.endpoint, ground.limits.max_json_depth
        if isinstance(body, bytes):
            upload, fields = None, endpoint.open(body, max_depth)
        else:
            upload, fields = body, body.open(endpoint, max_depth)
        self.generation = endpoint.generation_of(fields)
        if self.generation == "v3":
            self.log_id = log_id_of(fields) or self.log_id
        parsed = endpoint.parse(fields)
        visualize = parsed.form.visualize(parsed.request, endpoint.config)
        data, kind = self._file(parsed, ground.fetcher is not None, upload)
        size = (0, 0) if upload is None else upload.size
        return Work(endpoint, parsed, permit, self.request_id, visualize, data, kind, self.timings, size)

    def _file(self, parsed: Parsed, fetches: bool, upload: Upload | None) -> tuple[FileData, FileKind]:
        operation = self.endpoint.operation
        if operation.input == "none":
            return b"", "blob"
        source = parsed.form.source(parsed.request)
        if upload is not None and upload.field:
            return upload.file(operation, source)
        kind = file_kind(operation, source)
        if fetches and is_url(source.data):
            self._url = source.data
            return b"", kind
        data = file_bytes(source, kind)
        forget_file(parsed.request, source)
        return data, kind

    async def _key(self, ground: Ground, work: Work) -> bytes:
        """The name that the answer is kept under; b"" where none is. Hashing counts as ``cache``.

        Addresses of pictures may lead to nothing some day: such answers are not kept.
        """
        if ground.answers is None or self.owner is None or work.pictures_name in ground.pictures:
            return b""
        started, self.cached = time.perf_counter(), "miss"
        if len(work.data) > INLINE_BYTES:
            key = await ground.dispatcher.in_thread([], ground.answers.key, work, self.owner)
        else:
            key = ground.answers.key(work, self.owner)
        self.timings["cache"] = 1000 * (time.perf_counter() - started)
        return key

    async def _repeat(self, ground: Ground, work: Work, content: bytes) -> bytes:
        """A kept answer in an envelope of its own."""
        self.cached = "hit"
        work.permit.hold(len(content))
        if len(content) > INLINE_BYTES:
            return await ground.dispatcher.in_thread([], self._written, work, orjson.Fragment(content))
        return self._written(work, orjson.Fragment(content))

    async def _in_lines(self, ground: Ground, work: Work, font: Callable[[], str], lines: Lines) -> bytes:
        """Send each page when it is finished. Returns the last line. Raises ServeError.

        Such answers are neither kept nor taken from what is kept: their order is that of the devices, and to
        keep one would mean to hold the whole document.
        """

        async def deliver(index: int, page: Page, lease: Lease) -> None:
            self.pages += 1
            result = await in_thread([lease], work.respond, [page], None, font)
            if pictures is not None:
                await self._keep(work, pictures, result, index)
            line = await in_thread([], encode.page_line, index, result)
            await lines.page(line, work.permit.left_s())

        in_thread, pictures = ground.dispatcher.in_thread, ground.pictures.get(work.pictures_name)
        work.deliver = deliver
        try:
            await run_items(ground, work)
            for page in work.pages:  # an image, still in its slot
                await deliver(0, page, work.leases[0])
            return encode.last_line(self._answer_id, lines.count, work.data_info)
        finally:
            for lease in work.leases:
                lease.close()

    async def _with_addresses(
        self, ground: Ground, work: Work, font: Callable[[], str], pictures: Pictures
    ) -> bytes:
        """The answer of a pipeline that keeps its pictures elsewhere. Slots are free before it begins to."""
        in_thread = ground.dispatcher.in_thread
        result = await in_thread(work.leases, work.respond, work.pages, work.data_info, font)
        for lease in work.leases:
            lease.close()
        await self._keep(work, pictures, result, 0)
        return await in_thread([], self._written, work, result)

    async def _keep(self, work: Work, pictures: Pictures, result: dict[str, Any], first: int) -> None:
        started = time.perf_counter()
        await pictures.keep(result, self.own_id, first, work.permit.left_s())
        self.timings["store"] = self.timings.get("store", 0.0) + 1000 * (time.perf_counter() - started)

    def _answer(self, work: Work, font: Callable[[], str]) -> bytes:
        """Make the result object and write it. Any thread; slots still hold the pixels."""
        started = time.perf_counter()
        result: encode.Result = work.respond(work.pages, work.data_info, font)
        if self.cached:
            self._content = encode.bare(work.parsed.form.generation, result)
            result = orjson.Fragment(self._content)
        answer = self._written(work, result)
        self.timings["encode"] = 1000 * (time.perf_counter() - started)
        return answer

    def _written(self, work: Work, result: encode.Result) -> bytes:
        """The result object as JSON. Any thread."""
        return self.door.write(work.parsed.form.generation, self._answer_id, result)

    @property
    def _answer_id(self) -> str:
        """The ``logId`` of a success."""
        echoes = self.generation == "v3" and self.endpoint.operation.echoes_log_id
        return self.log_id if echoes else self.own_id

    def finish(self, ground: Ground, fault: ServeError | None) -> None:
        """Count and log a request that has its answer, or whose client has gone.

        Faults of clients and refusals are counted and, at the level of requests,
        logged for debugging only: a flood of them must cost next to nothing.
        """
        seconds = time.perf_counter() - self.started
        ground.metrics.request(self.endpoint.path, self.status, seconds)
        counter = _FAULT_COUNTERS.get(type(fault)) if fault is not None else None
        if counter is not None:
            ground.metrics.add(counter)
        for watch in ground.watchers:
            watch(self, fault, seconds)
        level = logging.WARNING if self.status in {500, 504} else logging.DEBUG
        if _log.isEnabledFor(level):
            text = "" if fault is None else f" {fault.message}"
            form, values = "%s %d in %.1f ms (%016x)%s", (self.endpoint.path, self.status, 1000 * seconds)
            _log.log(level, form, *values, self.request_id, text, extra={"log_id": self.log_id})
