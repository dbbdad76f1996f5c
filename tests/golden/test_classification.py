"""Both classification pipelines against PaddleX 3.7.2 (``tests/cases/record_classification.py``).

The weights are the default models; variants change how their ``inference.yml`` resizes.
"""

import json
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
import yaml

from pipelines.core.models import ModelStore
from tests.driver import Driver, config_of
from tests.golden.answers import answer

CASES = Path(__file__).resolve().parents[1] / "cases"
PIPELINES = ("image_classification", "image_multilabel_classification")
SCORE = 1e-4


def golden(pipeline):
    return json.loads((CASES / pipeline / "golden.json").read_text(encoding="utf-8"))


def variants():
    return [(pipeline, variant) for pipeline in PIPELINES for variant in golden(pipeline)["resize"]]


def driver_of(pipeline, variant, engine, folder):
    """The pipeline on a copy of its default model with the variant's ``ResizeImage``."""
    recorded = golden(pipeline)
    model = ModelStore().resolve(recorded["model"])
    for path in Path(model.directory).iterdir():
        if path.name != "inference.yml":
            (folder / path.name).symlink_to(path)
    described = yaml.safe_load(Path(model.directory, "inference.yml").read_text(encoding="utf-8"))
    for operation in described["PreProcess"]["transform_ops"]:
        if "ResizeImage" in operation and recorded["resize"][variant]:
            operation["ResizeImage"] = recorded["resize"][variant]
    (folder / "inference.yml").write_text(yaml.safe_dump(described), encoding="utf-8")
    files = {kind: str(folder / Path(path).name) for kind, path in model.files.items()}
    changed = msgspec.structs.replace(model, directory=str(folder), files=files)
    config = config_of(pipeline, engine)
    return Driver(msgspec.structs.replace(config, models={"classification": changed}))


def read(driver, generation, name, request):
    """``categories`` of an input as (id, name, score)."""
    image = cv2.imread(str(CASES / "image_classification" / name), cv2.IMREAD_COLOR)
    return [tuple(entry.values()) for entry in answer(driver, generation, request, image)["categories"]]


def check(found, case):
    """Equal classes in equal order, but for neighbours whose scores are equal to within the bound."""
    assert len(found) == case["count"]
    for (index, name, score), (_, expected_name, expected_score) in zip(
        found, case["categories"], strict=False
    ):
        assert score == pytest.approx(expected_score, abs=SCORE)
        if name != expected_name:
            (near,) = [entry for entry in case["categories"] if entry[0] == index]
            assert near[2] == pytest.approx(expected_score, abs=SCORE / 10)


@pytest.mark.engine
@pytest.mark.parametrize(
    ("pipeline", "variant", "engine"),
    [(*case, "onnxruntime") for case in variants()]
    + [(pipeline, "own", "openvino") for pipeline in PIPELINES],
)
def test_answers_are_those_of_paddlex(pipeline, variant, engine, tmp_path):
    cases = [case for case in golden(pipeline)["cases"] if case["variant"] == variant]
    assert len({case["input"] for case in cases}) == 9
    with driver_of(pipeline, variant, engine, tmp_path) as driver:
        for case in cases:
            check(read(driver, "v3", case["input"], case["request"]), case)


@pytest.mark.engine
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_the_2024_generation_resizes_with_opencv_whatever_the_model_says(pipeline, tmp_path):
    cases = [case for case in golden(pipeline)["cases"] if case["variant"] == "own" and not case["request"]]
    with driver_of(pipeline, "pil", "onnxruntime", tmp_path) as driver:
        for case in cases:
            found = read(driver, "2024", case["input"], {})
            check(found, case)
            assert all(score == round(score, 5) for *_, score in found)


def test_the_inputs_make_a_difference():
    """Each pipeline's cases name several classes, and resizing in another way changes scores."""
    for pipeline in PIPELINES:
        cases = golden(pipeline)["cases"]
        first = {case["categories"][0][1] for case in cases if case["categories"]}
        assert len(first) >= 3
        scores = {}
        for case in cases:
            if case["categories"]:
                scores.setdefault(case["input"], set()).add(case["categories"][0][2])
        assert max(np.ptp(list(found)) for found in scores.values()) > 100 * SCORE
