"""One request's file: an image or a blob straight into a slot, a document through ``server/pages.py``.

The order of every path is the same: size, limits, permit, slot, pixels, hand over, wait, read.
"""

from __future__ import annotations

import time

from server import wire
from server.csv_size import check_csv
from server.headers import Header, is_rare, read_header
from server.images import check_pixels, decode_into, shape_of, working_bytes
from server.leases import Lease
from server.pages import run_document
from server.wire import Shape
from server.work import Ground, Work, fingerprint, hand_over, identify, receive

#: Blobs above this are looked at and copied off the event loop; either takes 0.1 ms at this size.
_LARGE_BLOB = 1 << 20


async def run_items(ground: Ground, work: Work) -> None:
    """Run the file of a request and fill in ``work``. Raises ServeError."""
    if work.kind == "blob":
        await _run_blob(ground, work)
        return
    header = None if work.kind == "pdf" else await _read_header(ground, work)
    is_document = work.endpoint.operation.input == "document"
    if header is None or (is_document and len(header.sizes) > 1):
        await run_document(ground, work, "pdf" if header is None else "tiff")
        return
    check_pixels(header.width, header.height, ground.limits.max_pixels)
    await _run_image(ground, work, header)
    if is_document:
        page = work.pages[0]
        work.data_info = {"width": page.width, "height": page.height, "type": "image"}


async def _read_header(ground: Ground, work: Work) -> Header:
    if any(work.size):
        height, width = work.size
        return Header("pixels", width, height)
    if is_rare(work.data):
        return await ground.dispatcher.in_thread([], read_header, work.data)
    return read_header(work.data)


async def _run_image(ground: Ground, work: Work, header: Header) -> None:
    shape, cost = shape_of(header), work.cost_ms(header.height, header.width)
    work.permit.hold(shape.nbytes + working_bytes(header))
    work.expect_answer(header.height, header.width)
    work.permit.cost(cost)
    lease = ground.dispatcher.take(work.slot_bytes(shape), work.permit.batch)
    work.leases.append(lease)
    if (
        header.kind == "jpeg"
        and shape.height * shape.width <= ground.inline_pixels
        and not header.progressive
    ):
        shape = _decode_image(ground, work, lease, header)
    else:
        shape = await ground.dispatcher.in_thread([lease], _decode_image, ground, work, lease, header)
    work.permit.free(working_bytes(header))
    work.drop_data()
    answer = hand_over(ground, work, lease, shape, cost)
    work.pages.append(await receive(ground, work, lease, shape, answer))


def _decode_image(ground: Ground, work: Work, lease: Lease, header: Header) -> Shape:
    """Any thread: identify the input, then decode it into the slot."""
    started = time.perf_counter()
    work.permit.check_deadline()
    identify(ground, lease, fingerprint(work.data))
    shape = decode_into(lease.view, work.data, header, ground.limits.truncated_images)
    work.timings["decode"] = work.timings.get("decode", 0.0) + 1000 * (time.perf_counter() - started)
    return shape


async def _run_blob(ground: Ground, work: Work) -> None:
    shape = Shape(blob_bytes=len(work.data))
    cost, is_large = work.cost_ms(*shape.extent), len(work.data) > _LARGE_BLOB
    if work.endpoint.operation.input == "csv":
        if is_large:
            await ground.dispatcher.in_thread([], check_csv, work.data, ground.limits)
        else:
            check_csv(work.data, ground.limits)
    work.permit.hold(shape.nbytes)
    work.permit.cost(cost)
    lease = ground.dispatcher.take(work.slot_bytes(shape), work.permit.batch)
    work.leases.append(lease)
    if is_large:
        await ground.dispatcher.in_thread([lease], _copy_blob, ground, work, lease)
    else:
        _copy_blob(ground, work, lease)
    work.drop_data()
    answer = hand_over(ground, work, lease, shape, cost)
    work.pages.append(await receive(ground, work, lease, shape, answer))


def _copy_blob(ground: Ground, work: Work, lease: Lease) -> None:
    """Any thread: identify the input, then put it into the slot."""
    work.permit.check_deadline()
    identify(ground, lease, fingerprint(work.data))
    lease.view[wire.META : wire.META + len(work.data)] = work.data
