"""Where an address that a client names may lead: to public hosts only, unless the operator lists it.

The name is resolved once, every address it has is checked, and the connection goes to the address that
was checked, so that a second answer of the name server (DNS rebinding) changes nothing.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable

import httpx

from .addresses import Resolve, is_public, resolve
from .errors import BadRequest

_REFUSED = "The address of a service in the request must be public, or be allowed by the server's operator"


def checked_url(text: str) -> httpx.URL:
    """The base URL of a service. Raises BadRequest unless it is plain HTTP or HTTPS with a host."""
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError, TypeError):
        raise BadRequest("The address of a service is no URL") from None
    if url.scheme not in {"http", "https"} or not url.host or url.userinfo:
        raise BadRequest("The address of a service must be http:// or https:// with a host and no password")
    return url


class GuardedTransport(httpx.AsyncBaseTransport):
    """Connects to what a client names only where that is allowed.

    Args:
        allowed: hosts (``llm.internal``) or hosts with ports (``127.0.0.1:8000``) that need not be public.
        context: for HTTPS; certificates are checked against the name, not the address.
        permits: which addresses all others may have.
        resolve: finds them.

    A connection is used once: another name at the same address has to prove who it is.
    """

    def __init__(
        self,
        allowed: frozenset[str],
        context: ssl.SSLContext,
        permits: Callable[[str], bool] = is_public,
        resolve: Resolve = resolve,
    ) -> None:
        self._allowed, self._permits, self._resolve = allowed, permits, resolve
        limits = httpx.Limits(max_keepalive_connections=0)
        self._inner = httpx.AsyncHTTPTransport(verify=context, trust_env=False, retries=0, limits=limits)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send to the address that was checked. Raises BadRequest."""
        host, port = request.url.host, request.url.port or (443 if request.url.scheme == "https" else 80)
        if not {host, f"{host}:{port}"} & self._allowed:
            address = await self._address(host, port)
            request.extensions = {**request.extensions, "sni_hostname": host}
            request.url = request.url.copy_with(host=address)
        return await self._inner.handle_async_request(request)

    async def _address(self, host: str, port: int) -> str:
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError):
            raise httpx.ConnectError("the name of the host is unknown") from None
        if not addresses or not all(map(self._permits, addresses)):
            raise BadRequest(_REFUSED)
        return addresses[0]

    async def aclose(self) -> None:
        """Close all connections."""
        await self._inner.aclose()
