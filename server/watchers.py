"""Who is told of every request that has ended: traces and the access log, each where it is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.config import Config
    from server.metrics import Metrics
    from server.otlp import Tracer
    from server.work import Watcher


def tracer_of(config: Config, index: int, metrics: Metrics) -> Tracer | None:
    """What sends the traces of worker ``index``. Where nobody wants any not even its module is loaded."""
    if not config.otlp_endpoint:
        return None
    from server.api_pages import own_version  # noqa: PLC0415
    from server.otlp import OtlpExporter, Tracer  # noqa: PLC0415

    return Tracer(OtlpExporter(config.otlp_endpoint, f"worker-{index}", own_version()), metrics)


def watchers_of(config: Config, tracer: Tracer | None) -> tuple[Watcher, ...]:
    """All who watch."""
    watchers: list[Watcher] = [tracer.watch] if tracer else []
    if config.access_log:
        from server.access_log import write_always, write_line  # noqa: PLC0415

        write_always()
        watchers.append(write_line)
    return tuple(watchers)
