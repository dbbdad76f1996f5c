"""Files that requests name by URL: from listed hosts only, at addresses that were checked, within bounds.

Off unless the operator lists hosts. A listed name may only lead to the open internet or to a listed network,
whatever its name server says and when; a redirect has to pass the same tests.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

from pipelines.core.addresses import Network, Resolve, host_and_port, is_public, is_within
from pipelines.core.errors import BadRequest, DeadlinePassed
from server.clock import within
from server.config import Access, Limits
from server.headers import INVALID

if TYPE_CHECKING:
    import httpx

    from server.admission import Permit
    from server.files import FileKind

#: Fetches of one worker at once; others wait within their time.
_AT_ONCE = 8
#: Name servers are asked in threads; a slow one must not keep those that other work needs.
_RESOLVERS = 4
_REDIRECTS = 3
_AUTHORITY_END = re.compile(r"[/?#]")
_REDIRECT_CODES = frozenset({301, 302, 303, 307, 308})
_ANY = frozenset({"", "application/octet-stream", "binary/octet-stream"})
#: What a host may call a file that is read as ``FileKind``; ``image/…`` is always an image.
_TYPES: dict[str, frozenset[str]] = {
    "blob": _ANY | {"text/csv", "application/csv", "text/plain"},
    "pdf": _ANY | {"application/pdf", "application/x-pdf"},
    "image": _ANY,
}


class Fetcher:
    """Gets files for one worker.

    Args:
        access: which hosts and networks.
        limits: bounds on size and time.
        resolve: replaces the system's resolver (tests).
        context: replaces the system's certificates (tests).
    """

    def __init__(
        self,
        access: Access,
        limits: Limits,
        resolve: Resolve | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        found = [host_and_port(host) for host in access.url_hosts]
        self._hosts = frozenset(host for host in found if host is not None)
        self._networks: list[Network] = [ipaddress.ip_network(network) for network in access.url_networks]
        for host, _ in self._hosts:  # who lists an address means it
            with suppress(ValueError):
                self._networks.append(ipaddress.ip_network(host))
        self._limits = limits
        self._resolve = resolve or self._ask
        self._context = context
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._resolvers = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="resolve")

    async def fetch(self, url: str, kind: FileKind, permit: Permit) -> bytes:
        """The file at ``url``, held by ``permit``. Raises BadRequest, Overloaded or DeadlinePassed."""
        allowed_s, left_s = self._limits.url_timeout_ms / 1000, permit.left_s()
        try:
            return await within(min(allowed_s, left_s), self._in_turn(url, kind, permit))
        except asyncio.TimeoutError:
            if left_s < allowed_s:
                raise DeadlinePassed from None
            raise _refusal(f"it takes more than {self._limits.url_timeout_ms} ms") from None

    async def _in_turn(self, url: str, kind: FileKind, permit: Permit) -> bytes:
        import httpx  # noqa: PLC0415 - takes 0.1 s, and few servers fetch

        async with self._turns:
            loop = asyncio.get_running_loop()
            if self._context is None:  # reading the certificates takes tens of milliseconds
                self._context = await loop.run_in_executor(self._resolvers, httpx.create_ssl_context)
            try:
                return await self._follow(url, kind, permit, self._context)
            except httpx.HTTPError:
                raise _refusal("its host cannot be reached, or breaks off") from None

    async def _follow(self, url: str, kind: FileKind, permit: Permit, context: ssl.SSLContext) -> bytes:
        import httpx  # noqa: PLC0415

        from pipelines.core.address_guard import GuardedTransport  # noqa: PLC0415

        transport = GuardedTransport(frozenset(), context, self._permits, self._resolve)
        place = self._checked(url)
        headers = {"Accept-Encoding": "identity", "User-Agent": "paddle-pipeline-server"}
        async with transport:
            for _ in range(_REDIRECTS + 1):
                answer = await transport.handle_async_request(httpx.Request("GET", place, headers=headers))
                try:
                    if answer.status_code not in _REDIRECT_CODES:
                        return await self._read(answer, kind, permit)
                    target = place.join(answer.headers.get("location", ""))
                except (httpx.InvalidURL, ValueError):
                    raise _refusal("its host redirects to what is no URL") from None
                finally:
                    await answer.aclose()
                if place.scheme == "https" and target.scheme != "https":
                    raise _refusal("its host redirects from https to http")
                place = self._checked(str(target))
        raise _refusal(f"its host redirects more than {_REDIRECTS} times")

    def _checked(self, text: str) -> httpx.URL:
        """The URL, whose host and port are listed. Raises BadRequest."""
        import httpx  # noqa: PLC0415

        try:
            url = httpx.URL(text)
            standard = {"http": 80, "https": 443}.get(url.scheme, 0)
            host, port = url.host.lower(), url.port or standard
        except (httpx.InvalidURL, ValueError, TypeError):
            raise _refusal("it is no URL") from None
        listed = (host, port) in self._hosts or (port == standard and (host, None) in self._hosts)
        authority = _AUTHORITY_END.split(text.partition("://")[2], maxsplit=1)[0]
        if not standard or not host or {"@", "\\"} & {*authority} or not listed:
            raise _refusal("its host is not one that this server may ask")
        return url

    def _permits(self, address: str) -> bool:
        return is_public(address) or is_within(address, self._networks)

    async def _read(self, answer: httpx.Response, kind: FileKind, permit: Permit) -> bytes:
        if answer.status_code != 200:
            raise _refusal(f"its host answers with HTTP status {answer.status_code}")
        _check_type(answer.headers, kind)
        limit, size, parts = self._limits.max_body_bytes, 0, []
        declared = answer.headers.get("content-length", "")
        if declared.isdigit() and len(declared) < 20:
            size = int(declared)
        received = 0
        if size <= limit:
            async for part in answer.aiter_raw():
                received += len(part)
                if received > limit:
                    break
                permit.hold(len(part))
                parts.append(part)
        if max(size, received) > limit:
            raise _refusal(f"it is larger than {limit} bytes")
        return b"".join(parts)

    async def _ask(self, host: str, port: int) -> list[str]:
        """The system's resolver, in threads of its own."""

        def addresses() -> list[str]:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            return [str(entry[4][0]) for entry in found]

        return await asyncio.get_running_loop().run_in_executor(self._resolvers, addresses)


def _check_type(headers: Mapping[str, str], kind: FileKind) -> None:
    """Raise BadRequest for pages of HTML and the like, and for what would have to be unpacked."""
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise _refusal("its host sends it compressed")
    given = headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in _TYPES[kind] and not (kind == "image" and given.startswith("image/")):
        raise _refusal("its host says that it is something else than this operation reads")


def _refusal(reason: str) -> BadRequest:
    return BadRequest(f"{INVALID}: the file cannot be fetched from its URL: {reason}")
