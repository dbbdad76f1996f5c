"""HTTP in and out: one handler for every operation, health, metrics, and every fault in the envelope.

The handler reads top to bottom as the life of a request: door, body, parse, items, answer.
"""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any

from sanic import Request, Sanic
from sanic.exceptions import SanicException
from sanic.handlers import ErrorHandler
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
from server.guard import Guard, Pass
from server.lines import Lines, open_lines
from server.metrics import Table, exposition
from server.playground_page import PageFile, page_files
from server.protocol import answer_and_hang_up, stream_of
from server.readiness import unready
from server.uploads import Upload
from server.work import Ground

_NOT_A_LETTER = re.compile("[^a-z]")

_log = logging.getLogger(__name__)


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
        exchange, fault = Exchange(endpoint, door), None
        exchange.observe(self._ground, request.ip, request.headers.get("traceparent", ""))
        head = partial(self._response, exchange, request, b"")
        lines = open_lines(request, head, self._ground.limits) if door is PADDLEX else None
        try:
            outcome = await self._outcome(exchange, request, lines)
            if lines is not None and lines.begun:
                fault = await lines.close(exchange.log_id, outcome)
                exchange.status = fault.status if fault else 200
                return None
            if not isinstance(outcome, ServeError):
                return self._success(exchange, request, outcome)
            fault, exchange.status = outcome, outcome.status
        except asyncio.CancelledError:
            exchange.status = 499
            self._ground.metrics.add("worker_client_gone")
            raise
        except SanicException as theirs:  # the body is not valid HTTP
            exchange.status = theirs.status_code or 400
            return _sanic_fault(exchange.log_id, theirs)
        finally:
            if lines is not None and lines.begun:
                exchange.bytes_out = lines.nbytes
            exchange.finish(self._ground, fault)
        return await self._refuse(exchange, request, outcome)

    async def _outcome(self, exchange: Exchange, request: Request, lines: Lines | None) -> bytes | ServeError:
        """The answer, or what of it is still to be sent; or why there is none."""
        try:
            with self._let_in(request) as entered, self._admit(exchange.endpoint, request) as permit:
                exchange.owner = entered.name
                # The body is nobody's but the exchange's, which drops it as soon as it is parsed.
                body = self._receive(exchange, request, permit)
                return await exchange.run(self._ground, permit, await body, self._font, lines)
        except ServeError as known:
            # Without its traceback: the frames there hold the body, and one of them holds the fault.
            return known.with_traceback(None)
        except SanicException:
            raise
        except Exception:
            _log.exception("a request failed", extra={"log_id": exchange.log_id})
            return ServeError()

    def _let_in(self, request: Request) -> Pass:
        return self._guard.admit(request.headers) if self._guard else Pass()

    def _admit(self, endpoint: Endpoint, request: Request) -> Permit:
        asked, operation = timeout_of(request.headers.get("x-request-timeout-ms")), endpoint.operation
        batch = is_batch(request.headers.get("x-priority"))
        errand = operation.input == "none"
        return self._admission.admit(
            asked, operation.patience, errand=errand, batch=batch, operation=endpoint.path
        )

    async def _receive(self, exchange: Exchange, request: Request, permit: Permit) -> bytes | Upload:
        upload = exchange.door.upload(exchange.endpoint, request.headers, request.query_string)
        body = await self._bodies.receive(request, permit, upload)
        exchange.received(len(body))
        return body

    # --- answers ------------------------------------------------------------------------------------

    def _success(self, exchange: Exchange, request: Request, body: bytes) -> HTTPResponse:
        headers = {"Server-Timing": encode.server_timing(exchange.timings)}
        exchange.bytes_out = len(body)
        if exchange.cached:
            headers["X-Cache"] = exchange.cached
        kind = exchange.door.success(exchange, headers)
        return self._response(exchange, request, body, headers, kind)

    def _response(
        self,
        exchange: Exchange,
        request: Request,
        body: bytes,
        headers: dict[str, str],
        kind: str = "application/json",
    ) -> HTTPResponse:
        asked = request.headers.get("x-request-id", "")
        if exchange.trace:
            headers["traceparent"] = exchange.trace.header
        headers["X-Request-Id"] = asked if is_header_safe(asked) else exchange.header_id
        if self.draining:
            stream_of(request).keep_alive = False
        return HTTPResponse(body, exchange.status, headers, content_type=kind)

    async def _refuse(self, exchange: Exchange, request: Request, fault: ServeError) -> HTTPResponse:
        body = exchange.door.fault(exchange, fault)
        response = self._response(exchange, request, body, encode.fault_headers(fault))
        if isinstance(fault, (TooLarge, RequestTimeout, Unauthorized)):
            await answer_and_hang_up(request, response)
        return response

    # --- health ---------------------------------------------------------------------------------------

    def unready(self) -> list[str]:
        """Why requests cannot be answered; empty when they can."""
        return unready(self._ground.segment, self._config)

    async def _health(self, _request: Request) -> HTTPResponse:
        return _envelope(200, 0, "Healthy")

    async def _live(self, _request: Request) -> HTTPResponse:
        return _envelope(200, 0, "Alive")

    async def _ready(self, _request: Request) -> HTTPResponse:
        reasons = self.unready()
        if reasons:
            return _envelope(503, 503, "Not ready: " + "; ".join(reasons))
        return _envelope(200, 0, "Ready")

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


class Faults(ErrorHandler):
    """Everything that Sanic itself refuses, in the envelope: none of its own pages ever gets out."""

    def response(self, request: Request, exception: Exception) -> HTTPResponse:
        """The answer to a request that never reached, or broke, a handler."""
        log_id = str(uuid.uuid4())
        if isinstance(exception, SanicException):
            return _sanic_fault(log_id, exception)
        if isinstance(exception, ServeError):
            response = _envelope(exception.status, exception.status, exception.message, log_id)
            response.headers.update(encode.fault_headers(exception))
            return response
        if not isinstance(exception, asyncio.CancelledError):
            _log.error("%s failed", request.path, exc_info=exception, extra={"log_id": log_id})
        return _envelope(500, 500, ServeError.default, log_id)


def _sanic_fault(log_id: str, fault: SanicException) -> HTTPResponse:
    """Status by Sanic, text by HTTP: its own messages name paths."""
    status = fault.status_code or 500
    text = {408: RequestTimeout.default, 413: TooLarge.default, 500: ServeError.default}.get(status)
    response = _envelope(status, status, text or HTTPStatus(status).phrase, log_id)
    response.headers.update(getattr(fault, "headers", {}) or {})
    return response


def _envelope(status: int, code: int, text: str, log_id: str | None = None) -> HTTPResponse:
    body = encode.message(log_id or str(uuid.uuid4()), code, text)
    return HTTPResponse(body, status, content_type="application/json")
