"""What a language model wrote, to a value per key: tolerant of everything around and inside the JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

#: Answers that mean "not there": PaddleX's list, and what models write instead in English and Chinese.
NOTHING = frozenset(
    {
        "", "none", "null", "n/a", "unknown", "not found", "not available", "not mentioned",
        "未知", "无", "没有", "未找到", "未提及", "未找到关键信息", "大模型调用失败",
    }
)  # fmt: skip
#: Characters of an answer that are looked at; an object with all keys of a request is far shorter.
_LOOK_AT = 200_000
#: The same for answers that are no JSON.
_LOOK_AT_BROKEN = 20_000
#: ``"name": value`` with bounded lengths, so that no text makes the search slow.
_ENTRY = re.compile(
    r'"((?:[^"\\\n]|\\.){0,100})"\s{0,9}[:：]\s{0,9}'
    r'("(?:[^"\\]|\\.){0,1000}"|-?[\d.]{1,40}|\[[^\[\]{}]{0,1000}\])'
)
_COLON = re.compile("[:：]")
_AROUND = " \t\r-*•,\"'“”"
_decode = msgspec.json.decode


def values(answer: str, keys: Sequence[str]) -> dict[str, str]:
    """Values of those ``keys`` that an answer has one for.

    Looks for a JSON object anywhere in the text; if none can be read, for single entries of one; at last
    for lines ``key: value``. Keys may differ in case, spaces and punctuation at their ends.
    """
    answer = answer[:_LOOK_AT]
    wanted = {_folded(key): key for key in keys}
    found: dict[str, str] = {}
    for name, value in _entries(answer, wanted):
        key = wanted.get(_folded(name))
        text = _text(value)
        if key is not None and key not in found and text.strip().casefold().rstrip("。.") not in NOTHING:
            found[key] = text.strip()
    return found


def _entries(answer: str, wanted: Mapping[str, str]) -> list[tuple[str, Any]]:
    last: list[tuple[str, Any]] = []
    for read in (_objects, _loose, _lines):
        last = [(name, value) for name, value in read(answer) if _folded(name) in wanted]
        if last:
            return last
    return last


def _objects(answer: str) -> list[tuple[str, Any]]:
    """Entries of every outermost ``{…}`` that is JSON, the last first: models think aloud before."""
    found: list[tuple[str, Any]] = []
    for text in reversed(_braced(answer)):
        try:
            loaded = _decode(text)
        except (msgspec.DecodeError, RecursionError):
            continue
        if isinstance(loaded, dict):
            found += _flat(loaded)
    return found


def _flat(loaded: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Entries, and behind them those of objects inside: ``{"result": {…}}``."""
    found = [(name, value) for name, value in loaded.items() if not isinstance(value, dict)]
    for value in loaded.values():
        if isinstance(value, dict):
            found += [(name, inner) for name, inner in value.items() if not isinstance(inner, dict)]
    return found


def _braced(answer: str) -> list[str]:
    """Every ``{…}`` that is not in another one, minding strings. One pass."""
    found, depth, start, quoted, at = [], 0, 0, False, 0
    while at < len(answer):
        mark = answer[at]
        if quoted:
            at += mark == "\\"
            quoted = mark != '"'
        elif mark == '"' and depth:
            quoted = True
        elif mark == "{":
            start = start if depth else at
            depth += 1
        elif mark == "}" and depth:
            depth -= 1
            if not depth:
                found.append(answer[start : at + 1])
        at += 1
    return found


def _loose(answer: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in _ENTRY.findall(answer[:_LOOK_AT_BROKEN]):
        try:
            found.append((_decode(f'"{name}"'), _decode(value)))
        except msgspec.DecodeError:
            found.append((name, value.strip('"[] ')))
    return found


def _lines(answer: str) -> list[tuple[str, Any]]:
    split = (_COLON.split(line, maxsplit=1) for line in answer[:_LOOK_AT_BROKEN].split("\n"))
    return [(parts[0], parts[1].strip(_AROUND)) for parts in split if len(parts) == 2]


def _text(value: Any) -> str:
    """A value as text; of a list its first element (PaddleX)."""
    if isinstance(value, list):
        value = value[0] if value else ""
    if value is None or isinstance(value, (dict, list)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _folded(name: str) -> str:
    return "".join(name.casefold().split()).strip(":：*-•\"'“”.。")
