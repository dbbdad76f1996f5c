"""Faults as status codes of gRPC, and what the metadata at the end of a call says."""

from __future__ import annotations

from urllib.parse import quote

import grpc

from pipelines.core.errors import NotConfigured, PipelineError, ServeError
from server import encode
from server.exchange import Exchange

#: HTTP status of a fault to the code of gRPC; docs/doors.md has this table.
CODES = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    502: grpc.StatusCode.UNAVAILABLE,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
#: Of these HTTP says 500 and 503, but to ask again or to look for a bug is no use.
_NOT_SET_UP = (PipelineError, NotConfigured)
#: Bytes of a message as it travels (percent-encoded): a client takes 8 KiB of metadata.
_MAX_DETAILS = 4096

Metadata = tuple[tuple[str, str], ...]
#: Code, message and metadata of a call that fails.
Refusal = tuple[grpc.StatusCode, str, Metadata]


class NoSuchModel(ServeError):
    """The call names no model of this server, or another version of it."""

    status = 404
    default = "There is no such model"


def fault_of(fault: ServeError, exchange: Exchange | None = None) -> Refusal:
    """Code, message and metadata of a fault."""
    code = CODES.get(fault.status, grpc.StatusCode.INTERNAL)
    if isinstance(fault, _NOT_SET_UP):
        code = grpc.StatusCode.FAILED_PRECONDITION
    metadata: Metadata = (("errorcode", str(fault.status)),)
    if exchange is not None:
        metadata += (("logid", exchange.header_id), *_trace_of(exchange))
    wait = encode.fault_headers(fault).get("Retry-After")
    if wait is not None:  # the second is what gRPC's own retries look for
        metadata += (("retry-after", wait), ("grpc-retry-pushback-ms", str(1000 * int(wait))))
    return code, _cut(fault.message), metadata


def success_metadata(exchange: Exchange) -> Metadata:
    """Metadata after an answer."""
    cached: Metadata = (("x-cache", exchange.cached),) if exchange.cached else ()
    timing = encode.server_timing(exchange.timings)
    return (("logid", exchange.header_id), ("server-timing", timing), *cached, *_trace_of(exchange))


def _trace_of(exchange: Exchange) -> Metadata:
    return (("traceparent", exchange.trace.header),) if exchange.trace else ()


def _cut(text: str) -> str:
    while len(quote(text)) > _MAX_DETAILS:
        text = text[: len(text) // 2]
    return text
