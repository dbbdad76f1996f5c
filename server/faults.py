"""Answers in the envelope of PaddleX to what reached no operation, or is about none."""

from __future__ import annotations

import asyncio
import logging
import uuid
from http import HTTPStatus

from sanic import Request
from sanic.exceptions import SanicException
from sanic.handlers import ErrorHandler
from sanic.response import HTTPResponse

from pipelines.core.errors import RequestTimeout, ServeError, TooLarge
from server import encode

_log = logging.getLogger(__name__)


class Faults(ErrorHandler):
    """Everything that Sanic itself refuses, in the envelope: none of its own pages ever gets out."""

    def response(self, request: Request, exception: Exception) -> HTTPResponse:
        """The answer to a request that never reached, or broke, a handler."""
        log_id = str(uuid.uuid4())
        if isinstance(exception, SanicException):
            return sanic_fault(log_id, exception)
        if isinstance(exception, ServeError):
            response = envelope(exception.status, exception.status, exception.message, log_id)
            response.headers.update(encode.fault_headers(exception))
            return response
        if not isinstance(exception, asyncio.CancelledError):
            _log.error("%s failed", request.path, exc_info=exception, extra={"log_id": log_id})
        return envelope(500, 500, ServeError.default, log_id)


def sanic_fault(log_id: str, fault: SanicException) -> HTTPResponse:
    """Status by Sanic, text by HTTP: its own messages name paths."""
    status = fault.status_code or 500
    text = {408: RequestTimeout.default, 413: TooLarge.default, 500: ServeError.default}.get(status)
    response = envelope(status, status, text or HTTPStatus(status).phrase, log_id)
    response.headers.update(getattr(fault, "headers", {}) or {})
    return response


def envelope(status: int, code: int, text: str, log_id: str | None = None) -> HTTPResponse:
    """An answer without a result; its ``logId`` is a new one unless it is given."""
    body = encode.message(log_id or str(uuid.uuid4()), code, text)
    return HTTPResponse(body, status, content_type="application/json")
