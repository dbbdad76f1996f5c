import json

import cv2
import msgspec
import numpy as np
import pytest

from pipelines.core.box_rules import Boxes, BoxRules
from pipelines.core.config import PipelineConfig, ServingOptions
from pipelines.core.detection_api import DetectionForm, DetectionForm2024, DetectionOptions
from pipelines.core.errors import ConfigError
from pipelines.core.forms import Page, Reply
from pipelines.core.registry import load_pipeline
from pipelines.core.yaml_config import from_document
from server.config import Config
from server.decode import endpoints

ROWS = np.array([[41, 0.75, 10.25, 20, 60.5, 80], [0, 0.5, 5, 5, 5, 90]], np.float32)
LAYOUT = {
    "layout_nms": True,
    "layout_unclip_ratio": {1: [1.5, 1.0]},
    "layout_merge_bboxes_mode": {0: "large", 3: "union"},
}


def config(options=None, module="object_detection"):
    raw = msgspec.to_builtins(options or DetectionOptions())
    sent = msgspec.json.decode(msgspec.json.encode(raw))  # as it comes to a process
    return PipelineConfig(module, module, "v3", sent, {}, {}, ServingOptions())


def document(submodule="ObjectDetection", name="object_detection", **keys):
    module = {"module_name": name, "model_name": "PicoDet-S", "model_dir": None, "batch_size": 1}
    return {"pipeline_name": name, "SubModules": {submodule: {**module, **keys}}}


def options(**keys):
    return msgspec.convert(from_document(document(**keys)).options, DetectionOptions, str_keys=True)


def asked(form, body, options=None):
    request = msgspec.json.decode(json.dumps({"image": "", **body}), type=form.request)
    return request, form.params(request, config(options))


def answer(form, body, **reply):
    request, params = asked(form, body)
    pixels = np.full((100, 120, 3), 255, np.uint8)
    page = Page(Boxes(ROWS, ["cup", "person"]), 120, 100, pixels if reply["visualize"] else None)
    return form.respond(Reply(request, params, config(), [page], data_info=None, font=lambda: "", **reply))


def test_the_yaml_of_paddlex_changes_nothing():
    assert options(img_size=None, threshold=None) == DetectionOptions()
    small = document("SmallObjectDetection", "small_object_detection", threshold=0.5)
    assert from_document(small).options == msgspec.to_builtins(DetectionOptions(BoxRules(0.5)))


def test_every_key_of_the_yaml_is_read():
    read = options(threshold={0: 0.3, 7: 1}, img_size=[320, 640], **LAYOUT)
    rules = BoxRules({0: 0.3, 7: 1.0}, True, {1: (1.5, 1.0)}, {0: "large", 3: "union"})
    assert read == DetectionOptions(rules, (320, 640))
    assert options(img_size=640, layout_unclip_ratio=1.2).img_size == (640, 640)
    assert options(layout_unclip_ratio=1.2).rules.layout_unclip_ratio == (1.2, 1.2)
    assert DetectionOptions.of(config(read)) == read


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"threshold": "high"}, "ObjectDetection.threshold must be a number"),
        ({"threshold": {"a": 0.5}}, "threshold must have class ids as keys, not 'a'"),
        ({"threshold": float("nan")}, "threshold must be a number, not nan"),
        ({"img_size": [1, 2, 3]}, "img_size must be one or two numbers"),
        ({"img_size": 0}, "img_size must be one or two numbers"),
        ({"layout_nms": 1.5}, "layout_nms must be true or false"),
        ({"layout_unclip_ratio": "2"}, "layout_unclip_ratio must be a number"),
        ({"layout_merge_bboxes_mode": "largest"}, "must be one of union, large, small, not 'largest'"),
        ({"max_boxes": 3}, "unknown key SubModules.ObjectDetection.max_boxes"),
    ],
)
def test_a_wrong_value_in_the_yaml_is_named(keys, message):
    with pytest.raises(ConfigError, match=message):
        options(**keys)


def test_a_2024_yaml_names_a_model():
    read = from_document(
        {
            "Global": {"pipeline_name": "object_detection", "input": "a.jpg"},
            "Pipeline": {"model": "PicoDet-S", "batch_size": 1, "device": "gpu:0"},
        }
    )
    assert read.models["object_detection"].name == "PicoDet-S"
    assert msgspec.convert(read.options, DetectionOptions) == DetectionOptions()


@pytest.mark.parametrize(
    ("sent", "taken"), [(0.3, 0.3), (0, 0.0), ({"0": 0.5, "12": 0}, {0: 0.5, 12: 0.0}), (None, 0.7)]
)
def test_the_threshold_of_the_request_goes_first(sent, taken):
    own = DetectionOptions(BoxRules(threshold=0.7, layout_nms=True))
    _, params = asked(DetectionForm(), {"threshold": sent}, own)
    assert params == BoxRules(threshold=taken, layout_nms=True)


def test_2024_takes_the_threshold_of_the_yaml_and_no_layout_rules():
    own = DetectionOptions(BoxRules(threshold=0.7))
    assert asked(DetectionForm2024(), {"inferenceParams": {}}, own)[1] == BoxRules(threshold=0.7, v3=False)


@pytest.mark.parametrize("form", [DetectionForm(), DetectionForm2024()])
def test_objects_have_paddlexs_fields_in_its_order(form):
    (first, _) = answer(form, {}, visualize=False)["detectedObjects"]
    assert list(first.items()) == [
        ("bbox", [10.25, 20.0, 60.5, 80.0]), ("categoryId", 41), ("categoryName", "cup"), ("score", 0.75),
    ]  # fmt: skip


def test_without_visualize_no_picture_is_sent():
    assert "image" not in answer(DetectionForm(), {}, visualize=False)


@pytest.mark.parametrize("form", [DetectionForm(), DetectionForm2024()])
def test_the_picture_is_as_large_as_the_input_and_shows_the_boxes(form):
    encoded = answer(form, {}, visualize=True)["image"]
    picture = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (100, 120, 3)
    line = picture[50, 10:13].astype(int)  # the left side of the cup's frame: red on white
    assert (line[:, 2] - line[:, 0]).max() > 100


def test_the_small_detector_gives_its_old_route_to_the_general_one():
    small, general = config(module="small_object_detection"), config()
    for pipelines in ((small, general), (general, small)):
        routes = endpoints(Config(pipelines=pipelines, devices=()))
        assert routes["/object-detection"].config is general
        assert routes["/small-object-detection"].config is small
    assert set(endpoints(Config(pipelines=(small,), devices=()))) == {
        "/small-object-detection",
        "/object-detection",
    }


def test_only_the_general_detector_repeats_a_log_id():
    general, small = load_pipeline("object_detection"), load_pipeline("small_object_detection")
    assert [operation.echoes_log_id for operation in (*general.operations, *small.operations)] == [
        True,
        False,
        False,
    ]
