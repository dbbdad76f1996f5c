"""Time series against PaddleX 3.7.2: what it answered to the CSVs of ``tests/cases`` (``record_series.py``).

The starter models run on ONNX Runtime here and ran on Paddle there; models that echo their inputs show every
number that is computed before a model runs.
"""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipelines.core.base import Item
from pipelines.core.config import ModelFiles, PipelineConfig
from pipelines.core.errors import BadRequest
from pipelines.core.registry import load_pipeline
from pipelines.core.series_api import SeriesParams
from pipelines.engines.base import TensorSpec
from tests.cases.series_inputs import ECHOES, STARTERS, echo_description
from tests.driver import Driver, config_of

CASES = Path(__file__).resolve().parents[1] / "cases"
TOLERANCE = 1e-5

#: Where PaddleX answers and this server refuses on purpose, or the other way round (docs/compatibility.md).
REFUSED_HERE = {("ts_forecast", "an empty cell"), ("ts_anomaly_detection", "a repeated time")}
ANSWERED_HERE = {("old name of hours", "plain"), ("numbers by two", "plain")}
#: Whole numbers as times: rows are sorted here, PaddleX sorts the times only.
OTHER_ORDER = {("numbers", "upside down")}


def load(path):
    return json.loads((CASES / path).read_text(encoding="utf-8"))


def starter_cases():
    for task in STARTERS:
        for case in load(f"{task}/cases.json"):
            yield pytest.param(task, case, id=f"{task}-{case['name']}")


@pytest.fixture(scope="module")
def drivers():
    made = {task: Driver(config_of(task)) for task in STARTERS}
    yield made
    for driver in made.values():
        driver.__exit__()


def run(driver, text):
    (found,) = driver(Item(SeriesParams(), blob=memoryview(text.encode())))
    return found


def check_csv(found, expected):
    """Layout equal byte by byte but for the digits of numbers, which are equal to 1e-5 of their size."""
    ours, theirs = ([*csv.reader(io.StringIO(text))] for text in (found, expected))
    assert found.endswith("\n") and "\r" not in found and "\n\n" not in found
    assert [row[0] for row in ours] == [row[0] for row in theirs]
    assert ours[0] == theirs[0] and {len(row) for row in ours} == {len(row) for row in theirs}
    numbers = [np.array([row[1:] for row in side[1:]], dtype=np.float64) for side in (ours, theirs)]
    np.testing.assert_allclose(*numbers, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize(("task", "case"), list(starter_cases()))
def test_starter_models_answer_what_paddlex_answered(drivers, task, case):
    found, expected = run(drivers[task], case["csv"]), case["answer"]
    if "error" in expected or (task, case["name"]) in REFUSED_HERE:
        assert isinstance(found, BadRequest), found
        return
    assert not isinstance(found, Exception), found
    if task == "ts_classification":
        assert found.label == expected["label"]
        assert found.score == pytest.approx(expected["score"], abs=TOLERANCE)
        return
    check_csv(found.csv.decode(), expected["csv"])


class EchoEngine:
    """Gives all inputs, one number below the other, as a model that ``record_series.py`` makes."""

    def __init__(self, echo):
        self.columns = echo.columns
        self.inputs = tuple(TensorSpec(name, (-1, *shape), "float32") for name, shape in echo.tensors.items())

    def run(self, feeds):
        flat = np.concatenate([feeds[name].reshape(len(feeds[name]), -1) for name in sorted(feeds)], axis=1)
        return [np.repeat(flat[:, :, np.newaxis], self.columns, axis=2)]

    def close(self):
        pass


def echo_driver(echo, folder, scaler):
    folder.mkdir()
    (folder / "inference.yml").write_text(yaml.safe_dump(echo_description(echo)))
    if scaler:
        (folder / "scaler.json").write_text(json.dumps(scaler))
    model = ModelFiles(echo.model_name, str(folder), {})
    (role,) = load_pipeline(echo.task).roles
    config = PipelineConfig(echo.task, echo.task, "v3", {}, {role: model}, {role: "x"})
    return Driver(config, lambda stage: EchoEngine(echo))


@pytest.mark.parametrize(
    "case", [pytest.param(c, id=f"{c['echo']}-{c['name']}") for c in load("series_echo.json")]
)
def test_models_are_given_what_paddlex_gave_them(tmp_path, case):
    echo = next(echo for echo in ECHOES if echo.name == case["echo"])
    with echo_driver(echo, tmp_path / "model", case.get("scaler")) as driver:
        found = run(driver, case["csv"])
    key, expected = (case["echo"], case["name"]), case["answer"]
    if "error" in expected:
        assert isinstance(found, BadRequest) != (key in ANSWERED_HERE), found
        return
    assert not isinstance(found, Exception), found
    if key not in OTHER_ORDER:
        check_csv(found.csv.decode(), expected["csv"])
