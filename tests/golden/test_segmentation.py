"""Labels, anomalies and instances against PaddleX 3.7.2 (``tests/cases/record_segmentation.py``)."""

import base64
import json
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
import yaml

from kernels.masks import decode_mask
from pipelines.core.config import ModelFiles
from tests.driver import Driver, Remembered, config_of
from tests.golden.answers import answer

CASES = Path(__file__).resolve().parents[1] / "cases"
EQUAL_PIXELS, MASK_IOU, SCORE, BOX_PX, HALF_PX = 0.9999, 0.999, 1e-4, 0.5, 1e-3
#: Mean distance of two JPEGs of the same picture from different encoders, grey levels.
JPEG = 2.0


def golden(pipeline):
    return json.loads((CASES / pipeline / "golden.json").read_text(encoding="utf-8"))


def cases(pipeline, *, starter):
    return [
        pytest.param(case, id=f"{number:02}-{case['variant']}-{Path(case['input']).stem}")
        for number, case in enumerate(golden(pipeline)["cases"])
        if bool(case["model"]) == starter
    ]


def read(driver, pipeline, case):
    """What a driver answers to a case."""
    image = cv2.imread(str(CASES / pipeline / case["input"]), cv2.IMREAD_COLOR)
    return answer(driver, "v3", case["request"], image)


def check_map(result, case, pipeline):
    expected = cv2.imread(str(CASES / pipeline / "golden" / case["labels"]), cv2.IMREAD_UNCHANGED)
    assert result["size"] == case["size"] == list(expected.shape)
    assert np.mean(np.array(result["labelMap"]) == expected.ravel()) >= EQUAL_PIXELS
    assert ("image" in result) == ("picture" in case)
    if "picture" in case:
        theirs = cv2.imread(str(CASES / pipeline / "golden" / case["picture"]))
        ours = cv2.imdecode(np.frombuffer(base64.b64decode(result["image"]), np.uint8), cv2.IMREAD_COLOR)
        assert ours.shape == theirs.shape and np.abs(ours.astype(int) - theirs).mean() < JPEG


def mask_of(instance):
    height, width = instance["mask"]["size"]
    columns = np.empty((width, height), np.uint8)
    decode_mask(instance["mask"]["rleResult"].encode(), columns)
    return columns.T.astype(bool)


def check_instances(result, case):
    ours, theirs = result["instances"], case["instances"]
    assert [each["categoryName"] for each in ours] == [each["categoryName"] for each in theirs]
    assert [each["categoryId"] for each in ours] == [each["categoryId"] for each in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert list(mine) == list(other)
        assert mine["score"] == pytest.approx(other["score"], abs=SCORE)
        assert np.abs(np.subtract(mine["bbox"], other["bbox"])).max() <= BOX_PX
        first, second = common_part(mine, other)
        assert (first & second).sum() >= MASK_IOU * (first | second).sum()


def common_part(mine, other):
    """Both masks where both boxes are. The boxes are equal in whole pixels, but for a corner that lies so
    close to half a pixel that the last digits of a float decide about its rounding."""
    boxes = np.array([mine["bbox"], other["bbox"]])
    whole = np.rint(boxes).astype(int)
    apart = whole[0] != whole[1]
    assert (np.abs(boxes % 1 - 0.5)[:, apart] < HALF_PX).all()
    left, top = whole[:, :2].max(axis=0)
    right, bottom = whole[:, 2:].min(axis=0)
    for each, (x, y, x2, y2) in zip((mine, other), whole, strict=True):
        assert each["mask"]["size"] == [y2 - y, x2 - x]
        yield mask_of(each)[top - y : bottom - y, left - x : right - x]


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def engine(request):
    return request.param


@pytest.fixture(scope="module")
def drivers(engine):
    """The default model of each pipeline on one engine, loaded when asked for."""
    made = {}

    def driver(pipeline):
        if pipeline not in made:
            made[pipeline] = Driver(config_of(pipeline, engine), Remembered())
        return made[pipeline]

    yield driver
    for each in made.values():
        each.__exit__()


@pytest.mark.engine
@pytest.mark.parametrize("case", cases("semantic_segmentation", starter=True))
def test_labels_are_paddlexs(drivers, case):
    pipeline = "semantic_segmentation"
    check_map(read(drivers(pipeline), pipeline, case), case, pipeline)


@pytest.mark.engine
@pytest.mark.parametrize("case", cases("anomaly_detection", starter=True))
def test_anomalies_are_paddlexs(drivers, case):
    check_map(read(drivers("anomaly_detection"), "anomaly_detection", case), case, "anomaly_detection")


@pytest.mark.engine
@pytest.mark.parametrize("case", cases("instance_segmentation", starter=True))
def test_instances_are_paddlexs(drivers, case):
    check_instances(read(drivers("instance_segmentation"), "instance_segmentation", case), case)


@pytest.fixture(scope="module")
def strongest(tmp_path_factory):
    """``(variant) -> Driver`` of the network of one convolution, which takes pictures of any size."""
    made = {}

    def driver(variant):
        if variant not in made:
            folder = tmp_path_factory.mktemp(variant)
            described = {
                "Global": {"model_name": "PP-LiteSeg-T"},
                "Deploy": {"transforms": golden("semantic_segmentation")["transforms"][variant]},
            }
            (folder / "inference.yml").write_text(yaml.safe_dump(described))
            source = CASES / "semantic_segmentation" / "strongest"
            files = {"pdmodel": "inference.pdmodel", "params": "inference.pdiparams"}
            files = {kind: str(source / name) for kind, name in files.items()}
            model = ModelFiles("PP-LiteSeg-T", str(folder), files)
            config = config_of("semantic_segmentation", "paddle")
            made[variant] = Driver(msgspec.structs.replace(config, models={"segmentation": model}))
        return made[variant]

    yield driver
    for each in made.values():
        each.__exit__()


@pytest.mark.engine
@pytest.mark.parametrize("case", cases("semantic_segmentation", starter=False))
def test_sizes_are_paddlexs(strongest, case):
    """Every rule of a model's Resize, and what a request makes of it: labels at the picture's size."""
    pipeline = "semantic_segmentation"
    check_map(read(strongest(case["variant"]), pipeline, case), case, pipeline)
