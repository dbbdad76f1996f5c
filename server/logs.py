"""Logging of every process: one line per record on stderr, with the process's role in front.

The request's logId travels as ``extra={"log_id": ...}``, what else a JSON line has as
``extra={"fields": {...}}``; docs/operations.md names all of it. Levels and the two
formats are options; nothing here is done at import.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from typing import IO, Any, Literal

#: Loggers of libraries that repeat what ours say, or say it per request.
_QUIET = ("sanic.server", "sanic.access", "asyncio", "PIL", "urllib3")

#: Control characters (newlines of hostile input included) that must not start a new log line.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")

#: What JSON allows in text although it ends a line for some readers, or is no character at all.
_ODD = re.compile(r"[\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def _stamp(created: float) -> str:
    """RFC 3339 UTC with milliseconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(created)) + f".{int(created % 1 * 1000):03d}Z"


def _escape(text: str) -> str:
    """One line of ``text``: control characters become Python escapes."""
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


class TextFormatter(logging.Formatter):
    """``2026-01-01T12:00:00.000Z WARNING device-0 [logId] message``, traceback below it."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self.role = role

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback when there is one."""
        log_id = getattr(record, "log_id", None)
        tag = f" [{_escape(str(log_id))}]" if log_id else ""
        head = f"{_stamp(record.created)} {record.levelname:<7} {self.role}{tag} "
        line = head + _escape(record.getMessage())
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object per line: ``time level role logger message [logId] [fields ...] [traceback]``."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self.role = role

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        fields: dict[str, Any] = {
            "time": _stamp(record.created),
            "level": record.levelname.lower(),
            "role": self.role,
            "logger": record.name,
            "message": record.getMessage(),
        }
        log_id = getattr(record, "log_id", None)
        if log_id:
            fields["logId"] = str(log_id)
        fields |= getattr(record, "fields", {})
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        text = json.dumps(fields, ensure_ascii=False)
        return _ODD.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def setup_logging(
    role: str,
    log_format: Literal["text", "json"] = "text",
    level: str = "info",
    stream: IO[str] | None = None,
) -> None:
    """Send everything this process logs to ``stream`` (stderr) in one format.

    Replaces earlier handlers, so that a library that configured logging first
    does not print twice.

    Args:
        role: ``supervisor``, ``worker-0``, ``device-1``, ``render-0``.
        log_format: ``text`` or ``json``.
        level: a level name of :mod:`logging`, any case. Raises ValueError on another.
        stream: where lines go.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(role) if log_format == "json" else TextFormatter(role))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    quiet_level = max(logging.WARNING, root.level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(quiet_level)
    logging.captureWarnings(True)
