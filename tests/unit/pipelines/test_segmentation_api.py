"""The three pipelines that answer with pixels: settings, forms of both generations, bounds."""

import base64

import cv2
import msgspec
import numpy as np
import orjson
import pytest

from pipelines.anomaly_detection import AnomalyDetectionPipeline
from pipelines.core.box_rules import Boxes
from pipelines.core.config import PipelineConfig
from pipelines.core.deploy_transforms import SizeRule
from pipelines.core.errors import BadRequest, ConfigError, EngineError
from pipelines.core.forms import Page, Reply
from pipelines.core.instances import Instances
from pipelines.core.label_maps import LabelMap
from pipelines.instance_segmentation import InstanceParams, InstanceSegmentationPipeline
from pipelines.semantic_segmentation import SemanticSegmentationPipeline
from server import encode
from tests.driver import Stages
from tests.model_dirs import model

NORMALIZE = {"type": "Normalize"}


def config_of(cls, folder=None, transforms=(), **options):
    (role,) = cls.roles
    files = {}
    if folder is not None:
        files[role] = model(folder, {"Deploy": {"transforms": [*transforms, NORMALIZE]}}, "any")
    return PipelineConfig(
        cls.names[0], cls.names[0], "v3", options, files, dict.fromkeys(files, "onnxruntime")
    )


def form_of(cls, generation):
    return next(form for form in cls.operations[0].forms if form.generation == generation)


def params(cls, config, generation="v3", **fields):
    form = form_of(cls, generation)
    return form.params(msgspec.convert({"image": "", **fields}, form.request), config)


def answered(cls, config, generation, found, pixels, visualize, **fields):
    """``result`` as a client sees it."""
    form = form_of(cls, generation)
    request = msgspec.convert({"image": "", **fields}, form.request)
    pages = [Page(found, pixels.shape[1], pixels.shape[0], pixels if visualize else None)]
    reply = Reply(request, form.params(request, config), config, pages, visualize, None, lambda: "/no/font")
    return orjson.loads(encode.success(generation, "id", form.respond(reply)))["result"]


def document(submodule, **keys):
    return {"pipeline_name": "any", "SubModules": {submodule: {"model_name": "any", "batch_size": 2, **keys}}}


# --- settings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "expected"),
    [(None, None), (512, 512), ([512, 256], [512, 256]), (-1, -1)],
    ids=["null", "one side", "two sides", "own size"],
)
def test_target_size_of_a_yaml(size, expected):
    cls = SemanticSegmentationPipeline
    options = cls.parse_yaml(document("SemanticSegmentation", target_size=size), "v3")
    assert options == {"target_size": tuple(expected) if isinstance(expected, list) else expected}
    assert msgspec.convert(options, cls.options)


@pytest.mark.parametrize(
    ("cls", "submodule", "keys", "message"),
    [
        (SemanticSegmentationPipeline, "SemanticSegmentation", {"target_size": 0}, "target_size"),
        (SemanticSegmentationPipeline, "SemanticSegmentation", {"target_size": "big"}, "target_size"),
        (
            SemanticSegmentationPipeline,
            "SemanticSegmentation",
            {"threshold": 1},
            r"unknown key SubModules\.S",
        ),
        (AnomalyDetectionPipeline, "AnomalyDetection", {"threshold": 0.1}, r"unknown key SubModules\.Ano"),
        (InstanceSegmentationPipeline, "InstanceSegmentation", {"img_size": 9}, r"unknown key SubModules\.I"),
        (InstanceSegmentationPipeline, "InstanceSegmentation", {"threshold": "x"}, "threshold"),
        (InstanceSegmentationPipeline, "Instances", {}, r"unknown key SubModules\.Instances"),
    ],
)
def test_a_yaml_that_cannot_be_served_says_where(cls, submodule, keys, message):
    with pytest.raises(ConfigError, match=message):
        cls.parse_yaml(document(submodule, **keys), "v3")


@pytest.mark.parametrize(
    "cls", [SemanticSegmentationPipeline, AnomalyDetectionPipeline, InstanceSegmentationPipeline]
)
def test_a_2024_yaml_names_a_model_and_nothing_else(cls):
    yaml = {"Global": {"pipeline_name": "any"}, "Pipeline": {"model": "x", "batch_size": 1, "device": "gpu"}}
    assert msgspec.convert(cls.parse_yaml(yaml, "2024"), cls.options) == cls.options()
    with pytest.raises(ConfigError, match=r"Pipeline\.threshold"):
        cls.parse_yaml({**yaml, "Pipeline": {"threshold": 1}}, "2024")


# --- sizes ---------------------------------------------------------------------------------------------


def test_the_request_chooses_before_the_yaml_before_the_model(tmp_path):
    cls, resize = SemanticSegmentationPipeline, {"type": "Resize", "target_size": [64, 32]}
    plain = config_of(cls, tmp_path, [resize])
    assert params(cls, plain).size == SizeRule((64, 32))
    assert params(cls, plain, targetSize=96).size == SizeRule((96, 96))
    assert params(cls, plain, targetSize=-1).size == SizeRule(None)
    sized = config_of(cls, tmp_path, [resize], target_size=[128, 256])
    assert params(cls, sized).size == SizeRule((128, 256)) == params(cls, sized, "2024").size
    assert params(cls, sized, targetSize=[96, 64]).size == SizeRule((96, 64))
    with pytest.raises(BadRequest, match="targetSize"):
        params(cls, sized, targetSize=0)


