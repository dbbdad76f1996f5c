"""Which pages may ask from a browser (WHATWG Fetch, section 3.2). Credentials of browsers play no part."""

from __future__ import annotations

from collections.abc import Collection, Mapping

#: How long a browser may remember the answer to a preflight request.
_MAX_AGE_S = 600
_REQUEST_HEADERS = (
    "Authorization, Content-Type, Traceparent, X-API-Key, X-Priority, X-Request-Id, X-Request-Timeout-Ms"
)
_ANSWER_HEADERS = "Retry-After, Server-Timing, Traceparent, X-Cache, X-Request-Id"


def answer_headers(origins: Collection[str], asked: Mapping[str, str]) -> dict[str, str]:
    """Headers of any answer to a request with the headers ``asked``; ``origins`` may hold ``*``."""
    if "*" in origins:
        return {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": _ANSWER_HEADERS}
    headers = {"Vary": "Origin"}
    if asked.get("origin", "") in origins:
        headers["Access-Control-Allow-Origin"] = asked["origin"]
        headers["Access-Control-Expose-Headers"] = _ANSWER_HEADERS
    return headers


def preflight_headers(origins: Collection[str], asked: Mapping[str, str]) -> dict[str, str]:
    """What the answer to a preflight request has beside :func:`answer_headers`."""
    if "Access-Control-Allow-Origin" not in answer_headers(origins, asked):
        return {}
    return {
        "Access-Control-Allow-Methods": "POST",
        "Access-Control-Allow-Headers": _REQUEST_HEADERS,
        "Access-Control-Max-Age": str(_MAX_AGE_S),
    }
