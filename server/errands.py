"""Requests without a file: a worker answers them itself and asks devices for what they have to compute."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import msgspec

from pipelines.core.errors import DeadlinePassed
from pipelines.core.forms import Errand, ErrandForm
from server.clock import within
from server.decode import Parsed
from server.items import run_items
from server.work import Ground, Work


async def run_errand(ground: Ground, work: Work) -> dict[str, Any]:
    """The ``result`` object of a request. Raises ServeError."""

    async def compute(params: msgspec.Struct, blob: bytes) -> msgspec.Struct:
        return await _compute(ground, work, params, blob)

    async def in_thread(function: Any, *arguments: Any) -> Any:
        return await ground.dispatcher.in_thread([], function, *arguments)

    endpoint, form = work.endpoint, cast("ErrandForm", work.parsed.form)
    errand = Errand(work.parsed.request, endpoint.config, endpoint.desk, compute, in_thread)
    left_s = work.permit.left_s()
    try:
        return await within(left_s, form.answer(errand))
    except asyncio.TimeoutError:
        raise DeadlinePassed from None


async def _compute(ground: Ground, work: Work, params: msgspec.Struct, blob: bytes) -> msgspec.Struct:
    """One item on a device, under the permit of the request that asks for it."""
    parsed = Parsed(work.parsed.form, work.parsed.form_index, work.parsed.request, params)
    part = Work(work.endpoint, parsed, work.permit, work.request_id, False, blob, "blob", work.timings)
    work.permit.hold(len(blob))
    try:
        await run_items(ground, part)
        return part.pages[0].result
    finally:
        for lease in part.leases:
            lease.close()
