"""HTTP in and out: one handler for every operation, health, metrics, and every fault in the envelope.

The handler reads top to bottom as the life of a request: door, body, parse, items, answer.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol

from sanic import Request, Sanic
from sanic.exceptions import SanicException
from sanic.response import BaseHTTPResponse, HTTPResponse

from pipelines.core.errors import RequestTimeout, ServeError, TooLarge, Unauthorized
from server import cors, encode
from server.admission import Admission, Permit, is_batch, timeout_of
from server.api_pages import ApiPages
from server.bodies import Bodies
from server.config import Config
from server.decode import Endpoint, endpoints
from server.docs_page import docs_headers
from server.doors import PADDLEX, Door
from server.exchange import Exchange, is_header_safe
from server.faults import Faults, envelope, sanic_fault
from server.guard import Guard, Pass
from server.lines import Lines, open_lines
from server.metrics import Table, exposition
from server.playground_page import PageFile, page_files
from server.protocol import answer_and_hang_up, stream_of
from server.readiness import unready
from server.uploads import Upload
from server.work import Ground

_NOT_A_LETTER = re.compile("[^a-z]")

#: Gets the body of a request that has been let in.
Receive = Callable[[Exchange, Permit], Awaitable["bytes | Upload"]]

_log = logging.getLogger(__name__)


class Asked(Protocol):
    """What is asked of a request beside its body: HTTP's, or what plays one."""

    @property
    def ip(self) -> str:
        """Who asks, for the access log."""

    @property
    def headers(self) -> Any:
        """Name, in small letters, to value."""


