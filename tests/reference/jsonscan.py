"""Slow twin of kernels/jsonscan.pyx."""

import json


def json_string(text: bytes, start: int, stop: int) -> str:
    """Raises ValueError."""
    string: str = json.loads(text[start - 1 : stop + 1].decode("ascii"))
    if not isinstance(string, str) or not string.isascii():
        raise ValueError
    return string


def _is_ascii(text: bytes, start: int, stop: int) -> bool:
    try:
        json_string(text, start, stop)
    except ValueError:
        return False
    return True


def json_outline(text: bytes, max_depth: int, long_text: int) -> tuple[int, list[tuple[int, int]]]:
    depth = most = start = 0
    in_string = escaped = False
    spans = []
    for place, byte in enumerate(text):
        char = chr(byte)
        if in_string:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                in_string = False
                long = depth == 1 and place - start >= long_text
                if long and len(spans) < 16 and _is_ascii(text, start, place):
                    spans.append((start, place))
        elif char == '"':
            in_string, start = True, place + 1
        elif char in "{[":
            depth += 1
            most = max(most, depth)
            if most > max_depth:
                return most, spans
        elif char in "}]":
            depth -= 1
    return most, spans
