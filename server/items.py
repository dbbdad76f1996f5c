"""One request's items: an image, a file or the pages of a document, through slots and devices and back.

The order of every path is the same: size, limits, permit, slot, pixels, hand over, wait, read.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import Any, Literal, NamedTuple

import msgspec

from kernels.segment import Segment
from pipelines.core.base import Page
from pipelines.core.errors import DeadlinePassed, Poisoned, ServeError
from server import wire
from server.admission import Permit
from server.clock import within
from server.config import Limits
from server.decode import Endpoint, FileKind, Parsed
from server.dispatch import Dispatcher
from server.documents import Renderer
from server.headers import Header, read_header
from server.images import check_pixels, decode_into, shape_of, working_bytes
from server.leases import Lease
from server.metrics import Metrics
from server.wire import Shape


class Ground(NamedTuple):
    """What all requests of a worker share. ``renders`` bounds the render children that run together."""

    segment: Segment
    dispatcher: Dispatcher
    metrics: Metrics
    limits: Limits
    renders: asyncio.Semaphore


class Work(msgspec.Struct):
    """One request that has been let in and parsed.

    Attributes:
        request_id: 64 bits that the devices log; ``visualize``: pictures are wanted.
        timings: milliseconds per step, filled in on the way.
        leases: slots whose pixels ``pages`` refer to; the caller closes them after the answer is made.
        pages, data_info, result_bytes: the outcome.
    """

    endpoint: Endpoint
    parsed: Parsed
    permit: Permit
    request_id: int
    visualize: bool
    timings: dict[str, float]
    leases: list[Lease] = []
    pages: list[Page] = []
    data_info: dict[str, Any] | None = None
    result_bytes: int = 0

    @property
    def operation_code(self) -> int:
        """The ``operation`` field of slot headers."""
        return self.endpoint.pipeline_index * 16 + self.endpoint.operation_index

    def cost_ms(self, height: int, width: int) -> float:
        """Estimated one-thread device time of a page."""
        return self.endpoint.pipeline.cost_ms(self.parsed.params, height, width)

    def slot_bytes(self, shape: Shape) -> int:
        """Slot for a page or blob and its result."""
        bound = self.endpoint.pipeline.result_bytes(self.parsed.params, shape.height, shape.width)
        return wire.slot_bytes(shape, bound)


async def run_items(ground: Ground, work: Work, data: bytes, kind: FileKind) -> None:
    """Run the file of a request and fill in ``work``. Raises ServeError."""
    if kind == "blob":
        await _run_blob(ground, work, data)
        return
    header = None if kind == "pdf" else read_header(data)
    is_document = work.endpoint.operation.input == "document"
    if header is None or (is_document and len(header.sizes) > 1):
        await _run_document(ground, work, data, header)
        return
    check_pixels(header.width, header.height, ground.limits.max_pixels)
    await _run_image(ground, work, data, header)
    if is_document:
        page = work.pages[0]
        work.data_info = {"width": page.width, "height": page.height, "type": "image"}


async def _run_image(ground: Ground, work: Work, data: bytes, header: Header) -> None:
    shape, cost = shape_of(header), work.cost_ms(header.height, header.width)
    work.permit.hold(shape.nbytes + working_bytes(header))
    work.permit.cost(cost)
    lease = ground.dispatcher.take(work.slot_bytes(shape))
    work.leases.append(lease)
    shape = await ground.dispatcher.in_thread([lease], _decode_image, ground, work, lease, data, header)
    work.permit.free(working_bytes(header))
    answer = _hand_over(ground, work, lease, shape, cost)
    work.pages.append(await _receive(ground, work, lease, shape, answer))


def _decode_image(ground: Ground, work: Work, lease: Lease, data: bytes, header: Header) -> Shape:
    """Thread: identify the input, then decode it into the slot."""
    started = time.perf_counter()
    work.permit.check_deadline()
    identify(ground, lease, data)
    shape = decode_into(lease.view, data, header, ground.limits.truncated_images)
    work.timings["decode"] = work.timings.get("decode", 0.0) + 1000 * (time.perf_counter() - started)
    return shape


def identify(ground: Ground, lease: Lease, data: bytes) -> None:
    """Write the input's hash to its slot, before anything parses it: if that kills, it is known what did.

    Raises Poisoned when the input is in quarantine.
    """
    # SHA-256 is the fastest here (instructions of its own on current processors), 0.1 ms for 250 KB.
    body_hash = int.from_bytes(hashlib.sha256(data).digest()[:8], "little") or 1
    if ground.segment.quarantined and ground.segment.is_quarantined(body_hash):
        raise Poisoned
    ground.dispatcher.slots.set_body_hash(lease.slot, body_hash)


async def _run_blob(ground: Ground, work: Work, data: bytes) -> None:
    shape, cost = Shape(blob_bytes=len(data)), work.cost_ms(0, 0)
    work.permit.hold(len(data))
    work.permit.cost(cost)
    lease = ground.dispatcher.take(work.slot_bytes(shape))
    work.leases.append(lease)
    identify(ground, lease, data)
    lease.view[wire.META : wire.META + len(data)] = data
    answer = _hand_over(ground, work, lease, shape, cost)
    work.pages.append(await _receive(ground, work, lease, shape, answer))


def _hand_over(ground: Ground, work: Work, lease: Lease, shape: Shape, cost_ms: float) -> asyncio.Future[int]:
    """Write the request record and give the slot to a device."""
    endpoint, parsed = work.endpoint, work.parsed
    work.permit.check_deadline()
    length = wire.write_request(
        lease.view,
        endpoint.pipeline_index,
        endpoint.operation_index,
        parsed.form_index,
        shape,
        parsed.params,
    )
    answer = ground.dispatcher.publish(
        lease,
        request_id=work.request_id,
        deadline_ns=work.permit.deadline_ns,
        operation=work.operation_code,
        cost_ms=cost_ms,
        request_bytes=length,
    )
    work.permit.published(cost_ms)
    ground.metrics.add("worker_pages")
    return answer


async def _receive(
    ground: Ground, work: Work, lease: Lease, shape: Shape, answer: asyncio.Future[int]
) -> Page:
    """Wait for a device's answer and read it. Raises the fault that the device met."""
    length = await ground.dispatcher.wait(answer, work.permit.deadline_ns)
    work.result_bytes += length
    result, timings = wire.read_result(lease.view, shape, length, work.endpoint.operation.result)
    for name, milliseconds in timings.stages.items():
        work.timings[name] = work.timings.get(name, 0.0) + milliseconds
    if isinstance(result, ServeError):
        raise result
    pixels = wire.pixels(lease.view, shape) if work.visualize and shape.height else None
    if pixels is not None:
        pixels.flags.writeable = False
    return Page(result=result, width=shape.width, height=shape.height, pixels=pixels)


