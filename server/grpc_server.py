"""gRPC in and out: one server in every worker, on its event loop, before the same door as HTTP.

The handler of ModelInfer reads top to bottom as the life of a call: key, door, message, route, answer. Every
method takes a stream of messages, of which a client sends one; on the wire that is the same. So a
method decides when the message is read, where gRPC would have read it before anybody could refuse.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc

from pipelines.core.errors import BadRequest, ConfigError, ServeError
from server import oip
from server.admission import Admission, is_batch, timeout_of
from server.api_pages import PACKAGE, own_version
from server.config import Config, Limits
from server.exchange import Exchange
from server.grpc_door import GrpcDoor, Message, describe, parse
from server.grpc_port import address
from server.grpc_reading import Places, message_places
from server.grpc_schema import SERVICE, message
from server.grpc_status import NoSuchModel, Refusal, fault_of, success_metadata
from server.grpc_wire import MAX_SMALL
from server.guard import Guard, Pass
from server.routes import Routes
from server.work import Ground

#: Calls inside a worker; the next is refused. One that waits costs a window of 64 KiB.
MAX_CALLS = 1024
#: Calls of one connection at once; a client waits with more.
MAX_STREAMS = 128
#: Bytes of a call's metadata; as HTTP's header.
MAX_METADATA = 8 << 10
#: Messages that methods without a key read at once, and how long a client has to send one.
OPEN_PLACES, _OPEN_S = 2, 5.0
#: Idle connections are closed after this, as HTTP's; and clients that do not answer a ping.
_IDLE_MS, _PING_MS, _PONG_MS = 75_000, 60_000, 20_000
#: The largest number that gRPC takes for a size.
_MAX_INT = 2**31 - 1

#: A method: what is written, or why nothing is.
View = Callable[[Any], Awaitable["bytes | Refusal"]]

_log = logging.getLogger(__name__)


class GrpcServer:
    """All methods of one worker.

    Args:
        config, ground, admission, font, guard: as of :class:`~server.routes.Routes`.
        routes: know the endpoints, and whether the server is ready.
    """

    def __init__(
        self,
        config: Config,
        ground: Ground,
        admission: Admission,
        routes: Routes,
        font: Callable[[], str],
        guard: Guard | None,
    ) -> None:
        self._config, self._ground, self._admission, self._font = config, ground, admission, font
        self._guard, self._unready = guard, routes.unready
        self._models = {oip.model_name(each): each for each in routes.endpoints.values()}
        operations = [each.operation for each in self._models.values()]
        # What is asked is known with the message: until then a call gets what its worst case would.
        self._patience = max(operation.patience for operation in operations)
        self._errands = any(operation.input == "none" for operation in operations)
        self._places, self._open_places = Places(message_places(config.limits)), Places(OPEN_PLACES)
        self._inside = 0
        self._server: Any = None

    # --- life

    async def start(self) -> None:
        """Listen. Raises ConfigError."""
        config = self._config
        self._server = grpc.aio.server(options=options(config.limits), maximum_concurrent_rpcs=MAX_CALLS)
        views: dict[str, View] = {
            "ServerLive": self._live,
            "ServerReady": self._ready,
            "ServerMetadata": self._metadata,
            "ModelReady": self._model_ready,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._infer,
        }
        methods = {
            name: grpc.stream_unary_rpc_method_handler(self._method(view)) for name, view in views.items()
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
        try:
            bound = self._listen(address(config.host, config.grpc_port))
        except RuntimeError:
            bound = 0
        if bound != config.grpc_port:
            raise ConfigError(f"cannot listen for gRPC on {address(config.host, config.grpc_port)}")
        await self._server.start()

    def _listen(self, where: str) -> int:
        access = self._config.access
        if not access.tls_cert:
            return int(self._server.add_insecure_port(where))
        from server.grpc_tls import Pair  # noqa: PLC0415 - only with TLS

        return int(self._server.add_secure_port(where, Pair(access.tls_cert, access.tls_key).credentials()))

    async def stop(self, seconds: float) -> int:
        """Take no more calls, and finish those inside; returns how many were cut off."""
        stopping = asyncio.ensure_future(self._server.stop(seconds + 1))
        await asyncio.wait([stopping], timeout=seconds)
        left = self._inside
        await self._server.stop(None)
        await stopping
        if left:
            _log.warning("%d gRPC calls cut off: not finished in time", left)
        return left

    def _method(self, view: View) -> Callable[[Any, Any], Awaitable[bytes]]:
        """A method as gRPC calls it: faults become status codes."""

        async def method(_messages: Any, context: Any) -> bytes:
            self._inside += 1
            try:
                answer = await view(context)
            except ServeError as known:
                answer = fault_of(known)
            except Exception:
                _log.exception("a gRPC call failed")
                answer = fault_of(ServeError())
            finally:
                self._inside -= 1
            if not isinstance(answer, bytes):
                await context.abort(*answer)  # raises what ends the call
                raise AssertionError
            return answer

        return method

    # --- operations

    async def _infer(self, context: Any) -> bytes | Refusal:
        # Until its message names a model, a call counts as one of the first.
        exchange, fault = Exchange(next(iter(self._models.values())), GrpcDoor()), None
        try:
            headers = dict(context.invocation_metadata() or ())
            exchange.observe(self._ground, context.peer(), headers.get("traceparent", ""))
            with self._guard.admit(headers) if self._guard else Pass() as entered:
                exchange.owner = entered.name
                answer = await self._answer(exchange, context, headers)
            exchange.bytes_out = len(answer)
            context.set_trailing_metadata(success_metadata(exchange))
            return answer
        except asyncio.CancelledError:
            exchange.status = 499
            self._ground.metrics.add("worker_client_gone")
            raise
        except ServeError as known:
            fault = known.with_traceback(None)  # its frames hold the message, and one of them the fault
        except Exception:
            _log.exception("a request failed", extra={"log_id": exchange.log_id})
            fault = ServeError()
        finally:
            if fault is not None:
                exchange.status = fault.status
            if not isinstance(fault, NoSuchModel):  # a request of no route
                exchange.finish(self._ground, fault)
        return fault_of(fault, exchange)

    async def _answer(self, exchange: Exchange, context: Any, headers: Mapping[str, str]) -> bytes:
        """A response. Raises ServeError."""
        started = self._admission.now_ns()
        asked, batch = asked_ms(headers, context.time_remaining()), is_batch(headers.get("x-priority"))
        request = await self._receive(exchange, context, asked, batch)
        exchange.log_id = request.id or exchange.log_id
        endpoint = self._models.get(request.model)
        if endpoint is None or request.version not in {"", oip.VERSION}:
            raise NoSuchModel
        exchange.endpoint, exchange.generation = endpoint, endpoint.default_generation
        operation = endpoint.operation
        with self._admission.admit(
            asked, operation.patience, errand=operation.input == "none", batch=batch
        ) as permit:
            permit.deadline_ns -= self._admission.now_ns() - started  # the message has taken its part
            permit.hold(len(request))
            try:
                return await exchange.run(self._ground, permit, request, self._font)
            finally:
                exchange.log_id = request.id or exchange.log_id

    async def _receive(self, exchange: Exchange, context: Any, asked: int | None, batch: bool) -> Message:
        """The message, once there is a place for it. Raises ServeError."""
        with self._admission.admit(asked, self._patience, errand=self._errands, batch=batch):
            content = await self._places.read(context, self._config.limits.body_timeout_ms / 1000)
        exchange.received(len(content))
        self._ground.metrics.add("worker_received_bytes", len(content))
        request, door = Message(content), exchange.door
        if isinstance(door, GrpcDoor):
            door.message = request
        return request

    # --- health and metadata; no key is needed, as below /v2

    async def _live(self, _context: Any) -> bytes:
        return _written("ServerLiveResponse", live=True)

    async def _ready(self, _context: Any) -> bytes:
        return _written("ServerReadyResponse", ready=not self._unready())

    async def _metadata(self, _context: Any) -> bytes:
        return _written("ServerMetadataResponse", name=PACKAGE, version=own_version())

    async def _model_ready(self, context: Any) -> bytes:
        about = await self._read_open("ModelReadyRequest", context)
        known = about.name in self._models and about.version in {"", oip.VERSION}
        return _written("ModelReadyResponse", ready=known and not self._unready())

    async def _model_metadata(self, context: Any) -> bytes:
        about = await self._read_open("ModelMetadataRequest", context)
        endpoint = self._models.get(about.name)
        if endpoint is None or about.version not in {"", oip.VERSION}:
            raise NoSuchModel
        return describe(endpoint)

    async def _read_open(self, name: str, context: Any) -> Any:
        content = await self._open_places.read(context, _OPEN_S)
        if len(content) > MAX_SMALL:
            raise BadRequest(f"The message is larger than {MAX_SMALL} bytes")
        return parse(name, content)


def options(limits: Limits) -> list[tuple[str, int]]:
    """What gRPC's own library is told; names as in its ``channel_arg_names.h``."""
    return [
        ("grpc.so_reuseport", 1),  # workers share the port
        ("grpc.max_receive_message_length", min(limits.max_body_bytes, _MAX_INT)),
        ("grpc.max_metadata_size", MAX_METADATA),
        ("grpc.absolute_max_metadata_size", MAX_METADATA),
        ("grpc.max_concurrent_streams", MAX_STREAMS),
        ("grpc.server_handshake_timeout_ms", limits.body_timeout_ms),
        ("grpc.max_connection_idle_ms", _IDLE_MS),
        ("grpc.keepalive_time_ms", _PING_MS),
        ("grpc.keepalive_timeout_ms", _PONG_MS),
        # Messages that wait for a place stay with their clients: no window grows for them.
        ("grpc.http2.bdp_probe", 0),
        # A compressed message can be a thousand times as large as its bound says.
        ("grpc.per_message_decompression", 0),
        ("grpc.compression_enabled_algorithms_bitset", 1),
    ]


def asked_ms(headers: Mapping[str, str], left_s: float | None) -> int | None:
    """Milliseconds that the client will wait: by the call's deadline, or less by X-Request-Timeout-Ms."""
    asked = timeout_of(headers.get("x-request-timeout-ms"))
    if left_s is None:
        return asked
    left = max(1, int(left_s * 1000))
    return left if asked is None else min(asked, left)


def _written(kind: str, /, **fields: Any) -> bytes:
    return bytes(message(kind)(**fields).SerializeToString())
