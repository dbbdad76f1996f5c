"""Slow twin of kernels/jsonscan.pyx."""


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
                content = text[start:place]
                plain = all(32 <= c < 128 and c != ord("\\") for c in content)
                if depth == 1 and len(content) >= long_text and plain and len(spans) < 16:
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
