"""Names of all counters, their places in a lane, and where lanes are added up.

Every process counts into its own lane of the segment (one writer, u64, kept over
restarts); ``/metrics`` of any worker adds all lanes together. The table is a function of
the configuration, so all processes agree on it without talking.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import prometheus_client
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

from kernels import slots as slot_states
from kernels.segment import COUNTERS, READY, Segment, monotonic_ns
from pipelines.core.errors import ConfigError
from pipelines.core.registry import load_pipeline

if TYPE_CHECKING:
    from kernels.slots import Slots
    from server.config import Config

#: Plain counters: name to help text. The part before the first ``_`` tells who writes it.
COUNTER_HELP = {
    "worker_received_bytes": "Bytes of request bodies read",
    "worker_refused": "Requests refused because too much was waiting or held",
    "worker_refused_not_ready": "Requests refused because no device could run them",
    "worker_client_gone": "Requests whose client went away before the answer",
    "worker_unsent": "Answers that could not be sent, or not to their end: the client had gone",
    "worker_deadline_passed": "Requests answered 504",
    "worker_documents": "PDF and multi-frame TIFF files rendered",
    "worker_render_failures": "Render children that failed, hung or crashed",
    "worker_pages": "Pages and images handed to devices",
    "worker_poisoned": "Requests refused because their input brings processes down",
    "worker_rescued": "Results found by a header scan after a death",
    "worker_missed_wakeups": "Results found by the coarse tick without a wake-up; must stay 0",
    "worker_ring_full": "Hints that did not fit a ring; a scan finds their slots",
    "worker_traces_sent": "Traces that the collector has taken (--otlp_endpoint)",
    "worker_traces_dropped": "Traces dropped because the collector was gone or slow",
    "worker_cache_hits": "Requests answered from the cache (--cache_mb)",
    "worker_cache_misses": "Requests whose answer was not in the cache",
    "worker_cache_evictions": "Answers that made room for others",
    "device_items": "Items finished",
    "device_failed_items": "Items answered with a fault",
    "device_expired": "Items dropped because their deadline had passed",
    "device_abandoned": "Items dropped because their client had gone",
    "device_stolen": "Items taken from another device's queue",
    "device_rescued": "Items found by a header scan after a death",
    "device_refused_poison": "Items answered without running: poison",
    "device_refused_spent": "Items answered without running: too many attempts",
    "device_result_overflow": "Results larger than their slot",
    "device_lost_claims": "Items finished after they had been given to another process",
    "device_missed_wakeups": "Work found by the coarse timeout without a wake-up; must stay 0",
    "device_all_threads_runs": "Engine runs in the all-core form",
    "device_made_way": "Batches that waited for another device's run in the all-core form",
}

#: What processes hold now, in the same way. It counts while they are ready.
GAUGE_HELP = {"worker_cache_bytes": "Bytes of answers that are kept"}

#: Stage names of :class:`pipelines.core.stage.Stage`; others are counted as ``other``.
STAGES = (
    "doc_ori", "unwarp", "layout", "det", "textline_ori", "rec", "table", "seal",
    "cls", "multilabel", "detection", "seg", "instance", "anomaly", "ts", "other",
)  # fmt: skip

#: Statuses counted per operation; others count as 500. 499: the client went away.
STATUSES = (200, 401, 408, 413, 422, 429, 499, 500, 503, 504)

#: Upper bounds of the request duration histogram, seconds.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

#: Counters of one stage, and of one operation, in this order.
_STAGE_FIELDS = ("runs", "calls", "us")
_OPERATION_FIELDS = len(STATUSES) + len(BUCKETS) + 2  # ..., +Inf bucket, sum of microseconds


def operation_paths(config: Config) -> tuple[str, ...]:
    """Routes of all configured pipelines, in order, each once."""
    paths = (op.path for cfg in config.pipelines for op in load_pipeline(cfg.name).operations)
    return tuple(dict.fromkeys(paths))


class Table:
    """Where each counter of a configuration is in ``Lane.counters``."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.counters = {name: index for index, name in enumerate(COUNTER_HELP)}
        self.gauges = {name: len(self.counters) + index for index, name in enumerate(GAUGE_HELP)}
        plain = len(self.counters) + len(self.gauges)
        self.stages = {stage: plain + i * len(_STAGE_FIELDS) for i, stage in enumerate(STAGES)}
        first = plain + len(STAGES) * len(_STAGE_FIELDS)
        self.operations = {path: first + i * _OPERATION_FIELDS for i, path in enumerate(paths)}
        self.size = first + len(self.operations) * _OPERATION_FIELDS
        if self.size > COUNTERS:
            raise ConfigError(
                f"{len(self.operations)} routes need {self.size} counters; a lane has {COUNTERS}"
            )

    @classmethod
    def of(cls, config: Config) -> Table:
        """The table of a configuration. Raises ConfigError when it has too many routes."""
        return cls(operation_paths(config))


