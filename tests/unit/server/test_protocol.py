"""The connection where Sanic's own would stumble."""

import asyncio
from types import SimpleNamespace

import pytest
from sanic.exceptions import RequestCancelled

from server.protocol import Protocol


def test_an_answer_to_a_connection_that_has_ended_is_cancelled_and_counted():
    async def run():
        unsent = []
        app = SimpleNamespace(ctx=SimpleNamespace(count_unsent=lambda: unsent.append(1)))
        made = Protocol.__new__(Protocol)
        made.app, made.transport, made._can_write = app, None, asyncio.Event()
        sending = asyncio.ensure_future(made.send(b"late"))
        await asyncio.sleep(0)
        made._can_write.set()
        with pytest.raises(RequestCancelled):
            await sending
        assert unsent == [1]

    asyncio.run(run())
