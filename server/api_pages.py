"""``/openapi.json`` and ``/docs``, made when somebody first asks for them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from server.decode import Endpoint
from server.docs_page import docs_page
from server.openapi import api_document

PACKAGE = "paddle-pipeline-server"


class ApiPages:
    """Both pages of one worker.

    Args:
        endpoints: every route that is served.
        needs_key: whether operations ask for an API key.
    """

    def __init__(self, endpoints: Iterable[Endpoint], needs_key: bool) -> None:
        self._endpoints, self._needs_key = list(endpoints), needs_key

    @cached_property
    def _document(self) -> dict[str, Any]:
        return api_document(self._endpoints, own_version(), self._needs_key)

    @cached_property
    def openapi(self) -> bytes:
        """The document as JSON."""
        return msgspec.json.encode(self._document)

    @cached_property
    def docs(self) -> bytes:
        """The page as HTML."""
        return docs_page(self._document)


def own_version() -> str:
    """Version of this package; 0 where it runs without being installed."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return "0"
