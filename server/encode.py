"""Results and faults to bytes: the PaddleX envelope, key order and all.

Status codes are attributes of the fault classes (``pipelines/core/errors.py``); docs/errors.md lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
import pybase64

from pipelines.core.config import Generation
from pipelines.core.errors import NotReady, Overloaded, RateLimited, ServeError, Unauthorized

#: The ``result`` object, or its JSON as :func:`bare` has written it.
Result = Mapping[str, Any] | orjson.Fragment

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY

#: Seconds after which a client may try again when no device can run anything: a restart takes about two.
_NOT_READY_RETRY_S = 2


def success(generation: Generation, log_id: str, result: Result) -> bytes:
    """The body of a 200.

    2024 sends ``logId, errorCode, errorMsg, result``; 3.x sends ``logId, result,
    errorCode, errorMsg`` and leaves out schema fields that are null: those of
    ``result`` itself and of the rows of its lists. Nulls further inside, in free-form
    objects, stay. ``bytes`` anywhere become base64 text.
    """
    envelope: dict[str, Any]
    if generation == "2024":
        envelope = {"logId": log_id, "errorCode": 0, "errorMsg": "Success", "result": result}
    else:
        envelope = {
            "logId": log_id,
            "result": _shown(generation, result),
            "errorCode": 0,
            "errorMsg": "Success",
        }
    return orjson.dumps(envelope, default=_plain, option=_OPTIONS)


def page_line(index: int, result: Mapping[str, Any]) -> bytes:
    """A page's line: ``result`` as it would be if the document had this page only, without ``dataInfo``."""
    line = {"pageIndex": index, "result": _without_nulls(result)}
    return orjson.dumps(line, default=_plain, option=_OPTIONS | orjson.OPT_APPEND_NEWLINE)


def last_line(
    log_id: str, pages: int, data_info: Mapping[str, Any] | None, fault: ServeError | None = None
) -> bytes:
    """The line after ``pages`` pages: the envelope, and what the document is when all of it is there."""
    code, text = (0, "Success") if fault is None else (fault.status, fault.message)
    line: dict[str, Any] = {"logId": log_id, "errorCode": code, "errorMsg": text}
    if data_info is not None:
        line["dataInfo"] = data_info
    return orjson.dumps(line | {"numPages": pages}, option=orjson.OPT_APPEND_NEWLINE)


def bare(generation: Generation, result: Result) -> bytes:
    """The result without an envelope, otherwise as in :func:`success`."""
    return orjson.dumps(_shown(generation, result), default=_plain, option=_OPTIONS)


def message(log_id: str, code: int, text: str) -> bytes:
    """An envelope without a result: faults, and the answers of the health routes (code 0)."""
    return orjson.dumps({"logId": log_id, "errorCode": code, "errorMsg": text})


def fault_headers(fault: ServeError) -> dict[str, str]:
    """Response headers that go with a fault: ``Retry-After`` on refusals, what a 401 asks for."""
    if isinstance(fault, Unauthorized):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(fault, (Overloaded, RateLimited)):
        return {"Retry-After": str(fault.retry_after_s)}
    if isinstance(fault, NotReady):
        return {"Retry-After": str(_NOT_READY_RETRY_S)}
    return {}


def server_timing(milliseconds: Mapping[str, float]) -> str:
    """The ``Server-Timing`` header: ``recv;dur=0.41, decode;dur=3.20``."""
    return ", ".join(f"{name};dur={value:.2f}" for name, value in milliseconds.items())


def _shown(generation: Generation, result: Result) -> Result:
    """The result as its generation shows it."""
    return result if generation == "2024" or isinstance(result, orjson.Fragment) else _without_nulls(result)


def _without_nulls(result: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in result.items() if value is not None}
    for key, value in kept.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            kept[key] = [_row(row) for row in value]
    return kept


def _row(row: Any) -> Any:
    if not isinstance(row, dict):
        return row
    return {key: value for key, value in row.items() if value is not None}


def _plain(value: Any) -> Any:
    """What orjson does not write itself."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return pybase64.b64encode_as_string(value)
    if isinstance(value, np.ndarray):  # not contiguous, or of a dtype that orjson does not know
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"cannot write {type(value).__name__} as JSON")