class Routes:
    """All routes of one worker.

    Args:
        config: the whole configuration.
        ground: shared memory, dispatcher, metrics and limits.
        admission: the door.
        table: where counters are.
        font: gives a font for drawing.
        guard: who may ask; None lets everybody in.

    Attributes:
        draining: finish what is inside, keep no connection.
    """

    def __init__(
        self,
        config: Config,
        ground: Ground,
        admission: Admission,
        table: Table,
        font: Callable[[], str],
        guard: Guard | None = None,
    ) -> None:
        self._config, self._ground, self._admission = config, ground, admission
        self._table, self._font, self._guard = table, font, guard
        self._bodies = Bodies(ground)
        self.endpoints = endpoints(config)
        self._pages = ApiPages(self.endpoints.values(), guard is not None)
        self.draining = False

    def install(self, app: Sanic[Any, Any]) -> None:
        """Add everything to ``app``."""
        from server.oip_routes import OipRoutes  # noqa: PLC0415 - it needs this module

        app.error_handler = Faults()
        app.ctx.count_unsent = partial(self._ground.metrics.add, "worker_unsent")
        for number, endpoint in enumerate(self.endpoints.values()):
            handler = self._handler(endpoint)
            app.add_route(handler, endpoint.path, methods=["POST"], name=f"operation{number}", stream=True)
        for path, view in {
            "/health": self._health,
            "/health/live": self._live,
            "/health/ready": self._ready,
            "/metrics": self._metrics,
            "/openapi.json": self._openapi,
            "/docs": self._docs,
        }.items():
            app.add_route(view, path, methods=["GET", "HEAD"], name=_NOT_A_LETTER.sub("_", path).strip("_"))
        for number, (path, file) in enumerate(page_files().items() if self._config.playground else ()):
            app.add_route(
                partial(self._still, file), path, methods=["GET", "HEAD"], name=f"playground{number}"
            )
        OipRoutes(self).install(app)
        if self._config.access.cors_origins:
            for number, path in enumerate(self.endpoints):
                app.add_route(self._preflight, path, methods=["OPTIONS"], name=f"preflight{number}")
            app.register_middleware(self._for_browsers, "response")

    # --- operations -------------------------------------------------------------------------------

    def _handler(self, endpoint: Endpoint) -> Callable[[Request], Any]:
        async def operation(request: Request) -> HTTPResponse | None:
            return await self.operation(endpoint, request)

        return operation

    async def operation(
        self, endpoint: Endpoint, request: Request, door: Door = PADDLEX
    ) -> HTTPResponse | None:
        """The answer to a request of a route that came in through ``door``; None when it has been sent."""
        exchange = Exchange(endpoint, door)

        def head(headers: dict[str, str], kind: str) -> HTTPResponse:
            stream_of(request).keep_alive &= not self.draining
            return self._response(exchange, request, b"", headers, kind)

        lines = open_lines(request, head, self._ground.limits) if door is PADDLEX else None
        response, fault = await self._exchanged(exchange, request, partial(self._receive, request), lines)
        stream_of(request).keep_alive &= not self.draining
        if response is not None and isinstance(fault, (TooLarge, RequestTimeout, Unauthorized)):
            await answer_and_hang_up(request, response)
        return response

    async def answer(self, endpoint: Endpoint, request: Asked, door: Door, receive: Receive) -> HTTPResponse:
        """The answer to any request of an operation.

        Args:
            endpoint: the route.
            request: what its header says.
            door: the way in.
            receive: gets the body once the request is let in.
        """
        response, _ = await self._exchanged(Exchange(endpoint, door), request, receive, None)
        if response is None:
            raise AssertionError
        return response

    async def _exchanged(
        self, exchange: Exchange, request: Asked, receive: Receive, lines: Lines | None
    ) -> tuple[HTTPResponse | None, ServeError | None]:
        """The answer, None when ``lines`` have sent it, and the fault that it tells, if it does."""
        fault: ServeError | None = None
        exchange.observe(self._ground, request.ip, request.headers.get("traceparent", ""))
        try:
            outcome = await self._outcome(exchange, request, receive, lines)
            if lines is not None and lines.begun:
                fault = await lines.close(exchange.log_id, outcome)
                exchange.status = fault.status if fault else 200
                return None, fault
            if not isinstance(outcome, ServeError):
                return self._success(exchange, request, outcome), None
            fault, exchange.status = outcome, outcome.status
        except asyncio.CancelledError:
            exchange.status = 499
            self._ground.metrics.add("worker_client_gone")
            raise
        except SanicException as theirs:  # the body is not valid HTTP
            exchange.status = theirs.status_code or 400
            return sanic_fault(exchange.log_id, theirs), None
        finally:
            if lines is not None and lines.begun:
                exchange.bytes_out = lines.nbytes
            exchange.finish(self._ground, fault)
        body = exchange.door.fault(exchange, outcome)
        return self._response(exchange, request, body, encode.fault_headers(outcome)), outcome

    async def _outcome(
        self, exchange: Exchange, request: Asked, receive: Receive, lines: Lines | None
    ) -> bytes | ServeError:
        """The answer, or what of it is still to be sent; or why there is none."""
        try:
            with self._let_in(request) as entered, self._admit(exchange.endpoint, request) as permit:
                exchange.owner = entered.name
                # The body is nobody's but the exchange's, which drops it as soon as it is parsed.
                body = receive(exchange, permit)
                return await exchange.run(self._ground, permit, await body, self._font, lines)
        except ServeError as known:
            # Without its traceback: the frames there hold the body, and one of them holds the fault.
            return known.with_traceback(None)
        except SanicException:
            raise
        except Exception:
            _log.exception("a request failed", extra={"log_id": exchange.log_id})
            return ServeError()

    def _let_in(self, request: Asked) -> Pass:
        return self._guard.admit(request.headers) if self._guard else Pass()

    def _admit(self, endpoint: Endpoint, request: Asked) -> Permit:
        asked, operation = timeout_of(request.headers.get("x-request-timeout-ms")), endpoint.operation
        batch = is_batch(request.headers.get("x-priority"))
        errand = operation.input == "none"
        return self._admission.admit(
            asked, operation.patience, errand=errand, batch=batch, operation=endpoint.path
        )

    async def _receive(self, request: Request, exchange: Exchange, permit: Permit) -> bytes | Upload:
        upload = exchange.door.upload(exchange.endpoint, request.headers, request.query_string)
        body = await self._bodies.receive(request, permit, upload)
        exchange.received(len(body))
        return body

    # --- answers ------------------------------------------------------------------------------------

    def _success(self, exchange: Exchange, request: Asked, body: bytes) -> HTTPResponse:
        headers = {"Server-Timing": encode.server_timing(exchange.timings)}
        exchange.bytes_out = len(body)
        if exchange.cached:
            headers["X-Cache"] = exchange.cached
        kind = exchange.door.success(exchange, headers)
        return self._response(exchange, request, body, headers, kind)

    def _response(
        self,
        exchange: Exchange,
        request: Asked,
        body: bytes,
        headers: dict[str, str],
        kind: str = "application/json",
    ) -> HTTPResponse:
        asked = request.headers.get("x-request-id", "")
        if exchange.trace:
            headers["traceparent"] = exchange.trace.header
        headers["X-Request-Id"] = asked if is_header_safe(asked) else exchange.header_id
        return HTTPResponse(body, exchange.status, headers, content_type=kind)

    # --- health ---------------------------------------------------------------------------------------

    def unready(self) -> list[str]:
        """Why requests cannot be answered; empty when they can."""
        return unready(self._ground.segment, self._config)

    async def _health(self, _request: Request) -> HTTPResponse:
        return envelope(200, 0, "Healthy")

    async def _live(self, _request: Request) -> HTTPResponse:
        return envelope(200, 0, "Alive")

    async def _ready(self, _request: Request) -> HTTPResponse:
        reasons = self.unready()
        if reasons:
            return envelope(503, 503, "Not ready: " + "; ".join(reasons))
        return envelope(200, 0, "Ready")

    async def _metrics(self, request: Request) -> HTTPResponse:
        if self._guard:
            self._guard.identify(request.headers)
        segment, slots = self._ground.segment, self._ground.dispatcher.slots
        page = exposition(self._table, segment, slots, self._config)
        return HTTPResponse(page, content_type="text/plain; version=0.0.4; charset=utf-8")

    async def _openapi(self, _request: Request) -> HTTPResponse:
        return HTTPResponse(self._pages.openapi, content_type="application/json")

    async def _docs(self, _request: Request) -> HTTPResponse:
        return HTTPResponse(self._pages.docs, 200, docs_headers(), content_type="text/html; charset=utf-8")

    async def _still(self, file: PageFile, request: Request) -> HTTPResponse:
        body, status, headers = file.answer(request.headers.get("if-none-match", ""))
        return HTTPResponse(body, status, headers, content_type=file.kind)

    # --- browsers

    async def _preflight(self, request: Request) -> HTTPResponse:
        return HTTPResponse(
            None, 204, cors.preflight_headers(self._config.access.cors_origins, request.headers)
        )

    async def _for_browsers(self, request: Request, response: BaseHTTPResponse) -> None:
        response.headers.update(cors.answer_headers(self._config.access.cors_origins, request.headers))
