"""One HTTP worker process: attach, build the app, serve until told to leave, finish what is inside.

``python -m server.worker --index I --boot-fd N``, started by the supervisor only.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import uvloop
from sanic import Sanic
from sanic.application.state import ApplicationServerInfo
from sanic.http.constants import HTTP

from kernels.segment import EMPTY, READY, monotonic_ns
from kernels.slots import Slots
from pipelines.core.errors import ConfigError
from server.child import Child, enter
from server.heap import keep_heap
from server.protocol import Protocol
from server.turns import take_long_turns, take_short_turns

if TYPE_CHECKING:
    from server.config import Boot, Config
    from server.guard import Guard
    from server.routes import Routes

#: How often the worker looks after itself: liveness, deaths of others, draining.
_TICK_S = 0.05
#: How often it looks whether keys and certificates have changed.
_REFRESH_S = 1.0
#: Idle connections are closed after this; longer than the 60 s that load balancers commonly keep theirs.
_KEEP_ALIVE_S = 75
#: A connection in use gets so long to end with an answer: who sends on one just as it closes loses a request.
_IDLE_GRACE_S = 1.0
#: So long are handshakes waited for that have begun when nothing else is left.
_GREETING_S = 5.0
#: Connections the kernel may hold until they are accepted.
_BACKLOG = 1024
#: Received bytes that wait for the handler before reading pauses; below it each stop costs a round of
#: system calls, above it one slow handler holds more memory.
_BUFFER_BYTES = 1 << 20
#: With so few cores for a worker, devices included, a JPEG of up to so many pixels (VGA: 0.9 ms) is decoded
#: on the event loop: a thread would not work beside anything, and going there costs 0.15 ms of CPU. Who has
#: set a latency budget wants the loop free for the next refusal instead (p99 5 ms instead of 8 on one core).
_CROWDED_CORES, _INLINE_PIXELS = 2, 640 * 480
#: The supervisor tries again: a file of keys that cannot be read now may be one that is being written.
_EXIT_FAILED = 1

_log = logging.getLogger(__name__)


class Worker:
    """The parts of a worker, put together; ``serve`` runs them.

    Args:
        child: this process's orders, segment and lane.
    """

    def __init__(self, child: Child) -> None:
        # Imported here: image libraries read their limits from the environment when they are loaded.
        import cv2  # noqa: PLC0415

        from server.admission import Admission  # noqa: PLC0415
        from server.answer_cache import AnswerCache  # noqa: PLC0415
        from server.dispatch import Dispatcher  # noqa: PLC0415
        from server.fetch import Fetcher  # noqa: PLC0415
        from server.font import Font  # noqa: PLC0415
        from server.grpc_port import open_grpc  # noqa: PLC0415
        from server.memfd_door import open_memfd  # noqa: PLC0415
        from server.metrics import Metrics, Table  # noqa: PLC0415
        from server.pictures import pictures_by_pipeline  # noqa: PLC0415
        from server.routes import Routes  # noqa: PLC0415
        from server.tls import Certificate  # noqa: PLC0415
        from server.watchers import tracer_of, watchers_of  # noqa: PLC0415
        from server.work import Ground  # noqa: PLC0415

        cv2.setNumThreads(1)  # the pool's threads are the parallelism here
        boot, segment, lane = child
        config = boot.config
        self._config, self._segment, self._lane = config, segment, lane
        self._socket = socket.socket(fileno=boot.listen_fd)
        self._threads = ThreadPoolExecutor(_threads(), "decode", initializer=take_long_turns)
        table = Table.of(config)
        metrics = Metrics(table, lane.counters)
        self._dispatcher = Dispatcher(
            segment,
            Slots(segment),
            lane,
            boot.worker_events[boot.index],
            boot.device_events,
            len(config.devices),
            metrics,
            self._threads,
        )
        self._admission = Admission(
            config.limits,
            self._dispatcher.queued_ms,
            len(config.devices),
            monotonic_ns,
            self._dispatcher.loads.scale,
        )
        # A client that reads slowly must not hold up documents of others: half the children are never its.
        renders, paced = asyncio.Semaphore(_threads()), asyncio.Semaphore(_threads() // 2)
        inline = _INLINE_PIXELS if _decodes_inline(config) else 0
        fetcher = Fetcher(config.access, config.limits) if config.access.url_hosts else None
        share = (config.cache_mb << 20) // config.workers
        answers = AnswerCache(share, config, metrics) if share else None
        self._pictures = pictures_by_pipeline(config)
        self._tracer = tracer_of(config, lane.index, metrics)
        ground = Ground(
            segment,
            self._dispatcher,
            metrics,
            config.limits,
            renders,
            paced,
            inline,
            fetcher,
            answers,
            self._pictures,
            self._tracer,
            watchers_of(config, self._tracer),
        )
        access = config.access
        self._guard = _guard(boot, segment.workers)
        self._certificate = Certificate(access.tls_cert, access.tls_key) if access.tls_cert else None
        font = Font(config.cache_dir)
        self._routes = Routes(config, ground, self._admission, table, font, self._guard)
        self._grpc = open_grpc(config, ground, self._admission, self._routes, font, self._guard)
        self._memfd = open_memfd(boot.memfd_fd, config, self._routes, ground)
        self._refresh_at, self._stop = 0.0, asyncio.Event()

    async def serve(self) -> int:
        """Serve until told to leave; returns the exit code: 1 when something was left unfinished."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        loop.add_signal_handler(signal.SIGINT, lambda: None)  # a terminal's Ctrl-C is for the supervisor
        self._dispatcher.start(loop)
        app = make_app(self._config, self._routes)
        server: Any = await app.create_server(
            sock=self._socket,
            backlog=_BACKLOG,
            ssl=self._certificate.context if self._certificate else None,
            protocol=Protocol,
            return_asyncio_server=True,
            asyncio_server_kwargs={"start_serving": False} | self._handshake(),
        )
        await server.startup()
        await server.start_serving()
        await self._grpc.start()
        await self._memfd.start()
        ticking = asyncio.create_task(self._tick())
        gc.collect()
        gc.freeze()  # modules and routes stay for good: no collection needs to look at them again
        self._lane.state = READY
        await self._stop.wait()
        left = await self._drain(server)
        if self._tracer:
            self._tracer.close()
        ticking.cancel()
        self._dispatcher.stop()
        self._threads.shutdown(wait=False, cancel_futures=True)
        for pictures in self._pictures.values():
            pictures.shutdown(wait=False, cancel_futures=True)
        return 1 if left else 0

    async def _tick(self) -> None:
        while True:
            self._lane.touch()
            self._dispatcher.tick()
            if self._segment.draining:  # until the port closes, each answer ends its connection
                self._routes.draining = True
            self._refresh(time.monotonic())
            await asyncio.sleep(_TICK_S)

    def _handshake(self) -> dict[str, float]:
        """A client has as long for its handshake as for a request."""
        return (
            {"ssl_handshake_timeout": self._config.limits.body_timeout_ms / 1000} if self._certificate else {}
        )

    def _refresh(self, now: float) -> None:
        """Look at the files of keys and certificates, and forget what dead workers have let in."""
        if now < self._refresh_at:
            return
        self._refresh_at = now + _REFRESH_S
        if self._tracer:
            self._tracer.count()
        if self._certificate:
            self._certificate.refresh()
        if self._guard:
            empty = [i for i in range(self._segment.workers) if self._segment.worker(i).state == EMPTY]
            self._guard.refresh(empty)

    async def _drain(self, server: Any) -> int:
        """Stop accepting, answer what is inside, close every connection; returns how many were cut off."""
        self._routes.draining = True
        closed = asyncio.ensure_future(server.wait_closed())  # knows of handshakes, which Sanic does not
        await asyncio.sleep(0)  # it begins before the server is closed
        server.close()
        self._socket.close()
        patience_s, told = self._config.drain_timeout_ms / 1000, time.monotonic()
        others = asyncio.gather(self._grpc.stop(patience_s), self._memfd.stop(patience_s))
        greeted = told + (min(patience_s, _GREETING_S) if self._certificate else 0)
        while not closed.done() and time.monotonic() < (told + patience_s if server.connections else greeted):
            if time.monotonic() > told + _IDLE_GRACE_S:
                for connection in list(server.connections):
                    connection.close_if_idle()
            await asyncio.sleep(_TICK_S)
        closed.cancel()
        if left := len(server.connections):
            _log.warning("%d connections cut off: not finished in time", left)
        for connection in list(server.connections):
            connection.abort()
        return left + sum(await others)


