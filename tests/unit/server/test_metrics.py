import os

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kernels.segment import COUNTERS, EMPTY, READY, Segment
from kernels.slots import Slots
from pipelines.core.errors import ConfigError
from server.config import Config
from server.metrics import BUCKETS, COUNTER_HELP, STAGES, STATUSES, Metrics, Table, exposition

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture
def segment():
    made = Segment.create(2, 2, [(4096, 2)])
    for number, lane in enumerate((made.worker(0), made.worker(1), made.device(0)), start=1):
        lane.incarnate(os.getpid(), number)
        lane.state = READY
    yield made
    made.close()


NOTHING = Config((), ())


def samples(page):
    """(name, labels) to value."""
    found = {}
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return found


def scrape(table, segment):
    return samples(exposition(table, segment, Slots(segment), NOTHING))


def test_no_two_counters_share_a_place():
    table = Table(["/a", "/b"])
    places = [*table.counters.values(), *table.gauges.values()]
    places += [first + i for first in table.stages.values() for i in range(3)]
    for first in table.operations.values():
        places += [first + i for i in range(len(STATUSES) + len(BUCKETS) + 2)]
    assert sorted(places) == list(range(table.size))


def test_all_thirteen_pipelines_fit():
    assert Table([f"/{i}" for i in range(16)]).size <= COUNTERS
    with pytest.raises(ConfigError, match="routes need"):
        Table([f"/{i}" for i in range(40)])


def test_what_a_process_holds_counts_while_it_is_ready(segment):
    table = Table(["/ocr"])
    for index in (0, 1):
        Metrics(table, segment.worker(index).counters).set("worker_cache_bytes", 10 + index)
    assert scrape(table, segment)["pps_worker_cache_bytes", ()] == 21
    segment.worker(0).state = EMPTY
    assert scrape(table, segment)["pps_worker_cache_bytes", ()] == 11


def test_lanes_are_added_up(segment):
    table = Table(["/ocr"])
    for index in (0, 1):
        Metrics(table, segment.worker(index).counters).add("worker_pages", 2 + index)
    Metrics(table, segment.device(0).counters).add("device_items")
    found = scrape(table, segment)
    assert found["pps_worker_pages_total", ()] == 5
    assert found["pps_device_items_total", ()] == 1
    assert found["pps_device_stolen_total", ()] == 0


def test_every_counter_is_shown(segment):
    found = scrape(Table([]), segment)
    assert {f"pps_{name}_total" for name in COUNTER_HELP} <= {name for name, _ in found}


def test_requests_by_status_and_duration(segment):
    table = Table(["/ocr", "/table"])
    metrics = Metrics(table, segment.worker(0).counters)
    for status, seconds in ((200, 0.005), (200, 0.0051), (422, 0.001), (499, 40.0), (418, 1.0)):
        metrics.request("/ocr", status, seconds)
    metrics.request("/table", 200, 3.0)
    found = scrape(table, segment)

    def count(code):
        return found["pps_requests_total", (("code", str(code)), ("path", "/ocr"))]

    def bucket(le):
        return found["pps_request_seconds_bucket", (("le", le), ("path", "/ocr"))]

    assert (count(200), count(422), count(499), count(500)) == (2, 1, 1, 1)
    assert (bucket("0.005"), bucket("0.01"), bucket("30.0"), bucket("+Inf")) == (2, 3, 4, 5)
    assert found["pps_request_seconds_sum", (("path", "/ocr"),)] == pytest.approx(41.0111)
    assert found["pps_request_seconds_count", (("path", "/table"),)] == 1


def test_stages(segment):
    table = Table([])
    metrics = Metrics(table, segment.device(0).counters)
    metrics.stage("det", 4, 0.25)
    metrics.stage("det", 1, 0.05)
    metrics.stage("somebody's own", 1, 1.0)
    found = scrape(table, segment)
    assert found["pps_stage_runs_total", (("stage", "det"),)] == 2
    assert found["pps_stage_calls_total", (("stage", "det"),)] == 5
    assert found["pps_stage_seconds_total", (("stage", "det"),)] == pytest.approx(0.3)
    assert found["pps_stage_runs_total", (("stage", "other"),)] == 1
    assert ("pps_stage_runs_total", (("stage", "rec"),)) not in found
    assert "det" in STAGES


def test_gauges(segment):
    slots = Slots(segment)
    slots.take(0, 100)
    ready = slots.take(1, 100)
    slots.publish(ready, request_id=1, deadline_ns=0, operation=0, device=0, cost_us=1500, request_bytes=1)
    segment.device(0).cost_scale = 2.0
    found = scrape(Table([]), segment)
    states = {dict(labels)["state"]: value for (name, labels), value in found.items() if name == "pps_slots"}
    assert states == {"free": 2, "writing": 1, "ready": 1, "claimed": 0, "done": 0}
    assert found["pps_device_queue_seconds", (("device", "0"),)] == pytest.approx(0.003)
    assert ("pps_device_queue_seconds", (("device", "1"),)) not in found
    assert found["pps_processes_ready", (("role", "worker"),)] == 2
    assert found["pps_processes_ready", (("role", "device"),)] == 1
    assert found["pps_last_epoch", ()] == 3
    assert 0 <= found["pps_heartbeat_age_seconds", (("process", "device-0"),)] < 60


def test_counters_survive_a_restart(segment):
    table = Table(["/ocr"])
    Metrics(table, segment.worker(0).counters).request("/ocr", 200, 0.1)
    segment.worker(0).incarnate(os.getpid(), 9)
    Metrics(table, segment.worker(0).counters).request("/ocr", 200, 0.1)
    assert scrape(table, segment)["pps_request_seconds_count", (("path", "/ocr"),)] == 2
