"""What the clients of ``server/client.py`` send, when they send it again, and what they make of an answer."""

from __future__ import annotations

import base64
import json
import mimetypes
import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, TypedDict

import httpx

from server.memfd_client import PIXELS, is_memfd

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

File: TypeAlias = "bytes | str | os.PathLike[str] | npt.NDArray[np.uint8]"

#: First wait before something is sent again, doubled each time: up to so much, at random.
_BACKOFF_S = 0.1
_MAX_BACKOFF_S = 5.0
_REFUSED = frozenset({429, 503})
_JSON, _LINES = "application/json", "application/x-ndjson"
#: ``Accept`` of who wants pages one by one, and takes an answer in one from a server that has no lines.
ACCEPT_LINES = f"{_LINES}, {_JSON};q=0.5"


class ServerFault(Exception):
    """The server answered with a fault.

    Attributes:
        status: HTTP status.
        message: the server's words.
        log_id: what the server's log has it under; "" where it gave none.
    """

    def __init__(self, status: int, message: str, log_id: str = "") -> None:
        super().__init__(f"{status}: {message}")
        self.status, self.message, self.log_id = status, message, log_id


class DeadlineExceeded(TimeoutError):
    """No answer in time."""


@dataclass(frozen=True)
class DocumentPage:
    """One page: its place in the document, and ``result`` as it would be if there were no other."""

    index: int
    result: Any


class Message(NamedTuple):
    """One request, as it is sent each time; ``pixels`` are shared in place of ``content``."""

    path: str
    content: bytes
    media: str
    query: dict[str, str]
    pixels: memoryview | None = None


class Settings(TypedDict):
    """Arguments of httpx."""

    base_url: str
    headers: dict[str, str]
    verify: Any


class Policy(NamedTuple):
    """How long and how often.

    Attributes:
        deadline_s: for an answer, all attempts and waits together; the server is told what is left.
        retries: attempts after the first.
        clock, random: for tests.
    """

    deadline_s: float = 60.0
    retries: int = 4
    clock: Callable[[], float] = time.monotonic
    random: Callable[[], float] = random.random


POLICY = Policy()