def _guard(boot: Boot, workers: int) -> Guard | None:
    """Who may ask, by the file of API keys; None when there is none."""
    from server.guard import Guard, open_quota  # noqa: PLC0415
    from server.keys import KeyFile  # noqa: PLC0415

    path = boot.config.access.api_keys
    if not path:
        return None
    return Guard(KeyFile(path), open_quota(boot.quota_fd, workers, boot.index), monotonic_ns)


def make_app(config: Config, routes: Routes) -> Sanic[Any, Any]:
    """The Sanic application: quiet, bounded, and with no page of its own."""
    limits = config.limits
    app: Sanic[Any, Any] = Sanic("worker", configure_logging=False, env_prefix=None)
    app.config.update(
        {
            "ACCESS_LOG": False,
            "AUTO_EXTEND": False,
            "FALLBACK_ERROR_FORMAT": "json",
            "KEEP_ALIVE_TIMEOUT": _KEEP_ALIVE_S,
            "MOTD": False,
            "REQUEST_BUFFER_SIZE": _BUFFER_BYTES,
            "REQUEST_MAX_SIZE": limits.max_body_bytes,
            "REQUEST_TIMEOUT": limits.body_timeout_ms / 1000,
            # Deadlines are ours: Sanic's own clock must never end a request that we still answer.
            "RESPONSE_TIMEOUT": 100 * (limits.request_timeout_ms + limits.body_timeout_ms) / 1000,
        }
    )
    # Sanic leaves an empty Alt-Svc header in every answer unless it knows that only HTTP/1 is served.
    app.state.server_info.append(ApplicationServerInfo(settings={"version": HTTP.VERSION_1}))
    routes.install(app)
    return app


def _threads() -> int:
    """Threads for decoding and drawing, and render children at once: with one, a large file holds up all."""
    return max(2, min(8, len(os.sched_getaffinity(0))))


def _decodes_inline(config: Config) -> bool:
    """Whether there are so few cores for each worker that its loop alone can use its part of them."""
    crowded = len(os.sched_getaffinity(0)) <= _CROWDED_CORES * config.workers
    return crowded and not config.limits.latency_budget_ms


def main(argv: list[str]) -> int:
    """Run a worker; returns the exit code."""
    keep_heap()
    child = enter(argv)
    # OpenCV's own bound on what a lying header can make it allocate; read when the library is loaded.
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(child.boot.config.limits.max_pixels)
    os.environ["OPENCV_LOG_LEVEL"] = "SILENT"
    take_short_turns()
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(Worker(child).serve())
    except ConfigError as error:
        _log.critical("%s", error)
        return _EXIT_FAILED
    finally:
        loop.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