# --- documents ---------------------------------------------------------------------------------------


async def _run_document(ground: Ground, work: Work, data: bytes, header: Header | None) -> None:
    """Render page after page into a window of slots; every page goes to a device as soon as it is there."""
    kind: Literal["pdf", "tiff"] = "pdf" if header is None else "tiff"
    ground.metrics.add("worker_documents")
    started = time.perf_counter()
    await _take_turn(ground.renders, work.permit)
    try:
        window = await _render(ground, work, data, kind)
    finally:
        ground.renders.release()
    work.timings["decode"] = work.timings.get("decode", 0.0) + 1000 * (time.perf_counter() - started)
    work.pages = await window.finish()
    sizes = [{"width": page.width, "height": page.height} for page in work.pages]
    work.data_info = {"numPages": len(sizes), "pages": sizes, "type": kind}


async def _take_turn(renders: asyncio.Semaphore, permit: Permit) -> None:
    """Wait for a render child's place. Raises DeadlinePassed."""
    try:
        await within(permit.left_s(), renders.acquire())
    except asyncio.TimeoutError:
        raise DeadlinePassed from None


async def _render(ground: Ground, work: Work, data: bytes, kind: Literal["pdf", "tiff"]) -> Window:
    """Draw all pages; the last ones may still be with devices when this returns."""
    max_pages = work.endpoint.config.serving.max_num_input_imgs
    async with Renderer(data, kind, max_pages, ground.limits) as renderer:
        window = Window(ground, work, renderer)
        try:
            window.reserve()
            await window.render()
        except BaseException:
            await window.abort()
            raise
    return window


class Window:
    """The slots of one document: ``min(pages, document_slots)``, all or none, each refilled as it frees."""

    def __init__(self, ground: Ground, work: Work, renderer: Renderer) -> None:
        self._ground, self._work, self._renderer = ground, work, renderer
        self._shapes = [Shape(height=h, width=w) for w, h in renderer.sizes]
        self._free: asyncio.Queue[Lease | BaseException] = asyncio.Queue()
        self._tasks: list[asyncio.Task[Page]] = []
        self._slot_bytes = max(work.slot_bytes(shape) for shape in self._shapes)

    def reserve(self) -> None:
        """Take the permit and the slots for the whole document. Raises Overloaded."""
        count = min(len(self._shapes), self._ground.limits.document_slots)
        sizes = sorted((shape.nbytes for shape in self._shapes), reverse=True)
        held = sum(sizes[:count])
        if self._work.visualize:
            held += sum(sizes)  # pictures are drawn when all pages are there: their pixels are kept
        self._work.permit.hold(held)
        costs = [self._work.cost_ms(shape.height, shape.width) for shape in self._shapes]
        self._work.permit.cost(sum(costs))
        for _ in range(count):
            self._add_slot()

    async def render(self) -> None:
        """Draw every page and hand it over; returns when the last one is with a device."""
        for index, shape in enumerate(self._shapes):
            lease = await self._free.get()
            if isinstance(lease, BaseException):
                raise lease
            self._work.permit.check_deadline()
            await self._renderer.draw(index)
            await self._ground.dispatcher.in_thread([lease], self._renderer.copy, index, lease.view)
            cost = self._work.cost_ms(shape.height, shape.width)
            answer = _hand_over(self._ground, self._work, lease, shape, cost)
            self._tasks.append(asyncio.create_task(self._wait_for(lease, shape, answer)))

    async def finish(self) -> list[Page]:
        """All pages, in order. Raises the first fault."""
        try:
            return list(await asyncio.gather(*self._tasks))
        except BaseException:
            await self.abort()
            raise

    async def abort(self) -> None:
        """Let go of every page."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _add_slot(self) -> None:
        lease = self._ground.dispatcher.take(self._slot_bytes)
        self._work.leases.append(lease)
        self._free.put_nowait(lease)

    async def _wait_for(self, lease: Lease, shape: Shape, answer: asyncio.Future[int]) -> Page:
        try:
            page = await _receive(self._ground, self._work, lease, shape, answer)
            if page.pixels is not None:
                pixels = page.pixels
                page.pixels = await self._ground.dispatcher.in_thread([lease], pixels.copy)
        except BaseException as fault:
            self._free.put_nowait(fault)
            raise
        lease.close()
        self._work.leases.remove(lease)
        if len(self._tasks) < len(self._shapes):
            self._add_slot()  # the slot just freed: nothing else on this loop came between
        return page