def test_a_label_takes_two_bytes_of_its_slot_at_most(tmp_path):
    cls = SemanticSegmentationPipeline
    own = params(cls, config_of(cls, tmp_path))
    assert cls.result_bytes(own, 3000, 4000) - 2 * 3000 * 4000 in range(1, 4096)
    small = params(cls, config_of(cls, tmp_path), targetSize=256)
    assert cls.result_bytes(small, 3000, 4000) < 2 * 256 * 256 + 4096
    with pytest.raises(BadRequest, match="at most 16777216 pixels"):
        cls.result_bytes(own, 8000, 4000)


def test_a_3x_answer_is_as_large_as_the_picture_a_2024_one_as_the_networks(tmp_path):
    cls = SemanticSegmentationPipeline
    config = config_of(cls, tmp_path, [{"type": "Resize", "target_size": 8, "keep_ratio": False}])
    labels = np.arange(32, dtype=np.uint8).reshape(4, 8)
    pixels = np.zeros((20, 30, 3), np.uint8)
    v3 = answered(cls, config, "v3", LabelMap(labels), pixels, False)
    resized = cv2.resize(labels, (30, 20), interpolation=cv2.INTER_NEAREST)
    assert v3 == {"labelMap": resized.ravel().tolist(), "size": [20, 30]}
    beta = answered(cls, config, "2024", LabelMap(labels), pixels, True)
    assert beta["size"] == [4, 8] and beta["labelMap"] == labels.ravel().tolist()
    drawn = cv2.imdecode(np.frombuffer(base64.b64decode(beta["image"]), np.uint8), cv2.IMREAD_COLOR)
    assert drawn.shape == (4, 8, 3)
    v3_form, beta_form = (form_of(cls, generation) for generation in ("v3", "2024"))
    own = params(cls, config)
    assert beta_form.answer_bytes(own, 3000, 4000) < 8192 < 12_000_000 < v3_form.answer_bytes(own, 3000, 4000)


@pytest.mark.parametrize("generation", ["v3", "2024"])
def test_anomalies_are_answered_at_the_networks_size(tmp_path, generation):
    cls = AnomalyDetectionPipeline
    config = config_of(cls, tmp_path, [{"type": "Resize", "target_size": [8, 4]}])
    mask = np.zeros((4, 8), np.uint8)
    mask[1:3, 2:5] = 255
    result = answered(cls, config, generation, LabelMap(mask), np.zeros((20, 30, 3), np.uint8), True)
    assert result["size"] == [4, 8] and result["labelMap"] == mask.ravel().tolist() and result["image"]
    own = params(cls, config, generation)
    assert cls.result_bytes(own, 3000, 4000) < 8192 and cls.cost_ms(own, 3000, 4000) < 1


# --- instances -------------------------------------------------------------------------------------------


def test_the_threshold_of_the_request_wins_then_that_of_the_yaml():
    cls = InstanceSegmentationPipeline
    assert cls.parse_yaml(document("InstanceSegmentation", threshold=0.7), "v3") == {"threshold": 0.7}
    own = config_of(cls, threshold=0.7)
    assert params(cls, config_of(cls)) == InstanceParams(None, solid=True)
    assert params(cls, own) == InstanceParams(0.7, solid=True)
    assert params(cls, own, threshold=0) == InstanceParams(0.0, solid=True)
    assert params(cls, own, "2024") == InstanceParams(0.7, solid=False)


@pytest.mark.parametrize("generation", ["v3", "2024"])
def test_instances_field_by_field(generation):
    rows = np.array([[1, np.float32(0.9), 1.5, 2.5, 4.5, 6.25]], np.float32)
    found = Instances(Boxes(rows, ["cat"]), [b"01111"], np.array([[4, 2]], np.int32))
    cls = InstanceSegmentationPipeline
    pixels = np.zeros((20, 30, 3), np.uint8)
    result = answered(cls, config_of(cls), generation, found, pixels, False)
    assert result == {
        "instances": [
            {
                "bbox": [1.5, 2.5, 4.5, 6.25],
                "categoryId": 1,
                "categoryName": "cat",
                "score": 0.8999999761581421,
                "mask": {"rleResult": "01111", "size": [4, 2]},
            }
        ]
    }
    found = Instances(Boxes(rows, ["cat"]), [b"08"], np.array([[4, 2]], np.int32))
    assert answered(cls, config_of(cls), generation, found, pixels, True)["image"]
    assert not pixels.any(), "the picture is drawn on a copy"


def test_masks_that_do_not_fit_their_slot_fail_with_words(tmp_path):
    cls = InstanceSegmentationPipeline
    described = {"Preprocess": [{"type": "Permute"}], "label_list": ["cat"]}
    files = {"instance_segmentation": model(tmp_path, described, "any")}
    config = msgspec.structs.replace(
        config_of(cls), models=files, engines={"instance_segmentation": "onnxruntime"}
    )
    pipeline = cls(config, Stages())
    steps = pipeline.steps(pipeline.canary())
    next(steps)
    boxes = Boxes(np.zeros((100, 6), np.float32), ["cat"] * 100)
    with pytest.raises(EngineError, match="the masks of 100 objects take"):
        steps.send([Instances(boxes, [b"0" * 9999] * 100, np.zeros((100, 2), np.int32))])
