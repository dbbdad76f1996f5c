"""Slow twin of kernels/jsonscan.pyx."""


def json_depth(text: bytes, stop: int) -> int:
    depth = most = 0
    in_string = escaped = False
    for byte in text:
        char = chr(byte)
        if in_string:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                in_string = False
        elif char == '"':
            in_string = True
        elif char in "{[":
            depth += 1
            most = max(most, depth)
            if most > stop:
                return most
        elif char in "}]":
            depth -= 1
    return most
