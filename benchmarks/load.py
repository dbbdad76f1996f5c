"""The load generator of ``python -m server bench``, with what OCR's benchmarks send and read."""

from __future__ import annotations

import base64

import orjson

from server.bench.load import (
    TIMEOUT_S,
    Answer,
    Client,
    Run,
    closed_loop,
    open_loop,
    request_bytes,
    sequence,
)

__all__ = [
    "TIMEOUT_S",
    "Answer",
    "Client",
    "Run",
    "closed_loop",
    "ocr_body",
    "open_loop",
    "request_bytes",
    "sequence",
    "texts",
]


def ocr_body(image: bytes, **fields: object) -> bytes:
    """The body of a 3.x ``/ocr`` request without pictures."""
    document = {"file": base64.b64encode(image).decode(), "fileType": 1, "visualize": False, **fields}
    return orjson.dumps(document)


def texts(body: bytes) -> list[str]:
    """All recognised lines of a 3.x ``/ocr`` answer, page after page."""
    pages = orjson.loads(body)["result"]["ocrResults"]
    return [text for page in pages for text in page["prunedResult"]["rec_texts"]]
