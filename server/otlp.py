"""Sends traces to an OpenTelemetry collector over OTLP/HTTP (``--otlp_endpoint``), from a thread of its own.

The event loop puts one record into a bounded queue. A collector that is slow or gone costs requests nothing:
what does not fit the queue, or cannot be sent, is dropped and counted.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from pipelines.core.errors import ConfigError
from server.traces import Ended, Trace, Value, spans_of, take_over

if TYPE_CHECKING:
    from pipelines.core.errors import ServeError
    from server.exchange import Exchange
    from server.metrics import Metrics

#: Traces that wait for being sent, 1.1 KB each with eight steps (``tracemalloc``).
QUEUE = 2048
#: Traces in one message, and seconds in which they gather.
_BATCH, _GATHER_S = 256, 1.0
#: One attempt to send, the exporter's own retries included.
_EXPORT_S = 5.0
#: What is left is sent at the end of a worker for so long.
_FAREWELL_S = 2.0
_PATH = "/v1/traces"
_SERVICE = "paddle-pipeline-server"
#: Statuses from here on are faults of the server's.
_SERVER_FAULTS = 500

_log = logging.getLogger(__name__)


class Exporter(Protocol):
    """Sends traces."""

    def send(self, batch: Sequence[Ended]) -> bool:
        """Whether the collector has taken all of it."""

    def close(self) -> None:
        """End an attempt that is under way."""


def traces_url(endpoint: str) -> str:
    """Where traces go: ``/v1/traces`` below an endpoint without a path of its own. Raises ConfigError."""
    try:
        parts = urlsplit(endpoint)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ConfigError("--otlp_endpoint is a URL such as http://127.0.0.1:4318")
    return endpoint if parts.path.strip("/") else endpoint.rstrip("/") + _PATH


def check_endpoint(endpoint: str) -> str:
    """The same text. Raises ConfigError when it is no URL, or what sends is not installed."""
    if endpoint:
        traces_url(endpoint)
        try:
            found = importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http.trace_exporter")
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise ConfigError(
                "--otlp_endpoint needs the extra otel: pip install 'paddle-pipeline-server[otel]'"
            )
    return endpoint


class Tracer:
    """The traces of one worker. All but the exporter runs on the event loop.

    Args:
        exporter: owned by a thread from now on.
        metrics: counts what was sent and dropped.
        gather_s: how long the first trace of a message waits for others.
    """

    def __init__(self, exporter: Exporter, metrics: Metrics, gather_s: float = _GATHER_S) -> None:
        self._exporter, self._metrics, self._gather_s = exporter, metrics, gather_s
        self._waiting: queue.Queue[Ended | None] = queue.Queue(QUEUE)
        self._sent = self._lost = self._sent_counted = self._lost_counted = 0
        self._answers, self._closing = True, False
        self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)
        self._thread.start()

    def begin(self, header: str) -> Trace:
        """A request has come with this ``traceparent``, "" for none."""
        return take_over(header)

    def watch(self, exchange: Exchange, fault: ServeError | None, seconds: float) -> None:
        """A request has its answer."""
        trace = exchange.trace
        if trace is None or not trace.sampled:
            return
        now_ns = time.time_ns()
        ended = Ended(
            trace,
            exchange.endpoint.path,
            now_ns - round(seconds * 1e9),
            now_ns,
            dict(exchange.timings),
            _attributes(exchange, fault),
            exchange.status >= _SERVER_FAULTS,
        )
        try:
            self._waiting.put_nowait(ended)
        except queue.Full:
            self._metrics.add("worker_traces_dropped")

    def count(self) -> None:
        """Bring what the thread has done into the metrics, which one thread may write only."""
        sent, lost = self._sent, self._lost
        self._metrics.add("worker_traces_sent", sent - self._sent_counted)
        self._metrics.add("worker_traces_dropped", lost - self._lost_counted)
        self._sent_counted, self._lost_counted = sent, lost

    def close(self) -> None:
        """Send what is left, for a while."""
        self._closing = True
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(None)  # wakes the thread
        self._thread.join(_FAREWELL_S)
        self._exporter.close()
        self.count()

    # --- the thread

    def _run(self) -> None:
        while True:
            batch = list(self._batch())
            if batch:
                self._send(batch)
            elif self._closing:
                return

    def _batch(self) -> Iterator[Ended]:
        """What is there, or comes soon after the first."""
        give_up = None
        for _ in range(_BATCH):
            now = time.monotonic()
            patience = 0.0 if self._closing else None if give_up is None else max(0.0, give_up - now)
            try:
                ended = self._waiting.get(timeout=patience) if patience != 0.0 else self._waiting.get_nowait()
            except queue.Empty:
                return
            if ended is not None:
                yield ended
            give_up = give_up or now + self._gather_s

    def _send(self, batch: Sequence[Ended]) -> None:
        try:
            answered = self._exporter.send(batch)
        except Exception:  # whatever it is, requests go on
            _log.debug("traces were not sent", exc_info=True)
            answered = False
        if answered:
            self._sent += len(batch)
        else:
            self._lost += len(batch)
        if answered != self._answers:
            self._answers = answered
            if answered:
                _log.info("the trace collector answers again")
            else:
                _log.warning("the trace collector does not answer: traces are dropped until it does")


def _attributes(exchange: Exchange, fault: ServeError | None) -> dict[str, Value]:
    found: dict[str, Value] = {
        "http.request.method": "POST",
        "http.route": exchange.endpoint.path,
        "http.response.status_code": exchange.status,
        "http.request.body.size": exchange.bytes_in,
        "pps.request_id": f"{exchange.request_id:016x}",
        "pps.generation": exchange.generation,
        "pps.pages": exchange.pages,
    }
    if exchange.cached:
        found["pps.cache"] = exchange.cached
    if fault is not None:
        found["error.type"] = type(fault).__name__
    return found


class OtlpExporter:
    """OpenTelemetry's own exporter; ``OTEL_EXPORTER_OTLP_…`` variables tell it of headers and certificates.

    Args:
        endpoint: as in the option.
        process: ``worker-0``.
        version: of this package.
    """

    def __init__(self, endpoint: str, process: str, version: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415

        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # it repeats itself at each attempt
        self._exporter = OTLPSpanExporter(endpoint=traces_url(endpoint), timeout=_EXPORT_S)
        name = os.environ.get("OTEL_SERVICE_NAME") or _SERVICE
        about = {"service.name": name, "service.version": version, "service.instance.id": process}
        self._resource = Resource.create(about)

    def send(self, batch: Sequence[Ended]) -> bool:
        """Whether the collector has taken all of it."""
        from opentelemetry.sdk.trace.export import SpanExportResult  # noqa: PLC0415

        spans = [span for ended in batch for span in self._spans(ended)]
        return self._exporter.export(spans) is SpanExportResult.SUCCESS

    def close(self) -> None:
        """End an attempt that is under way."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _spans(self, ended: Ended) -> Iterator[Any]:
        from opentelemetry import trace as api  # noqa: PLC0415
        from opentelemetry.sdk.trace import ReadableSpan  # noqa: PLC0415

        def context(span_id: int) -> api.SpanContext:
            flags = api.TraceFlags(api.TraceFlags.SAMPLED)
            return api.SpanContext(ended.trace.trace_id, span_id, is_remote=False, trace_flags=flags)

        for number, span in enumerate(spans_of(ended)):
            failed = ended.failed and not number
            yield ReadableSpan(
                name=span.name,
                context=context(span.span_id),
                parent=context(span.parent_id) if span.parent_id else None,
                resource=self._resource,
                attributes=dict(span.attributes),
                kind=api.SpanKind.INTERNAL if number else api.SpanKind.SERVER,
                status=api.Status(api.StatusCode.ERROR if failed else api.StatusCode.UNSET),
                start_time=span.start_ns,
                end_time=span.end_ns,
            )
