"""What a request's trace says: the header it travels in, and its spans out of the ``Server-Timing`` data.

Nothing here knows OpenTelemetry; ``server/otlp.py`` sends what this file makes.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from typing import NamedTuple

#: W3C Trace Context, section 3.2: version, trace, parent, flags; later versions may have more behind them.
_HEADER = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1

Value = str | int | float


class Trace(NamedTuple):
    """A request's place in a trace. ``parent_id`` is 0 where it starts here."""

    trace_id: int
    span_id: int
    parent_id: int = 0
    sampled: bool = True

    @property
    def header(self) -> str:
        """``traceparent`` as the answer carries it."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{int(self.sampled):02x}"


class Span(NamedTuple):
    """One piece of a trace; times in ns since 1970."""

    name: str
    span_id: int
    parent_id: int
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Value]


class Ended(NamedTuple):
    """A request that has its answer.

    Attributes:
        trace: its place.
        route: ``/ocr``.
        start_ns, end_ns: since 1970.
        timings: milliseconds per step, in order, as in ``Server-Timing``.
        attributes: what else is known of it; never anything of the document, and no key.
        failed: it is a fault of the server's.
    """

    trace: Trace
    route: str
    start_ns: int
    end_ns: int
    timings: Mapping[str, float]
    attributes: Mapping[str, Value]
    failed: bool


def take_over(header: str) -> Trace:
    """The trace of a request with this ``traceparent``; a new one where there is none or it is not valid."""
    found = _HEADER.fullmatch(header)
    span_id = _identity(64)
    if found:
        version, trace, parent, flags, rest = found.groups()
        trace_id, parent_id = int(trace, 16), int(parent, 16)
        if version != "ff" and not (version == "00" and rest) and trace_id and parent_id:
            return Trace(trace_id, span_id, parent_id, bool(int(flags, 16) & _SAMPLED))
    return Trace(_identity(128), span_id)


def spans_of(ended: Ended) -> Iterator[Span]:
    """The request's span, and one for each step.

    Steps are known by their durations only. They are laid end to end from the start, ``encode`` at the end:
    true for one page. Those of a document's pages are sums and ran beside each other: their spans may
    reach beyond the request's own.
    """
    trace = ended.trace
    name = f"POST {ended.route}"
    yield Span(name, trace.span_id, trace.parent_id, ended.start_ns, ended.end_ns, ended.attributes)
    at_ns = ended.start_ns
    for step, milliseconds in ended.timings.items():
        took_ns = round(milliseconds * 1e6)
        start_ns = max(at_ns, ended.end_ns - took_ns) if step == "encode" else at_ns
        yield Span(step, _identity(64), trace.span_id, start_ns, start_ns + took_ns, {})
        at_ns = start_ns + took_ns


def _identity(bits: int) -> int:
    """Random, and not the 0 that stands for none."""
    return secrets.randbits(bits) or 1