class Call:
    """One request's attempts, without the network.

    Args:
        policy: how long and how often.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy, self._attempts = policy, 0
        self._end = policy.clock() + policy.deadline_s

    def left_s(self) -> float:
        """Time for the next attempt. Raises DeadlineExceeded."""
        left = self._end - self._policy.clock()
        if left <= 0:
            raise DeadlineExceeded(f"no answer within {self._policy.deadline_s:g} s")
        return left

    def wait_s(self, outcome: httpx.Response | httpx.TransportError) -> float | None:
        """How long to wait before the next attempt; None when this outcome is the last."""
        asked = 0.0
        if isinstance(outcome, httpx.Response):
            text = outcome.headers.get("retry-after", "")
            if outcome.status_code not in _REFUSED or not (text.isascii() and text.isdigit()):
                return None
            asked = float(text)
        if self._attempts >= self._policy.retries:
            return None
        backoff = min(_MAX_BACKOFF_S, _BACKOFF_S * 2**self._attempts) * self._policy.random()
        self._attempts += 1
        return asked + backoff if asked + backoff < self._end - self._policy.clock() else None


def result_of(outcome: httpx.Response | httpx.TransportError) -> Any:
    """``result`` of an answer. Raises ServerFault, or the error of the connection."""
    if isinstance(outcome, httpx.TransportError):
        raise outcome
    try:
        answer = outcome.json()
        if outcome.status_code == 200 and answer["errorCode"] == 0:
            return answer["result"]
        fault = ServerFault(outcome.status_code, str(answer["errorMsg"]), str(answer.get("logId", "")))
    except (ValueError, KeyError, TypeError, AttributeError):
        fault = ServerFault(outcome.status_code, "this is no answer of a pipeline server")
    raise fault


def file_message(
    path: str, file: File, form: Literal["raw", "paddlex"], field: str, media: str, fields: Mapping[str, Any]
) -> Message:
    """A request with a file; reads it. Raises OSError, and TypeError for what is none."""
    if not isinstance(file, bytes | str | os.PathLike):
        return _pixel_message(path, file, form, fields)
    data = file if isinstance(file, bytes) else Path(file).read_bytes()
    media = media or _media_of(data, "" if isinstance(file, bytes) else os.fspath(file))
    if form == "raw":
        return Message(path, data, media, _query(fields))
    body: dict[str, Any] = {field: base64.b64encode(data).decode()}
    if media != "text/csv":
        body["fileType"] = 0 if media == "application/pdf" else 1
    return json_message(path, body | dict(fields))


def json_message(path: str, fields: Mapping[str, Any]) -> Message:
    """A request of PaddleX."""
    return Message(path, json.dumps(fields).encode(), _JSON, {})


def _pixel_message(
    path: str, pixels: npt.NDArray[np.uint8], form: Literal["raw", "paddlex"], fields: Mapping[str, Any]
) -> Message:
    """A request with pixels as they are. Raises TypeError."""
    view = memoryview(pixels)  # type: ignore[arg-type]  # numpy's annotations before Python 3.12
    height, width, channels = (view.shape if view.ndim == 3 else None) or (0, 0, 0)
    if form != "raw" or view.format != "B" or channels != 3 or not height or not width:
        raise TypeError("pixels are uint8 BGR of shape [height, width, 3], in the form raw")
    if not view.c_contiguous:
        view = memoryview(pixels.copy())
    return Message(path, b"", "image/*", _query(fields), view)


def _query(fields: Mapping[str, Any]) -> dict[str, str]:
    return {name: _as_text(value) for name, value in fields.items()}


def _media_of(data: bytes, name: str) -> str:
    """By its name; bytes that do not begin as a PDF are an image."""
    known = mimetypes.guess_type(name)[0] or ""
    if known.startswith(("image/", "application/pdf", "text/csv")):
        return known
    return "application/pdf" if b"%PDF" in data[:1024] else "image/*"


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def settings(url: str, api_key: str, verify: Any) -> Settings:
    """Of a client of httpx."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    base = "http://localhost" if is_memfd(url) else url
    return {"base_url": base, "headers": headers, "verify": verify}


def page_of(line: str) -> DocumentPage | None:
    """A page from its line; None from the last one. Raises ServerFault when that has a fault, or is none."""
    try:
        answer = json.loads(line)
        if "pageIndex" in answer:
            return DocumentPage(int(answer["pageIndex"]), answer["result"])
        if answer["errorCode"] == 0 and "numPages" in answer:
            return None
        fault = ServerFault(int(answer["errorCode"]), str(answer["errorMsg"]), str(answer.get("logId", "")))
    except (ValueError, KeyError, TypeError):
        fault = ServerFault(200, "this is no line of a pipeline server")
    raise fault


def is_in_lines(answer: httpx.Response) -> bool:
    """Whether pages come one by one."""
    return answer.status_code == 200 and answer.headers.get("content-type", "").startswith(_LINES)


def without_pages(outcome: httpx.Response | httpx.TransportError) -> ServerFault:
    """What is wrong with an answer that is not in lines. Raises as :func:`result_of`."""
    result_of(outcome)
    return ServerFault(200, "this route does not answer page by page")


def sending(message: Message, call: Call, shares: bool, accept: str = "*/*") -> dict[str, Any]:
    """One attempt, as httpx takes it. Raises DeadlineExceeded; TypeError for pixels that nobody shares."""
    left = call.left_s()
    headers = {
        "Content-Type": message.media,
        "Accept": accept,
        "X-Request-Timeout-Ms": str(max(1, round(1000 * left))),
    }
    sent = {"content": message.content, "params": message.query, "headers": headers, "timeout": left}
    if message.pixels is None:
        return sent
    if not shares:
        raise TypeError("pixels as they are need a server at memfd://; for others they are encoded first")
    return sent | {"extensions": {PIXELS: message.pixels}}
