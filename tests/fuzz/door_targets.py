"""Fuzz targets of the bodies that are not JSON: forms, tensors and messages of gRPC, read for ``/ocr``.

And of the message that comes with a memfd.
"""

import json

from pipelines.core.config import PipelineConfig
from pipelines.core.errors import BadRequest, PipelineError
from pipelines.core.registry import load_pipeline
from server.decode import Endpoint
from server.form_body import Form
from server.grpc_door import Message
from server.memfd_wire import read_head
from server.oip import HEADER_LENGTH, OipDoor

_OCR = Endpoint(load_pipeline("ocr"), PipelineConfig("ocr", "OCR", "v3", {}, {}, {}), (0, 0), "v3")


def form(data):
    """The parts of a form, in pieces: a request, or a refusal."""
    _read(Form("multipart/form-data; boundary=b"), data)


def tensors(data):
    """An inference request; the first byte is the length of its JSON, 0 for all of it."""
    length = {HEADER_LENGTH.lower(): str(data[0])} if data and data[0] else {}
    _read(OipDoor("ocr").upload(_OCR, length, ""), data[1:])


def call(data):
    """A message of gRPC's ModelInfer: a request, or a refusal."""
    try:
        upload = Message(bytes(data))
    except BadRequest as fault:
        assert fault.message
        return
    _read(upload, b"")


def memfd_head(data):
    """The message of a request with a memfd: as a JSON parser reads it, or a refusal."""
    try:
        head = read_head(bytes(data))
    except BadRequest as fault:
        assert fault.message
        return
    # What is not UTF-8 stands in unknown fields, which nobody reads.
    other = json.loads(data.decode("utf-8", "replace"), strict=False)
    headers = {name.lower(): value for name, value in other.get("headers", {}).items()}
    assert (head.path, head.query) == (other["path"], other.get("query", ""))
    assert head.headers == headers
    assert not any(set(value) & {"\r", "\n", "\0"} for value in headers.values())
    pixels = other.get("pixels")
    assert head.pixels == (None if pixels is None else tuple(pixels))
    assert head.pixels is None or min(head.pixels) > 0


def _read(upload, data):
    step = 1 + len(data) % 97
    for start in range(0, len(data), step):
        upload.take(data[start : start + step])
    try:
        upload.end()
        upload.data = b"".join(upload.pieces)
        parsed = _OCR.parse(upload.open(_OCR, 16))
        upload.file(_OCR.operation, parsed.form.source(parsed.request))
    except (BadRequest, PipelineError) as fault:
        assert fault.message
