"""The routes of the Open Inference Protocol v2; what is on them is in ``server/oip.py``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from sanic import Request, Sanic
from sanic.response import HTTPResponse

from server import oip
from server.api_pages import PACKAGE, own_version
from server.decode import Endpoint
from server.routes import Routes

_MODEL = "/v2/models/<name:str>"
_VERSIONED = f"{_MODEL}/versions/<version:str>"


class OipRoutes:
    """All routes below ``/v2`` of one worker.

    Args:
        routes: those of PaddleX, which do the work.
    """

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._models: Mapping[str, Endpoint] = {oip.model_name(e): e for e in routes.endpoints.values()}

    def install(self, app: Sanic[Any, Any]) -> None:
        """Add everything to ``app``."""
        views: dict[str, Callable[..., Any]] = {
            "/v2": self._server,
            "/v2/health/live": self._live,
            "/v2/health/ready": self._ready,
            _MODEL: self._model,
            f"{_MODEL}/ready": self._model_ready,
            _VERSIONED: self._model,
            f"{_VERSIONED}/ready": self._model_ready,
        }
        for number, (path, view) in enumerate(views.items()):
            app.add_route(view, path, methods=["GET", "HEAD"], name=f"oip{number}")

        async def infer(request: Request, name: str, version: str = oip.VERSION) -> HTTPResponse | None:
            return await self._infer(request, name, version)

        for number, path in enumerate((f"{_MODEL}/infer", f"{_VERSIONED}/infer")):
            app.add_route(infer, path, methods=["POST"], name=f"infer{number}", stream=True)

    async def _infer(self, request: Request, name: str, version: str) -> HTTPResponse | None:
        endpoint = self._models.get(name)
        if endpoint is None or version != oip.VERSION:
            return _unknown()
        return await self._routes.operation(endpoint, request, oip.OipDoor(name))

    async def _server(self, _request: Request) -> HTTPResponse:
        about = {"name": PACKAGE, "version": own_version(), "extensions": ["binary_tensor_data"]}
        return _json(200, about)

    async def _live(self, _request: Request) -> HTTPResponse:
        return _json(200, {"live": True})

    async def _ready(self, _request: Request) -> HTTPResponse:
        ready = not self._routes.unready()
        return _json(200 if ready else 503, {"ready": ready})

    async def _model(self, _request: Request, name: str, version: str = oip.VERSION) -> HTTPResponse:
        endpoint = self._models.get(name)
        if endpoint is None or version != oip.VERSION:
            return _unknown()
        return _json(200, oip.describe(endpoint))

    async def _model_ready(self, _request: Request, name: str, version: str = oip.VERSION) -> HTTPResponse:
        if name not in self._models or version != oip.VERSION:
            return _unknown()
        ready = not self._routes.unready()
        return _json(200 if ready else 503, {"name": name, "ready": ready})


def _unknown() -> HTTPResponse:
    return HTTPResponse(oip.error("There is no such model"), 404, content_type="application/json")


def _json(status: int, about: dict[str, Any]) -> HTTPResponse:
    return HTTPResponse(msgspec.json.encode(about), status, content_type="application/json")
