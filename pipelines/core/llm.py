"""Client of OpenAI-compatible services: chat completions and embeddings.

Everything is bounded: how many calls run and wait, how long each may take, how large an answer may be,
how often it is tried. A cancelled request cancels its call. Keys and texts never get into messages.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import numpy as np
from numpy.typing import NDArray

from .address_guard import GuardedTransport, checked_url
from .errors import Overloaded, Upstream, UpstreamTimeout
from .gate import Gate

#: PaddleX's values: as little chance as services allow.
_TEMPERATURE = _TOP_P = 0.001
#: Bytes of an answer; 256 embeddings of 3072 numbers take 16 MB as JSON.
_MAX_ANSWER = 32 << 20
#: Texts in one embedding call; most services allow more, Qianfan's ``tao-8k`` takes one.
_EMBED_AT_ONCE = 16
_ONE_BY_ONE = frozenset({"tao-8k"})
_CONNECT_S = 10.0
#: First pause before another try, doubled each time, and the longest, whatever a service asks for.
_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 20.0
_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504})

_log = logging.getLogger(__name__)


class Service(msgspec.Struct, frozen=True):
    """One model behind one address.

    Attributes:
        base_url: up to and with ``/v1``.
        model: as the service names it.
        api_key: sent as bearer token; "" for none.
        timeout_s: for one try, from the first byte sent to the last received.
        retries: further tries after faults that may pass.
        ours: set up by the operator, who may use any address.
    """

    base_url: str
    model: str
    api_key: str = ""
    timeout_s: float = 120.0
    retries: int = 2
    ours: bool = False

    def __repr__(self) -> str:
        return f"<Service {self.model} at {self.base_url}>"


class Said(msgspec.Struct, frozen=True):
    """What a model answered.

    Attributes:
        content: the text.
        reasoning: what some send beside it.
        literal: of its values only those count that stand in the document: the model makes things up.
    """

    content: str
    reasoning: str | None = None
    literal: bool = False


class LlmClient:
    """Asks services; one per worker process and pipeline.

    Args:
        allowed: hosts, or hosts with ports, that clients may name although they are not public.
        concurrency: calls at once to the operator's services, and as many to those that clients name.
        pause_s: first pause between tries.
    """

    def __init__(
        self, allowed: frozenset[str] = frozenset(), concurrency: int = 8, pause_s: float = _PAUSE_S
    ) -> None:
        self._allowed, self._pause_s = allowed, pause_s
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it writes a line for every call
        # Clients that name a service that never answers must not hold up the operator's own.
        self._gates = {ours: Gate(concurrency, 8 * concurrency) for ours in (True, False)}
        self._context: ssl.SSLContext | None = None
        self._own: httpx.AsyncClient | None = None

    async def chat(self, service: Service, messages: Sequence[dict[str, str]]) -> Said:
        """One chat completion.

        Raises:
            Upstream, UpstreamTimeout, Overloaded: the service failed, is slow, or is at its limit.
            BadRequest: the address that a client named is not allowed.
        """
        body = {
            "model": service.model,
            "messages": list(messages),
            "temperature": _TEMPERATURE,
            "top_p": _TOP_P,
            "stream": False,
        }
        answer = await self._post(service, "chat/completions", body)
        try:
            message = answer["choices"][0]["message"]
            content, reasoning = message.get("content"), message.get("reasoning_content")
        except (KeyError, IndexError, TypeError, AttributeError):
            raise Upstream("The language model's answer is no chat completion") from None
        if not isinstance(content, str):
            raise Upstream("The language model's answer has no text")
        return Said(content, reasoning if isinstance(reasoning, str) and reasoning else None)

    async def embed(self, service: Service, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings, float32 ``[len(texts), D]``, each of length 1. Raises as :meth:`chat`."""
        size = 1 if service.model in _ONE_BY_ONE else _EMBED_AT_ONCE
        parts = [texts[at : at + size] for at in range(0, len(texts), size)]
        found: list[NDArray[np.float32]] = []
        for part in parts:
            body = {"model": service.model, "input": list(part)}
            found.append(_vectors(await self._post(service, "embeddings", body), len(part)))
            if found[0].shape[1] != found[-1].shape[1]:
                raise Upstream("The embedding service changed the length of its answers")
        return np.concatenate(found) if found else np.empty((0, 0), np.float32)

    async def aclose(self) -> None:
        """Close all connections."""
        if self._own is not None:
            await self._own.aclose()

    # --- one call

    async def _post(self, service: Service, path: str, body: dict[str, Any]) -> Any:
        url = checked_url(service.base_url.rstrip("/") + "/" + path)
        async with self._gates[service.ours].turn(), self._client(service) as client:
            for again in range(service.retries + 1):
                last = again == service.retries
                try:
                    status, wait, content = await self._once(client, service, url, body)
                except httpx.TimeoutException:
                    raise UpstreamTimeout from None
                except httpx.HTTPError as fault:
                    _log.warning("%r: %s", service, type(fault).__name__)
                    if last:
                        raise Upstream("The language model cannot be reached") from None
                    wait, status = None, 0
                if status == 200:
                    return _parsed(content)
                if status:
                    _log.warning("%r answered %d", service, status)
                if last or (status and status not in _AGAIN):
                    raise _fault(status, wait)
                await asyncio.sleep(self._pause(again, wait))
        raise AssertionError  # the last try returns or raises

    async def _once(
        self, client: httpx.AsyncClient, service: Service, url: httpx.URL, body: dict[str, Any]
    ) -> tuple[int, float | None, bytes]:
        """Status, seconds that the service wants to be left alone, content."""
        headers = {"Authorization": f"Bearer {service.api_key}"} if service.api_key else {}
        content = msgspec.json.encode(body)
        headers["Content-Type"] = "application/json"
        try:
            return await asyncio.wait_for(
                self._exchange(client, url, headers, content), timeout=service.timeout_s
            )
        except asyncio.TimeoutError:
            raise httpx.ReadTimeout("too slow") from None

    async def _exchange(
        self, client: httpx.AsyncClient, url: httpx.URL, headers: dict[str, str], content: bytes
    ) -> tuple[int, float | None, bytes]:
        async with client.stream("POST", url, headers=headers, content=content) as response:
            if response.status_code != 200:
                return response.status_code, _seconds(response.headers.get("retry-after")), b""
            parts, size = [], 0
            async for part in response.aiter_bytes():
                size += len(part)
                if size > _MAX_ANSWER:
                    raise Upstream("The language model's answer is too long")
                parts.append(part)
            return 200, None, b"".join(parts)

    def _pause(self, again: int, asked: float | None) -> float:
        pause = self._pause_s * float(2**again) * random.uniform(0.8, 1.2)  # noqa: S311 - no secret
        return min(max(pause, asked or 0.0), _LONGEST_PAUSE_S)

    @asynccontextmanager
    async def _client(self, service: Service) -> AsyncIterator[httpx.AsyncClient]:
        """Kept connections to the operator's services; a guarded client of its own for any other."""
        if self._context is None:  # reading the certificates takes tens of milliseconds
            self._context = await asyncio.get_running_loop().run_in_executor(None, httpx.create_ssl_context)
        timeout = httpx.Timeout(service.timeout_s, connect=min(_CONNECT_S, service.timeout_s))
        if not service.ours:
            guard = GuardedTransport(self._allowed, self._context)
            async with httpx.AsyncClient(transport=guard, timeout=timeout, trust_env=False) as client:
                yield client
            return
        if self._own is None:
            self._own = httpx.AsyncClient(verify=self._context, timeout=timeout)
        yield self._own


