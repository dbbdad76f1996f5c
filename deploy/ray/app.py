"""The pipelines of this package as a Ray Serve application.

    serve run deploy.ray.app:app pipeline=OCR devices=2
    serve deploy deploy/ray/serve.yaml

Two deployments: ``Ingress`` speaks HTTP and decodes, ``Device`` runs the models. Where replicas run, how many
there are and what replaces a dead one is Ray's. Routes, bounds and answers are the server's own: what a
request goes through from body to answer is ``server/exchange.py``.
"""

import asyncio
import logging
import uuid
from collections.abc import Sequence
from time import monotonic_ns
from typing import Any

from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from deploy.ray.calls import Calls, Counts, NoQuarantine
from deploy.ray.device import MAX_BATCH, Device
from deploy.ray.settings import config_of
from pipelines.core.errors import ServeError
from server import encode
from server.admission import Admission, is_batch, timeout_of
from server.bodies import Bodies
from server.config import DeviceConfig
from server.decode import Endpoint, endpoints
from server.exchange import Exchange
from server.font import Font
from server.options import parse
from server.pictures import pictures_by_pipeline
from server.work import Ground

#: Words of ``app`` that are about the deployment, with their defaults; others are options of the server.
_OWN = {"devices": 1, "ingresses": 1, "cpus": 2, "gpus": 0, "ingress_cpus": 0}
#: Options that are Ray's business, or that nothing here would keep: refused rather than ignored.
_NOT_HERE = frozenset({
    "host", "port", "grpc_port", "workers", "device", "unix_socket", "tls_cert", "tls_key",
    "cors_origins", "api_keys", "allow_url_hosts",
})  # fmt: skip
#: Requests that wait for each device before further ones are refused.
_QUEUED = 64
_INLINE_PIXELS = 640 * 480

_HEALTH = frozenset({"/health", "/health/live", "/health/ready"})

_log = logging.getLogger(__name__)


class _Stream:
    """A body as ``server/bodies.py`` reads it."""

    transport = None

    def __init__(self, request: Request) -> None:
        self.headers, self.stream = request.headers, self
        self._chunks = request.stream()

    async def read(self) -> bytes | None:
        async for chunk in self._chunks:
            if chunk:
                return chunk
        return None


@serve.deployment
class Ingress:
    """HTTP in and out.

    Args:
        argv: the server's command line.
        devices: handle of the devices.
        count: how many of them are wanted.
    """

    def __init__(self, argv: Sequence[str], devices: Any, count: int) -> None:
        config = config_of(argv)
        renders, paced = asyncio.Semaphore(2), asyncio.Semaphore(1)
        self._ground: Any = Ground(
            NoQuarantine(),
            Calls(devices),
            Counts(),
            config.limits,
            renders,
            paced,
            _INLINE_PIXELS,
            pictures=pictures_by_pipeline(config),
        )
        self._admission = Admission(config.limits, lambda batch: 0.0, count, monotonic_ns)
        self._bodies, self._font = Bodies(self._ground), Font(config.cache_dir)
        self._endpoints = endpoints(config)

    async def __call__(self, request: Request) -> Response:
        """Any request."""
        path = request.url.path
        if path in _HEALTH:  # a replica that answers is ready: Ray routes to no other
            return (
                _message(200, 0, "Healthy")
                if request.method in {"GET", "HEAD"}
                else _not_allowed("GET, HEAD")
            )
        endpoint = self._endpoints.get(path)
        if endpoint is None:
            return _message(404, 404, "Not Found")
        if request.method != "POST":
            return _not_allowed("POST")
        return await self._operation(endpoint, request)

    async def _operation(self, endpoint: Endpoint, request: Request) -> Response:
        exchange, fault = Exchange(endpoint), None
        try:
            content = await self._answer(exchange, request)
        except ServeError as known:
            fault = known
        except Exception:
            _log.exception("a request failed (%s)", exchange.log_id)
            fault = ServeError()
        if fault is not None:
            exchange.status = fault.status
            content = exchange.door.fault(exchange, fault)
            headers = encode.fault_headers(fault)
        else:
            headers = {"Server-Timing": encode.server_timing(exchange.timings)}
        exchange.finish(self._ground, fault)
        return Response(content, exchange.status, headers, media_type="application/json")

    async def _answer(self, exchange: Exchange, request: Request) -> bytes:
        """From the door to the result, as in ``server/routes.py``. Raises ServeError."""
        asked = timeout_of(request.headers.get("x-request-timeout-ms"))
        batch = is_batch(request.headers.get("x-priority"))
        operation = exchange.endpoint.operation
        errand = operation.input == "none"
        with self._admission.admit(asked, operation.patience, errand=errand, batch=batch) as permit:
            upload = exchange.door.upload(exchange.endpoint, request.headers, request.url.query)
            body = await self._bodies.receive(_Stream(request), permit, upload)
            exchange.received(len(body))
            return await exchange.run(self._ground, permit, body, self._font)


def _message(status: int, code: int, text: str) -> Response:
    body = encode.message(str(uuid.uuid4()), code, text)
    return Response(body, status, media_type="application/json")


def _not_allowed(methods: str) -> Response:
    answer = _message(405, 405, "Method Not Allowed")
    answer.headers["Allow"] = methods
    return answer


def _check(argv: Sequence[str]) -> None:
    """Raise ValueError for an option, wherever it is from, that has no meaning here."""
    options, plain = parse(list(argv)), parse(["--pipeline", "OCR"], {})
    if refused := sorted(name for name in _NOT_HERE if getattr(options, name) != getattr(plain, name)):
        raise ValueError(f"on Ray there is no {', '.join(refused)}")


def app(words: dict[str, str]) -> serve.Application:
    """The application.

    Args:
        words: ``pipeline`` and other options of ``python -m server``, by name; ``devices``, replicas that
            run models (1), with ``cpus`` (2) and ``gpus`` (0) each; ``ingresses``, replicas that decode (1),
            with ``ingress_cpus`` each (0: they need milliseconds where a device needs hundreds, and find room
            on a machine that a device has to itself). An option without a value: ``use_hpip=``.

    Raises:
        ValueError: an option that has no meaning here.
    """
    own = {name: int(words.get(name, default)) for name, default in _OWN.items()}
    argv = [
        f"--{name}={value}" if str(value) else f"--{name}"
        for name, value in words.items()
        if name not in _OWN
    ]
    _check(argv)
    device = DeviceConfig(
        device="gpu:0" if own["gpus"] else "cpu", threads=own["cpus"], all_threads=own["cpus"]
    )
    devices = serve.deployment(Device).options(
        name="Device",
        num_replicas=own["devices"],
        max_ongoing_requests=2 * MAX_BATCH,
        max_queued_requests=_QUEUED * own["devices"],
        ray_actor_options={"num_cpus": own["cpus"], "num_gpus": own["gpus"]},
    )
    ingress = Ingress.options(
        num_replicas=own["ingresses"],
        max_ongoing_requests=_QUEUED,
        ray_actor_options={"num_cpus": own["ingress_cpus"]},
    )
    return ingress.bind(argv, devices.bind(argv, device), own["devices"])
