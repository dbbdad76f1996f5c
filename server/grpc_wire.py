"""The outline of a ModelInferRequest: its one tensor's bytes, and everything else in a few of them.

A parser of protobuf makes an object of every field and a copy of all bytes: two bytes of a message can cost
a hundred, and the file is copied once more. So the file is taken out first, where it lies, and only the rest,
which has no reason to be large, is parsed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pipelines.core.errors import BadRequest

#: Bytes of a request without the contents of its tensor; as everything around the file in the REST form.
MAX_SMALL = 64 << 10

#: Field numbers of ModelInferRequest, InferInputTensor and InferTensorContents.
_INPUTS, _RAW_INPUT_CONTENTS, _CONTENTS, _BYTES_CONTENTS = 5, 7, 5, 8
#: Wire types: https://protobuf.dev/programming-guides/encoding/#structure. Groups (3, 4) are none of ours.
_VARINT, _I64, _LEN, _I32 = 0, 1, 2, 5
_VARINT_BYTES = 10


class Outline(NamedTuple):
    """A request in parts.

    Attributes:
        small: the message without what follows, to be parsed.
        raw: the one element of ``raw_input_contents``, None where there is none.
        content: the one element of the tensor's ``bytes_contents``, None where there is none.
    """

    small: bytes
    raw: memoryview | None
    content: memoryview | None


class _Field(NamedTuple):
    """One field: its number, whether it has a length, where it begins, where its content begins, its end."""

    number: int
    delimited: bool
    start: int
    at: int
    end: int


def outline(message: bytes) -> Outline:
    """Take a request apart. Raises BadRequest when it is no message, or has more than one tensor."""
    view = memoryview(message)
    small = bytearray()
    raw: memoryview | None = None
    content: memoryview | None = None
    tensors = 0
    for field in _fields(view):
        if field.delimited and field.number == _INPUTS:
            tensors += 1
            if tensors > 1:
                raise BadRequest("A request has one input, and no more")
            tensor, content = _tensor(view[field.at : field.end])
            small += delimited(_INPUTS, len(tensor)) + tensor
        elif field.delimited and field.number == _RAW_INPUT_CONTENTS:
            if raw is not None:
                raise BadRequest("`raw_input_contents` has more elements than there are inputs")
            raw = view[field.at : field.end]
        else:
            _keep(small, view[field.start : field.end])
    return Outline(bytes(small), raw, content)


def delimited(number: int, size: int) -> bytes:
    """What stands before the ``size`` bytes of a field with a length."""
    head = bytearray([number << 3 | _LEN])
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head)


def _tensor(view: memoryview) -> tuple[bytearray, memoryview | None]:
    """An input without its contents, and those."""
    small = bytearray()
    contents: memoryview | None = None
    for field in _fields(view):
        if not (field.delimited and field.number == _CONTENTS):
            _keep(small, view[field.start : field.end])
        elif contents is None:
            contents = view[field.at : field.end]
        else:
            raise BadRequest("The input has its contents twice")
    return small, None if contents is None else _element(contents)


def _element(contents: memoryview) -> memoryview | None:
    found: memoryview | None = None
    for field in _fields(contents):
        if not (field.delimited and field.number == _BYTES_CONTENTS):
            raise BadRequest("The contents of the input must be `bytes_contents`")
        if found is not None:
            raise BadRequest("The input must have one element")
        found = contents[field.at : field.end]
    return found


def _keep(small: bytearray, part: memoryview) -> None:
    if len(small) + len(part) > MAX_SMALL:
        raise BadRequest(f"The request without the contents of its tensor is larger than {MAX_SMALL} bytes")
    small += part


def _fields(view: memoryview) -> Iterator[_Field]:
    """The fields of a message, one after another. Raises BadRequest where it is none."""
    start = 0
    while start < len(view):
        tag, at = _varint(view, start)
        kind = tag & 7
        if kind == _LEN:
            size, at = _varint(view, at)
            end = at + size
        elif kind == _VARINT:
            _, end = _varint(view, at)
        elif kind in {_I64, _I32}:
            end = at + (8 if kind == _I64 else 4)
        else:
            raise _no_message()
        if tag < 8 or end > len(view):
            raise _no_message()
        yield _Field(tag >> 3, kind == _LEN, start, at, end)
        start = end


def _varint(view: memoryview, start: int) -> tuple[int, int]:
    """A number of up to 64 bits, and where it ends."""
    value = 0
    for place, byte in enumerate(view[start : start + _VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, start + place + 1
    raise _no_message()


def _no_message() -> BadRequest:
    return BadRequest("The message is no ModelInferRequest")
