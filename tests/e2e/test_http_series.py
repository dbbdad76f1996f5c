"""The time-series pipelines over HTTP, by their names of 2024: errors, batches, both generations."""

import base64
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import msgspec
import numpy as np
import pytest

from kernels.slots import READY
from pipelines.core.models import ModelStore
from server.build import build_config
from server.config import Limits
from server.csv_size import check_csv
from server.metrics import Table
from server.options import parse
from tests.cases.series_inputs import STARTERS
from tests.conditions import wait_for
from tests.harness import POLICY, Server

PATHS = {
    "ts_fc": "/time-series-forecasting",
    "ts_ad": "/time-series-anomaly-detection",
    "ts_cls": "/time-series-classification",
}
TASKS = dict(zip(PATHS, STARTERS, strict=True))
TOGETHER = 8


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    options = ["--device", "cpu:1", "--engine", "onnxruntime", "--max_csv_rows", "5000"]
    configs = [
        build_config(parse(["--pipeline", name, *options]), ModelStore(folder / "cache")) for name in PATHS
    ]
    pipelines = tuple(pipeline for config in configs for pipeline in config.pipelines)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PIP_NO_INDEX", "1")  # plots are drawn without a font
        policy = msgspec.structs.replace(POLICY, heartbeat_ns=20_000_000_000)  # a test stops the device
        config = msgspec.structs.replace(configs[0], pipelines=pipelines, drain_grace_ms=0)
        with Server(config, folder, policy) as running:
            running.wait_ready()
            yield running


def plain(name):
    """A CSV that the pipeline's default model takes."""
    return next(iter(STARTERS[TASKS[name]].inputs().values()))


def ask(server, name, text, **fields):
    data = text if isinstance(text, bytes) else text.encode()
    content = {"csv": base64.b64encode(data).decode(), "visualize": False} | fields
    body = json.dumps({key: value for key, value in content.items() if value is not ...}).encode()
    return server.post(body, PATHS[name])


@pytest.mark.parametrize("name", PATHS)
def test_both_generations_say_the_same(server, name):
    text = plain(name)
    status, answer = ask(server, name, text)
    assert (status, answer["errorMsg"]) == (200, "Success")
    assert ask(server, name, text, visualize=...)[1]["result"].items() >= answer["result"].items()
    picture = base64.b64decode(ask(server, name, text, visualize=True)[1]["result"]["image"])
    assert picture.startswith(b"\xff\xd8\xff")


def changed(row, cell, value):
    """The forecaster's CSV with another cell in a row, counted from 1 below the header."""
    lines = [line.split(",") for line in plain("ts_fc").splitlines()]
    lines[row][cell] = value
    return "\n".join(map(",".join, lines)) + "\n"


ROWS = len(plain("ts_fc").splitlines()) - 1
WITHOUT = plain("ts_fc").splitlines(keepends=True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(plain("ts_fc").replace("co2", "co", 1), ["column `co2`"], id="missing-column"),
        pytest.param("".join(WITHOUT[:51]), ["has 50 rows", "at least 104"], id="too-few-rows"),
        pytest.param(
            "".join(WITHOUT[:-5] + WITHOUT[-4:]), ["`date` is not evenly spaced", f"row {ROWS - 4}"], id="gap"
        ),
        pytest.param(changed(ROWS - 2, 1, "much"), ["`co2`", f"row {ROWS - 2}", "number"], id="text"),
        pytest.param(changed(ROWS - 2, 1, "NaN"), ["`co2`", f"row {ROWS - 2}", "no value"], id="nan"),
        pytest.param(changed(ROWS - 2, 1, "-inf"), ["`co2`", f"row {ROWS - 2}", "finite"], id="infinite"),
        pytest.param(changed(ROWS - 2, 0, "soon"), ["`date`", f"row {ROWS - 2}", "dates"], id="no-date"),
        pytest.param(plain("ts_fc").encode() + b"\xe9,1\n", ["not UTF-8", f"line {ROWS + 2}"], id="latin-1"),
        pytest.param(plain("ts_fc").encode("utf-16"), ["not UTF-8"], id="utf-16"),
        pytest.param("date,co2\n" + "x,1\n" * 5001, ["about 5001 rows", "at most 5000"], id="too-many-rows"),
    ],
)
@pytest.mark.parametrize("generation", ["v3", "2024"])
def test_an_error_names_the_column_the_row_and_the_rule(server, text, words, generation):
    fields = {"visualize": ...} if generation == "2024" else {}
    status, answer = ask(server, "ts_fc", text, **fields)
    assert status == answer["errorCode"] == 422
    assert all(word in answer["errorMsg"] for word in words), answer["errorMsg"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"a,b\n" + b"1,2\n" * 10_000_000, "about 10000000 rows; .* at most 1000000$", id="rows"),
        pytest.param(
            b"," * 9_999_999 + b"\n" + b"1," * 99, "about 10000100 cells; .* at most 10000000$", id="cells"
        ),
    ],
)
def test_ten_million_rows_or_cells_are_only_counted(data, message):
    with pytest.raises(Exception, match=message):
        check_csv(data, Limits())


@pytest.mark.parametrize("name", PATHS)
def test_requests_that_wait_together_share_a_run_and_are_answered_alike(server, name):
    header, *rows = plain(name).splitlines()
    texts = []
    for number in range(TOGETHER):
        moved = [f"{time},{','.join(str(float(cell) + number / 8) for cell in rest.split(','))}"
                 for time, _, rest in (row.partition(",") for row in rows)]  # fmt: skip
        texts.append("\n".join([header, *moved, ""]))
    alone = [ask(server, name, text)[1]["result"] for text in texts]
    assert len({json.dumps(result) for result in alone}) > 1
    before = stage_counts(server)
    (device,) = server.pids("device")
    with ThreadPoolExecutor(TOGETHER) as pool:
        os.kill(device, signal.SIGSTOP)
        try:
            waiting = [pool.submit(ask, server, name, text) for text in texts]
            wait_for(lambda: server.slots.count(READY) == TOGETHER, what="all requests wait for the device")
        finally:
            os.kill(device, signal.SIGCONT)
        together = [answer.result()[1]["result"] for answer in waiting]
    runs, calls = (after - first for after, first in zip(stage_counts(server), before, strict=True))
    assert calls == TOGETHER and runs < calls / 2
    for one, other in zip(together, alone, strict=True):
        assert_alike(one, other)


def stage_counts(server):
    """Engine runs of the stage ``ts``, and inputs of them."""
    place = Table.of(server.config).stages["ts"]
    return [sum(lane.counters[place + k] for lane in server.lanes("device")) for k in range(2)]


def assert_alike(one, other):
    """Equal, but for the last digits: another batch may be added up in another order."""
    if "label" in one:
        assert one["label"] == other["label"] and one["score"] == pytest.approx(other["score"], abs=1e-5)
        return
    ours, theirs = (base64.b64decode(side["csv"]).decode().splitlines() for side in (one, other))
    assert [line.partition(",")[0] for line in ours] == [line.partition(",")[0] for line in theirs]
    cells = [np.array([line.rpartition(",")[2] for line in side[1:]], np.float64) for side in (ours, theirs)]
    np.testing.assert_allclose(*cells, rtol=1e-5, atol=1e-5)
