"""Holds the starters in Paddle's format, on the Paddle engine, to the golden cases of the image pipelines.

    python tests/cases/check_paddle.py MODELS

MODELS holds the starter models in Paddle's format (docs/models.md says how they are built). The repository
has them as ONNX only, so that the tests compare ONNX Runtime and OpenVINO; this is the same comparison with
the same bounds for the third engine. Ends with the first difference, else prints how much was compared.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from pipelines.core.config import PipelineConfig  # noqa: E402
from pipelines.core.models import resolve  # noqa: E402
from pipelines.core.registry import find_pipeline, load_pipeline  # noqa: E402
from pipelines.core.yaml_config import from_document  # noqa: E402
from tests.driver import Driver, config_of  # noqa: E402
from tests.golden import test_classification, test_detection, test_segmentation  # noqa: E402
from tests.golden.answers import answer  # noqa: E402

ENGINE = "paddle"


def on_paddle(config: PipelineConfig, folder: Path) -> PipelineConfig:
    """The same pipeline on the one model in ``folder``."""
    (role,) = load_pipeline(find_pipeline(config.title)).roles
    return msgspec.structs.replace(config, models={role: resolve(str(folder))}, engines={role: ENGINE})


def segmentation(models: Path, pipeline: str) -> int:
    """Labels, anomalies or instances; cases of the starter."""
    cases = [parameter.values[0] for parameter in test_segmentation.cases(pipeline, starter=True)]
    roles = tuple(load_pipeline(find_pipeline(pipeline)).roles)
    config = on_paddle(config_of(pipeline, leave_out=roles), models / cases[0]["model"])
    with Driver(config) as driver:
        for case in cases:
            result = test_segmentation.read(driver, pipeline, case)
            if "instances" in result:
                test_segmentation.check_instances(result, case)
            else:
                test_segmentation.check_map(result, case, pipeline)
    return len(cases)


def classification(models: Path, pipeline: str) -> int:
    """Classes and scores; cases of the model's own resize."""
    recorded = test_classification.golden(pipeline)
    cases = [case for case in recorded["cases"] if case["variant"] == "own"]
    config = config_of(pipeline, leave_out=("classification",))
    with Driver(on_paddle(config, models / recorded["model"])) as driver:
        for case in cases:
            found = test_classification.read(driver, "v3", case["input"], case["request"])
            test_classification.check(found, case)
    return len(cases)


def detection(models: Path, run: str) -> int:
    """Objects of one recorded pipeline YAML."""
    record = test_detection.recorded(run)
    document: dict[str, Any] = yaml.safe_load(record["yaml"])
    if run == "small":  # as in the test
        document["SubModules"]["SmallObjectDetection"]["threshold"] = None
    spec = from_document(document)
    ((_, choice),) = spec.models.items()
    config = PipelineConfig(spec.name, spec.title, spec.generation, spec.options, {}, {})
    cases = [case for case in record["cases"] if case["objects"]]  # PaddlePaddle fails where nothing is found
    with Driver(on_paddle(config, models / choice.directory)) as driver:
        for case in cases:
            image = cv2.imdecode(np.fromfile(test_detection.FOLDER / case["input"], np.uint8), 1)
            result = answer(driver, "v3", case["request"], image)
            test_detection.check_equal(result["detectedObjects"], case["objects"])
    return len(cases)


def main() -> None:
    models = Path(sys.argv[1]).resolve()
    for pipeline in ("semantic_segmentation", "anomaly_detection", "instance_segmentation"):
        print(pipeline, segmentation(models, pipeline), "answers are PaddleX's", flush=True)
    for pipeline in test_classification.PIPELINES:
        print(pipeline, classification(models, pipeline), "answers are PaddleX's", flush=True)
    for run in test_detection.RUNS:
        print("detection,", run, detection(models, run), "answers are PaddleX's", flush=True)


if __name__ == "__main__":
    main()
