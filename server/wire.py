"""The two records inside a slot's data area. The only file that packs or unpacks bytes.

::

    0            META            META+pixels, next multiple of 64
    | request    | pixels or     | result record ...            capacity
    | record     | blob          |

The request record is msgpack ``[pipeline, operation, form, height, width, blob_bytes, params]``; the
result record is ``[kind, payload, timings]``. NumPy arrays inside results travel as
msgpack extension 1: ``[dtype, shape, raw]``. Lengths come from the slot header and are
checked against the capacity before anything is read.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from pipelines.core.base import Item
from pipelines.core.errors import BY_NAME, BadRequest, ServeError
from pipelines.core.forms import Operation

#: Bytes kept for the request record in front of the pixels; parameters are small.
META = 8192
_ALIGN = 64
_ARRAY = 1


class Shape(msgspec.Struct, frozen=True):
    """What lies behind the request record: an image (height, width > 0) or a blob, or nothing."""

    height: int = 0
    width: int = 0
    blob_bytes: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes of pixels (uint8 BGR) or blob."""
        return self.height * self.width * 3 if self.height else self.blob_bytes

    @property
    def extent(self) -> tuple[int, int]:
        """What ``Pipeline.cost_ms`` reckons with: an image's height and width, or 1 and a blob's bytes."""
        return (self.height, self.width) if self.height else (1, self.blob_bytes)

    @property
    def result_offset(self) -> int:
        """Where the result record starts."""
        return -(-(META + self.nbytes) // _ALIGN) * _ALIGN


class Timings(msgspec.Struct):
    """Milliseconds that a device spent on an item, per stage name (``det``, ``rec``, …)."""

    stages: dict[str, float] = {}


class Request(msgspec.Struct, array_like=True):
    """The request record: indexes into the configuration's pipelines, operations and forms."""

    pipeline: int
    operation: int
    form: int
    shape: Shape
    params: msgspec.Raw


def slot_bytes(shape: Shape, result_bytes: int) -> int:
    """Data area needed for ``shape`` and a result of at most ``result_bytes``."""
    return shape.result_offset + result_bytes


def pixels(view: memoryview, shape: Shape) -> np.ndarray:
    """uint8 ``[H, W, 3]`` over the slot, for decoding into and reading in place."""
    flat = np.frombuffer(view, np.uint8, shape.nbytes, META)
    return flat.reshape(shape.height, shape.width, 3)


def write_request(
    view: memoryview, pipeline: int, operation: int, form: int, shape: Shape, params: msgspec.Struct
) -> int:
    """Write the request record; returns its length. Raises BadRequest when parameters do not fit."""
    raw = msgspec.Raw(msgspec.msgpack.encode(params))
    record = msgspec.msgpack.encode(Request(pipeline, operation, form, shape, raw))
    if len(record) > META:
        raise BadRequest(f"The parameters of the request are larger than {META} bytes")
    view[: len(record)] = record
    return len(record)


def read_request(view: memoryview, length: int) -> Request:
    """Read the request record. Raises ValueError on a length or shape that cannot be."""
    if not 0 < length <= META:
        raise ValueError(f"request record of {length} bytes")
    request = msgspec.msgpack.decode(view[:length], type=Request)
    if request.shape.result_offset > len(view):
        raise ValueError(f"shape {request.shape} does not fit the slot of {len(view)} bytes")
    return request


def item(view: memoryview, request: Request, operation: Operation) -> Item:
    """The item of a request record: parameters, and the image or blob in place (read-only)."""
    params = msgspec.msgpack.decode(request.params, type=operation.forms[request.form].params_type)
    if request.shape.height:
        image = pixels(view, request.shape)
        image.flags.writeable = False
        return Item(params=params, image=image)
    blob = view[META : META + request.shape.blob_bytes].toreadonly()
    return Item(params=params, blob=blob if request.shape.blob_bytes else None)


def _pack_array(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        head = (value.dtype.str, value.shape, value.tobytes())
        return msgspec.msgpack.Ext(_ARRAY, msgspec.msgpack.encode(head))
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"cannot pack {type(value).__name__}")


def _unpack_array(code: int, data: memoryview) -> Any:
    if code != _ARRAY:
        raise ValueError(f"unknown extension {code}")
    dtype, shape, raw = msgspec.msgpack.decode(data, type=tuple[str, tuple[int, ...], bytes])
    return np.frombuffer(raw, np.dtype(dtype)).reshape(shape)


_encoder = msgspec.msgpack.Encoder(enc_hook=_pack_array)


def write_result(
    view: memoryview, shape: Shape, result: msgspec.Struct | ServeError, timings: Timings
) -> int:
    """Write the result record behind the pixels; returns its length.

    A result that does not fit becomes a 500 record: never a write past the end.
    Returns a negative length (of the record that was written) in that case, so
    that the caller can count it.
    """
    if isinstance(result, ServeError):
        record = _encoder.encode((type(result).__name__, result.message, timings))
    else:
        record = _encoder.encode(("", result, timings))
    offset, overflow = shape.result_offset, False
    if offset + len(record) > len(view):
        record, overflow = _encoder.encode(("ServeError", ServeError.default, timings)), True
    if offset + len(record) > len(view):
        raise ValueError(f"no room for an error record in a slot of {len(view)} bytes")
    view[offset : offset + len(record)] = record
    return -len(record) if overflow else len(record)


def read_result(
    view: memoryview, shape: Shape, length: int, result_type: type[msgspec.Struct]
) -> tuple[msgspec.Struct | ServeError, Timings]:
    """Read the result record: the result struct, or the fault that the device met."""
    offset = shape.result_offset
    if length <= 0 or offset + length > len(view):
        raise ValueError(f"result record of {length} bytes in a slot of {len(view)}")
    record = view[offset : offset + length]
    kind, payload, timings = msgspec.msgpack.decode(
        record, type=tuple[str, msgspec.Raw, Timings], ext_hook=_unpack_array
    )
    if kind:
        message = msgspec.msgpack.decode(payload, type=str)
        return BY_NAME.get(kind, ServeError)(message), timings
    result = msgspec.msgpack.decode(payload, type=result_type, ext_hook=_unpack_array)
    return result, timings
