"""The pages of a PDF or TIFF: rendered into a window of slots, side by side over the devices."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from typing import Any, Literal, TypeVar

from pipelines.core.errors import DeadlinePassed
from pipelines.core.forms import Page
from server.admission import Permit
from server.clock import within
from server.documents import Renderer
from server.leases import Lease
from server.wire import Shape
from server.work import Ground, Work, fingerprint, hand_over, identify, receive

T = TypeVar("T")


async def run_document(ground: Ground, work: Work, kind: Literal["pdf", "tiff"]) -> None:
    """Render page after page into a window of slots; every page goes to a device as soon as it is there."""
    ground.metrics.add("worker_documents")
    started = time.perf_counter()
    async with contextlib.AsyncExitStack() as held:
        for gate in (ground.renders,) if work.deliver is None else (ground.paced, ground.renders):
            await _in_time(work.permit, gate.acquire())
            held.callback(gate.release)
        window = await _in_time(work.permit, _render(ground, work, kind))
    work.timings["decode"] = work.timings.get("decode", 0.0) + 1000 * (time.perf_counter() - started)
    work.pages = await window.finish()
    sizes = [{"width": shape.width, "height": shape.height} for shape in window.shapes]
    work.data_info = {"numPages": len(sizes), "pages": sizes, "type": kind}


async def _in_time(permit: Permit, step: Coroutine[Any, Any, T]) -> T:
    """Wait no longer than the client does. Raises DeadlinePassed."""
    try:
        return await within(permit.left_s(), step)
    except asyncio.TimeoutError:
        raise DeadlinePassed from None


async def _render(ground: Ground, work: Work, kind: Literal["pdf", "tiff"]) -> Window:
    """Draw all pages; the last ones may still be with devices when this returns."""
    max_pages = work.endpoint.config.serving.max_num_input_imgs
    name = await ground.dispatcher.in_thread([], fingerprint, work.data)
    async with Renderer(work.data, kind, max_pages, ground.limits) as renderer:
        work.drop_data()
        window = Window(ground, work, renderer, name)
        try:
            window.reserve()
            await window.render()
        except BaseException:
            await window.abort()
            raise
    return window


class Window:
    """The slots of one document: ``min(pages, document_slots)``, all or none, each refilled as it frees.

    A page that is delivered frees its slot when its client has taken it: so far ahead of a slow client are
    devices, at most. ``name`` is the document's fingerprint; every page has one of its own made of it.

    Attributes:
        shapes: of all pages.
    """

    def __init__(self, ground: Ground, work: Work, renderer: Renderer, name: int) -> None:
        self._ground, self._work, self._renderer, self._name = ground, work, renderer, name
        self.shapes = [Shape(height=h, width=w) for w, h in renderer.sizes]
        self._free: asyncio.Queue[Lease | BaseException] = asyncio.Queue()
        self._tasks: list[asyncio.Task[Page | None]] = []
        self._slot_bytes = max(work.slot_bytes(shape) for shape in self.shapes)

    def reserve(self) -> None:
        """Take the permit and the slots for the whole document. Raises Overloaded."""
        count = min(len(self.shapes), self._ground.limits.document_slots)
        sizes = sorted((shape.nbytes for shape in self.shapes), reverse=True)
        held = sum(sizes[:count])
        if self._work.visualize and self._work.deliver is None:
            held += sum(sizes)  # pictures are drawn when all pages are there: their pixels are kept
        self._work.permit.hold(held)
        costs = [self._work.cost_ms(shape.height, shape.width) for shape in self.shapes]
        self._work.permit.cost(sum(costs), len(costs))
        for _ in range(count):
            self._add_slot()

    async def render(self) -> None:
        """Draw every page and hand it over; returns when the last one is with a device."""
        for index, shape in enumerate(self.shapes):
            lease = await self._free.get()
            if isinstance(lease, BaseException):
                raise lease
            self._work.permit.check_deadline()
            identify(self._ground, lease, fingerprint(b"%d page %d" % (self._name, index)))
            await self._renderer.draw(index)
            await self._ground.dispatcher.in_thread([lease], self._renderer.copy, index, lease.view)
            cost = self._work.cost_ms(shape.height, shape.width)
            answer = hand_over(self._ground, self._work, lease, shape, cost)
            self._tasks.append(asyncio.create_task(self._wait_for(index, lease, answer)))

    async def finish(self) -> list[Page]:
        """All pages that have not been delivered, in order. Raises the first fault."""
        try:
            return [page for page in await asyncio.gather(*self._tasks) if page is not None]
        except BaseException:
            await self.abort()
            raise

    async def abort(self) -> None:
        """Let go of every page."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _add_slot(self) -> None:
        lease = self._ground.dispatcher.take(self._slot_bytes, self._work.permit.batch)
        self._work.leases.append(lease)
        self._free.put_nowait(lease)

    async def _wait_for(self, index: int, lease: Lease, answer: asyncio.Future[int]) -> Page | None:
        page: Page | None
        try:
            page = await receive(self._ground, self._work, lease, self.shapes[index], answer)
            if self._work.deliver is not None:
                await self._work.deliver(index, page, lease)
                page = None
            elif page.pixels is not None:
                page.pixels = await self._ground.dispatcher.in_thread([lease], page.pixels.copy)
        except BaseException as fault:
            self._free.put_nowait(fault)
            raise
        lease.close(here=True)
        self._work.leases.remove(lease)
        if len(self._tasks) < len(self.shapes):
            self._add_slot()  # the slot just freed: nothing else on this loop came between
        return page
