"""One request on its way to a device and back: what it carries, how it is handed over and read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from kernels.fingerprint import xxh64
from kernels.segment import Segment
from kernels.slots import YIELDS
from pipelines.core.errors import Poisoned, ServeError
from pipelines.core.forms import Page, Reply
from server import wire
from server.admission import Permit
from server.answer_cache import AnswerCache
from server.config import Limits
from server.decode import Endpoint, Parsed
from server.dispatch import Dispatcher
from server.fetch import Fetcher
from server.files import FileKind
from server.leases import Lease
from server.mapped import FileData
from server.metrics import Metrics
from server.wire import Shape

if TYPE_CHECKING:
    from server.exchange import Exchange
    from server.otlp import Tracer
    from server.pictures import Pictures

    #: Takes a request that has ended, its fault if it has one, and the seconds it took.
    Watcher = Callable[[Exchange, ServeError | None, float], None]


class Ground(NamedTuple):
    """What all requests of a worker share.

    ``renders`` bounds the render children that run together, ``paced`` those of them that wait for clients to
    take their pages. JPEGs of at most ``inline_pixels`` are decoded on the event loop. ``fetcher`` gets files
    that requests name by URL; None where none may be. ``answers`` keeps what was answered, if anything does;
    ``pictures`` those of the pipelines, by name, that keep theirs elsewhere.
    ``tracer`` gives each request a trace, if there is one; ``watchers`` are told of every request that has
    ended.
    """

    segment: Segment
    dispatcher: Dispatcher
    metrics: Metrics
    limits: Limits
    renders: asyncio.Semaphore
    paced: asyncio.Semaphore
    inline_pixels: int = 0
    fetcher: Fetcher | None = None
    answers: AnswerCache | None = None
    pictures: Mapping[str, Pictures] = {}
    tracer: Tracer | None = None
    watchers: tuple[Watcher, ...] = ()


class Work(msgspec.Struct):
    """One request that has been let in and parsed.

    Attributes:
        request_id: 64 bits that the devices log; ``visualize``: pictures are wanted.
        data, kind: the file and how it is read; dropped once its pixels are in a slot.
        timings: milliseconds per step, filled in on the way.
        size: height and width where ``data`` is pixels as they are; else zeros.
        leases: slots whose pixels ``pages`` refer to; the caller closes them after the answer is made.
        pages, data_info, result_bytes: the outcome.
        answer_bytes: estimate of what the answer takes beside them.
        deliver: takes the pages of a document, each with its place and its slot, as they are finished; they
            are not kept then.
    """

    endpoint: Endpoint
    parsed: Parsed
    permit: Permit
    request_id: int
    visualize: bool
    data: FileData
    kind: FileKind
    timings: dict[str, float]
    size: tuple[int, int] = (0, 0)
    leases: list[Lease] = []
    pages: list[Page] = []
    data_info: dict[str, Any] | None = None
    result_bytes: int = 0
    answer_bytes: int = 0
    deliver: Callable[[int, Page, Lease], Awaitable[None]] | None = None

    @property
    def operation_code(self) -> int:
        """The ``operation`` field of slot headers."""
        code = self.endpoint.pipeline_index * 16 + self.endpoint.operation_index
        return code | YIELDS if self.permit.batch else code

    def cost_ms(self, height: int, width: int) -> float:
        """Estimated one-thread device time of a page."""
        return self.endpoint.pipeline.cost_ms(self.parsed.params, height, width)

    def expect_answer(self, height: int, width: int) -> None:
        """Count the memory of the answer for an image. Raises Overloaded or BadRequest."""
        parsed = self.parsed
        self.answer_bytes = parsed.form.answer_bytes(parsed.params, height, width)
        self.permit.hold(self.answer_bytes)

    def slot_bytes(self, shape: Shape) -> int:
        """Slot for a page or blob and its result."""
        bound = self.endpoint.pipeline.result_bytes(self.parsed.params, *shape.extent)
        return wire.slot_bytes(shape, bound)

    @property
    def pictures_name(self) -> str:
        """The pipeline whose pictures these are; "" where none could be kept elsewhere."""
        return self.endpoint.config.name if self.visualize and self.parsed.form.page_by_page else ""

    def respond(
        self, pages: list[Page], data_info: dict[str, Any] | None, font: Callable[[], str]
    ) -> dict[str, Any]:
        """The result object. Any thread; slots still hold the pixels."""
        parsed, config = self.parsed, self.endpoint.config
        reply = Reply(parsed.request, parsed.params, config, pages, self.visualize, data_info, font)
        return parsed.form.respond(reply)

    def drop_data(self) -> None:
        """The file is not needed any more: waiting requests should hold their pixels only."""
        self.permit.free(len(self.data))
        self.data = b""


def fingerprint(data: FileData) -> int:
    """64 bits that name an input, never 0. Any thread.

    Who can bring processes down and constructs a second input of the same name can have that one refused
    for a while: no more than that, and SHA-256 would cost a seventh of a request's time.
    """
    return xxh64(data) or 1


def identify(ground: Ground, lease: Lease, name: int) -> None:
    """Write an input's name to its slot, before anything parses it: if that kills, it is known what did.

    Raises Poisoned when the input is in quarantine. Any thread.
    """
    if ground.segment.quarantined and ground.segment.is_quarantined(name):
        raise Poisoned
    ground.dispatcher.slots.set_body_hash(lease.slot, name)


def hand_over(ground: Ground, work: Work, lease: Lease, shape: Shape, cost_ms: float) -> asyncio.Future[int]:
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


async def receive(
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