def _fault(status: int, wait: float | None) -> Upstream | Overloaded:
    if status == 429:
        retry = max(1, round(min(wait or 1.0, 3600.0)))
        return Overloaded("The language model is at its rate limit; try again later", retry_after_s=retry)
    if status in {401, 403}:
        return Upstream("The language model refused the key")
    return Upstream(f"The language model answered with HTTP status {status}")


def _seconds(header: str | None) -> float | None:
    """``Retry-After`` in seconds; dates are rare and count as absent."""
    return float(header) if header and header.isascii() and header.isdigit() and len(header) < 6 else None


def _parsed(content: bytes) -> Any:
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError):
        raise Upstream("The language model's answer is no JSON") from None


def _vectors(answer: Any, count: int) -> NDArray[np.float32]:
    """The embeddings of an answer in the order of their texts, each of length 1."""
    try:
        rows = sorted(answer["data"], key=lambda row: int(row["index"]))
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused below
            found = np.array([row["embedding"] for row in rows], np.float32)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise Upstream("The embedding service's answer holds no embeddings") from None
    if found.ndim != 2 or len(found) != count or not found.shape[1] or not np.isfinite(found).all():
        raise Upstream("The embedding service's answer does not fit the question")
    lengths = np.linalg.norm(found.astype(np.float64), axis=1, keepdims=True)  # squares of float32 overflow
    return np.asarray(found / np.maximum(lengths, 1e-12), np.float32)