class Metrics:
    """Counts into one lane. Only that lane's process may hold one, and use it from one thread."""

    def __init__(self, table: Table, counters: memoryview) -> None:
        self._table = table
        self._counters = counters

    def add(self, name: str, amount: int = 1) -> None:
        """Add to the counter ``name`` of :data:`COUNTER_HELP`."""
        self._counters[self._table.counters[name]] += amount

    def set(self, name: str, value: int) -> None:
        """Say how much of ``name`` of :data:`GAUGE_HELP` there is."""
        self._counters[self._table.gauges[name]] = value

    def stage(self, name: str, calls: int, seconds: float) -> None:
        """Count one engine run of stage ``name`` over ``calls`` inputs."""
        first = self._table.stages.get(name, self._table.stages["other"])
        self._counters[first] += 1
        self._counters[first + 1] += calls
        self._counters[first + 2] += round(seconds * 1e6)

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count one answered request of a configured route."""
        first = self._table.operations[path]
        code = STATUSES.index(status if status in STATUSES else 500)
        self._counters[first + code] += 1
        first += len(STATUSES)
        self._counters[first + bisect_left(BUCKETS, seconds)] += 1
        self._counters[first + len(BUCKETS) + 1] += round(seconds * 1e6)


class LaneCollector(Collector):
    """Adds up the counters of all lanes and looks at the slots, when asked for metrics."""

    def __init__(self, table: Table, segment: Segment, slots: Slots) -> None:
        self._table = table
        self._segment = segment
        self._slots = slots

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]:
        """Prometheus metric families, all prefixed ``pps_``."""
        segment = self._segment
        workers = [segment.worker(i) for i in range(segment.workers)]
        devices = [segment.device(i) for i in range(segment.devices)]
        columns = zip(
            *(lane.counters[: self._table.size].tolist() for lane in (*workers, *devices)), strict=True
        )
        totals = [sum(column) for column in columns]
        for name, index in self._table.counters.items():
            yield CounterMetricFamily(f"pps_{name}", COUNTER_HELP[name], value=totals[index])
        yield from self._stages(totals)
        yield from self._operations(totals)
        yield from self._gauges(workers, devices)

    def _stages(self, totals: list[int]) -> Iterator[CounterMetricFamily]:
        runs = CounterMetricFamily("pps_stage_runs", "Engine runs", labels=["stage"])
        calls = CounterMetricFamily("pps_stage_calls", "Inputs of engine runs", labels=["stage"])
        seconds = CounterMetricFamily("pps_stage_seconds", "Time in engine runs", labels=["stage"])
        for stage, first in self._table.stages.items():
            if totals[first]:
                runs.add_metric([stage], totals[first])
                calls.add_metric([stage], totals[first + 1])
                seconds.add_metric([stage], totals[first + 2] / 1e6)
        yield from (runs, calls, seconds)

    def _operations(self, totals: list[int]) -> Iterator[CounterMetricFamily | HistogramMetricFamily]:
        requests = CounterMetricFamily("pps_requests", "Answered requests", labels=["path", "code"])
        duration = HistogramMetricFamily(
            "pps_request_seconds", "From the request's header to its last byte", labels=["path"]
        )
        for path, first in self._table.operations.items():
            for offset, status in enumerate(STATUSES):
                requests.add_metric([path, str(status)], totals[first + offset])
            counts = totals[first + len(STATUSES) : first + _OPERATION_FIELDS]
            running, buckets = 0, []
            for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts[:-1], strict=True):
                running += count
                buckets.append((bound, running))
            duration.add_metric([path], buckets, counts[-1] / 1e6)
        yield from (requests, duration)

    def _gauges(self, workers: list, devices: list) -> Iterator[GaugeMetricFamily]:  # type: ignore[type-arg]
        segment, slots = self._segment, self._slots
        states = GaugeMetricFamily("pps_slots", "Slots by state", labels=["state"])
        for state in ("FREE", "WRITING", "READY", "CLAIMED", "DONE"):
            states.add_metric([state.lower()], slots.count(getattr(slot_states, state)))
        yield states
        ready = GaugeMetricFamily("pps_processes_ready", "Processes that serve", labels=["role"])
        beat = GaugeMetricFamily("pps_heartbeat_age_seconds", "Age of a process's beat", labels=["process"])
        queue = GaugeMetricFamily("pps_device_queue_seconds", "Estimated work per device", labels=["device"])
        now, pending = monotonic_ns(), slots.pending_us()
        for role, lanes in (("worker", workers), ("device", devices)):
            ready.add_metric([role], sum(lane.state == READY for lane in lanes))
            for lane in lanes:
                if lane.state == READY:
                    beat.add_metric([f"{role}-{lane.index}"], max(0, now - lane.heartbeat_ns) / 1e9)
        for lane in devices:
            if lane.state == READY:
                queue.add_metric([str(lane.index)], pending[lane.index] * lane.cost_scale / 1e6)
        for name, index in self._table.gauges.items():
            held = sum(lane.counters[index] for lane in (*workers, *devices) if lane.state == READY)
            yield GaugeMetricFamily(f"pps_{name}", GAUGE_HELP[name], value=held)
        yield from (ready, beat, queue)
        yield GaugeMetricFamily("pps_devices_computing", "Devices inside a stage", value=segment.computing())
        yield GaugeMetricFamily("pps_quarantined", "Inputs in quarantine", value=segment.quarantined)
        epochs = [lane.epoch for lane in (*workers, *devices)]
        yield GaugeMetricFamily("pps_last_epoch", "Processes started so far", value=max(epochs))


class ConfigCollector(Collector):
    """What is served: plans, and what each model runs on."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Gauges that are always 1; their labels say it."""
        text = "Which plan chose engines: its key, or missing; none is no line"
        plans = GaugeMetricFamily("pps_plan_info", text, labels=["pipeline", "plan"])
        for item in self._config.plans.items():
            plans.add_metric(item, 1)
        labels = ["pipeline", "role", "model", "engine", "precision"]
        engines = GaugeMetricFamily("pps_engine_info", "What each model runs on", labels=labels)
        for each in self._config.pipelines:
            for role, model in each.models.items():
                precision = each.precisions.get(role, "f32")
                engines.add_metric([each.name, role, model.name, each.engines[role], precision], 1)
        yield from (plans, engines)


def exposition(table: Table, segment: Segment, slots: Slots, config: Config) -> bytes:
    """The ``/metrics`` page in Prometheus text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(LaneCollector(table, segment, slots))
    registry.register(ConfigCollector(config))
    return prometheus_client.generate_latest(registry)
