"""PaddleX 3.7.2's own answers to the detectors' inputs (recorded by ``tests/cases/record_detection.py``).

Bounds: classes and names equal, in order; scores within 1e-4, boxes within half a pixel.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from pipelines.core.config import PipelineConfig
from pipelines.core.models import ModelStore
from pipelines.core.registry import load_engine, load_pipeline
from pipelines.core.yaml_config import from_document
from tests.driver import Driver, Remembered
from tests.golden.answers import answer

FOLDER = Path(__file__).resolve().parents[1] / "cases" / "object_detection"
RUNS = sorted(path.stem for path in FOLDER.glob("*.json") if path.stem != "schema")
SCORE, BOX_PX = 1e-4, 0.5


def recorded(run):
    return json.loads((FOLDER / f"{run}.json").read_text())


def config_of(document, engine):
    """The pipeline of a YAML whose ``model_dir`` is a name in the model store."""
    spec = from_document(document)
    models = {role: ModelStore().resolve(choice.directory) for role, choice in spec.models.items()}
    engines = dict.fromkeys(models, engine)
    return PipelineConfig(spec.name, spec.title, spec.generation, spec.options, models, engines)


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def engine(request):
    assert load_engine(request.param).available() is None, "the extra 'test' brings every engine"
    return request.param


@pytest.fixture(scope="module")
def load(engine):
    """Every model is loaded once."""
    return Remembered()


def check_equal(found, expected):
    names = [(entry["categoryId"], entry["categoryName"]) for entry in expected]
    assert [(entry["categoryId"], entry["categoryName"]) for entry in found] == names
    assert [list(entry) for entry in found] == [list(entry) for entry in expected]
    if names:
        assert [entry["score"] for entry in found] == pytest.approx([e["score"] for e in expected], abs=SCORE)
        boxes = [[entry["bbox"] for entry in side] for side in (found, expected)]
        assert np.abs(np.subtract(*boxes)).max() <= BOX_PX


@pytest.mark.engine
@pytest.mark.parametrize("run", RUNS)
def test_objects_are_those_that_paddlex_found(engine, load, run):
    record, checked = recorded(run), 0
    document = yaml.safe_load(record["yaml"])
    if run == "small":  # PaddleX reads this threshold and does not use it (docs/compatibility.md)
        document["SubModules"]["SmallObjectDetection"]["threshold"] = None
    with Driver(config_of(document, engine), load) as driver:
        for form in load_pipeline(driver.config.name).operations[0].forms:
            for case in record["cases"]:
                if form.generation == "2024" and (case["request"] or "layout" in run):
                    continue  # that generation has neither
                image = cv2.imdecode(np.fromfile(FOLDER / case["input"], np.uint8), cv2.IMREAD_COLOR)
                result = answer(driver, form.generation, case["request"], image)
                check_equal(result["detectedObjects"], case["objects"])
                checked += len(case["objects"])
    assert checked > 5


def test_the_record_holds_every_kind_of_case():
    """Otherwise equality would prove little."""
    counts = {run: [len(case["objects"]) for case in recorded(run)["cases"]] for run in RUNS}
    rules = [counts[run] for run in RUNS if run.startswith("layout")]
    assert {"general", "small", "documents"} < set(RUNS) and len(rules) == 3
    assert 0 in counts["general"] and max(counts["general"]) > 3 and max(counts["small"]) > 20
    assert all(max(each) > 8 for each in rules) and len(set(map(tuple, rules))) == 3
