"""A client for programs, sync and async: files as they are or as PaddleX wants them, retries, deadlines.

::

    with Client("http://localhost:8080") as client:
        result = client.infer("/ocr", "page.png", visualize=False)

``memfd:///run/x.sock`` is a server of the same machine (``--memfd_socket``): it is lent the file, or the
pixels of an array. What is refused at the door (503 and 429 with ``Retry-After``) and what a connection lost
is sent again: every operation gives the same answer twice. It works with any PaddleX server when ``form`` is
``paddlex``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import TracebackType
from typing import Any, Literal

import httpx

from server.client_calls import (
    ACCEPT_LINES,
    POLICY,
    Call,
    DeadlineExceeded,
    DocumentPage,
    File,
    Message,
    Policy,
    ServerFault,
    file_message,
    is_in_lines,
    json_message,
    page_of,
    result_of,
    sending,
    settings,
    without_pages,
)
from server.memfd_client import AsyncMemfdTransport, MemfdTransport, is_memfd, socket_of

__all__ = ["AsyncClient", "Client", "DeadlineExceeded", "DocumentPage", "Policy", "ServerFault"]


class Client:
    """Asks a server; one may be used by many threads. A context manager.

    Args:
        url: where the server is: ``http://``, ``https://`` or ``memfd://`` and the path of its socket.
        api_key: sent with every request.
        policy: how long and how often.
        verify: as in httpx, for HTTPS.
        transport: as in httpx: ``httpx.HTTPTransport(uds=PATH)`` for a server on a Unix socket.
        sleep: for tests.
    """

    def __init__(
        self,
        url: str = "http://localhost:8080",
        *,
        api_key: str = "",
        policy: Policy = POLICY,
        verify: Any = True,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._policy, self._sleep = policy, sleep
        if transport is None and is_memfd(url):
            transport = MemfdTransport(socket_of(url))
        self._shares = isinstance(transport, MemfdTransport)
        self._http = httpx.Client(**settings(url, api_key, verify), transport=transport, trust_env=False)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def infer(
        self,
        path: str,
        file: File,
        *,
        form: Literal["raw", "paddlex"] = "raw",
        field: str = "file",
        media: str = "",
        **fields: Any,
    ) -> Any:
        """``result`` for a file.

        Args:
            path: route.
            file: its bytes, or its path; over ``memfd://`` also pixels, uint8 BGR ``[height, width, 3]``.
            form: the bytes as they are, or base64 in JSON as PaddleX takes it.
            field: name of the file there.
            media: content type of bytes that are neither a PDF nor an image (``text/csv``).
            fields: parameters, by their names in JSON.

        Raises:
            ServerFault: the server refused or failed.
            DeadlineExceeded: no answer in time.
            TypeError: pixels of another kind, or for a server that is not at ``memfd://``.
            httpx.TransportError: the server cannot be reached.
        """
        return self._send(file_message(path, file, form, field, media, fields))

    def post(self, path: str, **fields: Any) -> Any:
        """``result`` for these fields, as PaddleX takes them. Raises as :meth:`infer`."""
        return self._send(json_message(path, fields))

    def pages(self, path: str, file: File, *, media: str = "", **fields: Any) -> Iterator[DocumentPage]:
        """Each page of a document as soon as it is finished, in that order.

        The request is sent again only while no page has come. Leaving the loop tells the server to stop.
        Raises as :meth:`infer`; also in the middle, when a page fails.
        """
        message = file_message(path, file, "raw", "file", media, fields)
        call, begun = Call(self._policy), False
        while True:
            outcome: httpx.Response | httpx.TransportError
            try:
                with self._http.stream(
                    "POST", path, **sending(message, call, self._shares, ACCEPT_LINES)
                ) as answer:
                    if begun := is_in_lines(answer):
                        for line in answer.iter_lines():
                            call.left_s()
                            if (page := page_of(line)) is None:
                                return
                            yield page
                        raise ServerFault(200, "the answer ends before its last line")
                    answer.read()
                    outcome = answer
            except httpx.TimeoutException as fault:
                raise DeadlineExceeded(f"no answer within {self._policy.deadline_s:g} s") from fault
            except httpx.TransportError as fault:
                if begun:
                    raise
                outcome = fault
            wait = call.wait_s(outcome)
            if wait is None:
                raise without_pages(outcome)
            self._sleep(wait)

    def _send(self, message: Message) -> Any:
        call = Call(self._policy)
        while True:
            outcome: httpx.Response | httpx.TransportError
            try:
                outcome = self._http.post(message.path, **sending(message, call, self._shares))
            except httpx.TimeoutException as fault:
                raise DeadlineExceeded(f"no answer within {self._policy.deadline_s:g} s") from fault
            except httpx.TransportError as fault:
                outcome = fault
            wait = call.wait_s(outcome)
            if wait is None:
                return result_of(outcome)
            self._sleep(wait)


class AsyncClient:
    """The same for asyncio. An async context manager; arguments as in :class:`Client`."""

    def __init__(
        self,
        url: str = "http://localhost:8080",
        *,
        api_key: str = "",
        policy: Policy = POLICY,
        verify: Any = True,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._policy, self._sleep = policy, sleep
        if transport is None and is_memfd(url):
            transport = AsyncMemfdTransport(socket_of(url))
        self._shares = isinstance(transport, AsyncMemfdTransport)
        self._http = httpx.AsyncClient(**settings(url, api_key, verify), transport=transport, trust_env=False)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def infer(
        self,
        path: str,
        file: File,
        *,
        form: Literal["raw", "paddlex"] = "raw",
        field: str = "file",
        media: str = "",
        **fields: Any,
    ) -> Any:
        """As :meth:`Client.infer`."""
        message = await asyncio.to_thread(file_message, path, file, form, field, media, fields)
        return await self._send(message)

    async def post(self, path: str, **fields: Any) -> Any:
        """As :meth:`Client.post`."""
        return await self._send(json_message(path, fields))

    async def pages(
        self, path: str, file: File, *, media: str = "", **fields: Any
    ) -> AsyncIterator[DocumentPage]:
        """As :meth:`Client.pages`; ``contextlib.aclosing`` closes it when the loop is left early."""
        message = await asyncio.to_thread(file_message, path, file, "raw", "file", media, fields)
        call, begun = Call(self._policy), False
        while True:
            outcome: httpx.Response | httpx.TransportError
            try:
                async with self._http.stream(
                    "POST", path, **sending(message, call, self._shares, ACCEPT_LINES)
                ) as answer:
                    if begun := is_in_lines(answer):
                        async for line in answer.aiter_lines():
                            call.left_s()
                            if (page := page_of(line)) is None:
                                return
                            yield page
                        raise ServerFault(200, "the answer ends before its last line")
                    await answer.aread()
                    outcome = answer
            except httpx.TimeoutException as fault:
                raise DeadlineExceeded(f"no answer within {self._policy.deadline_s:g} s") from fault
            except httpx.TransportError as fault:
                if begun:
                    raise
                outcome = fault
            wait = call.wait_s(outcome)
            if wait is None:
                raise without_pages(outcome)
            await self._sleep(wait)

    async def _send(self, message: Message) -> Any:
        call = Call(self._policy)
        while True:
            outcome: httpx.Response | httpx.TransportError
            try:
                outcome = await self._http.post(message.path, **sending(message, call, self._shares))
            except httpx.TimeoutException as fault:
                raise DeadlineExceeded(f"no answer within {self._policy.deadline_s:g} s") from fault
            except httpx.TransportError as fault:
                outcome = fault
            wait = call.wait_s(outcome)
            if wait is None:
                return result_of(outcome)
            await self._sleep(wait)
