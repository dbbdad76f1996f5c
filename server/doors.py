"""How requests come in and how they are answered. PaddleX's way; others are made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipelines.core.config import Generation
from pipelines.core.errors import ServeError
from server import encode
from server.decode import Endpoint
from server.uploads import JSON_TYPES, Upload, open_upload

if TYPE_CHECKING:
    from server.exchange import Exchange


class Door:
    """PaddleX's: JSON, raw files and forms in, its envelope out."""

    def upload(self, endpoint: Endpoint, headers: Mapping[str, str], query: str) -> Upload | None:
        """What takes the body; None where that is JSON. Raises BadRequest."""
        kind = headers.get("content-type", "")
        return None if kind in JSON_TYPES else open_upload(endpoint.operation, kind, query)

    def write(self, generation: Generation, log_id: str, result: encode.Result) -> bytes:
        """The body of a 200. Any thread."""
        return encode.success(generation, log_id, result)

    def success(self, exchange: Exchange, headers: dict[str, str]) -> str:
        """Content type of that body; may add headers."""
        return "application/json"

    def fault(self, exchange: Exchange, fault: ServeError) -> bytes:
        """The body of any other answer, which is JSON."""
        return encode.message(exchange.log_id, fault.status, fault.message)


#: The door of PaddleX's routes; it keeps nothing.
PADDLEX = Door()
