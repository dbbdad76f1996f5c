"""The file of a request: what it is, and its bytes. No image is decoded here."""

from __future__ import annotations

import binascii
from typing import Literal
from urllib.parse import urlsplit

import msgspec
import pybase64

from pipelines.core.errors import BadRequest
from pipelines.core.forms import Operation, Source
from server.headers import INVALID
from server.mapped import FileData

#: What the file of a request is.
FileKind = Literal["image", "pdf", "blob"]

#: pdfium looks for the header in this many bytes.
PDF_HEADER_WITHIN = 1024

#: Python's own decoder lets nothing else run meanwhile, 5 ns a character.
_MAX_ODD_CHARACTERS = 1 << 20


def file_kind(operation: Operation, source: Source) -> FileKind:
    """How the file is to be read (API reference, 3.3). Raises BadRequest when the request does not say."""
    if operation.input == "csv":
        return "blob"
    if operation.input == "document" and source.file_type is None:
        if not is_url(source.data):
            raise BadRequest("File type cannot be determined")
        return _kind_by_name(source.data)
    return "pdf" if operation.input == "document" and source.file_type == 0 else "image"


def file_bytes(source: Source, kind: FileKind) -> bytes:
    """The file of a request. Raises BadRequest on a URL and on anything that is not base64 of a file.

    Characters outside the base64 alphabet are skipped, only wrong padding is an
    error: Python's non-validating decoder, as in PaddleX.
    """
    if is_url(source.data):
        raise BadRequest(
            f"URL inputs are not allowed on this server; send the content of `{source.field}` as base64"
        )
    try:
        data = _unbase64(source.data)
    except ValueError:
        raise BadRequest(f"{INVALID}: `{source.field}` is not valid base64") from None
    check_file(data, kind, source.field)
    return data


def check_file(data: FileData, kind: FileKind, field: str) -> None:
    """Raise BadRequest for an empty file, and for one that is no PDF although it should be."""
    if not data:
        raise BadRequest(f"{INVALID}: `{field}` is empty")
    if kind == "pdf" and b"%PDF" not in data[:PDF_HEADER_WITHIN]:
        raise BadRequest(f"{INVALID}: not a PDF; `fileType` 1 is an image")


def _kind_by_name(url: str) -> FileKind:
    """As PaddleX: by the end of the path. What is neither is taken for an image and refused as such."""
    try:
        return "pdf" if urlsplit(url).path.lower().endswith(".pdf") else "image"
    except ValueError:
        return "image"


def _unbase64(text: str) -> bytes:
    """What Python's non-validating decoder gives, without keeping other threads from running for long.

    Raises ValueError.
    """
    try:
        return pybase64.b64decode(text, validate=True)
    except ValueError:
        if "=" not in text.rstrip("= \r\n\t"):
            return pybase64.b64decode(text)
    # The two decoders differ in what they make of padding in the middle. Nobody sends that.
    if len(text) > _MAX_ODD_CHARACTERS:
        raise ValueError("padding in the middle")
    return binascii.a2b_base64(text)


def forget_file(request: msgspec.Struct, source: Source) -> None:
    """Drop the base64 text from a request whose file has been decoded; it would live until the answer."""
    for name in request.__struct_fields__:
        if getattr(request, name) is source.data:
            msgspec.structs.force_setattr(request, name, "")


def is_url(text: str) -> bool:
    """Whether the file is named, not sent: PaddleX's own test."""
    if not text.startswith(("http://", "https://")):
        return False
    try:
        return bool(urlsplit(text).netloc)
    except ValueError:  # a bracket that no address has
        return True
