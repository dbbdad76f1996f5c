"""One line for each request of an operation that has ended, whatever its end was (``--access_log``)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.core.errors import ServeError
    from server.exchange import Exchange

_log = logging.getLogger(__name__)


def write_always() -> None:
    """Have the lines come at any ``--log_level``: who asks for them wants all of them."""
    _log.setLevel(logging.INFO)


def write_line(exchange: Exchange, fault: ServeError | None, seconds: float) -> None:
    """The line of one request: what it cost and who asked, nothing of what was in it."""
    path, status, milliseconds = exchange.endpoint.path, exchange.status, round(1000 * seconds, 1)
    fields: dict[str, Any] = {
        "requestId": f"{exchange.request_id:016x}",
        "method": "POST",
        "path": path,
        "status": status,
        "durationMs": milliseconds,
        "bytesIn": exchange.bytes_in,
        "bytesOut": exchange.bytes_out,
        "pages": exchange.pages,
        "client": exchange.client,
    }
    optional = {
        "key": exchange.owner,
        "cache": exchange.cached,
        "error": "" if fault is None else type(fault).__name__,
        "traceId": f"{exchange.trace.trace_id:032x}" if exchange.trace else "",
    }
    fields |= {name: value for name, value in optional.items() if value}
    more = "".join(f", {name} {value}" for name, value in optional.items() if value)
    _log.info(
        "POST %s %d in %.1f ms, %d B in, %d B out, from %s%s",
        *(
            path,
            status,
            milliseconds,
            exchange.bytes_in,
            exchange.bytes_out,
            exchange.client or "a socket",
            more,
        ),
        extra={"log_id": exchange.log_id, "fields": fields},
    )
