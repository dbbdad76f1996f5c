"""Both pipelines: parameters of both generations, YAMLs of both layouts, what is answered."""

import msgspec
import numpy as np
import pytest

from pipelines.core.classification_api import Categories
from pipelines.core.config import PipelineConfig
from pipelines.core.errors import BadRequest, ConfigError
from pipelines.core.forms import Page, Reply
from pipelines.core.registry import find_pipeline, load_pipeline
from pipelines.image_classification import ImageClassification
from pipelines.image_multilabel_classification import ImageMultiLabelClassification

V3, BETA = 0, 1


def config(cls, **options):
    (name, *_) = cls.names
    return PipelineConfig(
        find_pipeline(name), name, "v3", msgspec.to_builtins(cls.options()) | options, {}, {}
    )


def form(cls, generation):
    return cls.operations[0].forms[generation]


def params(cls, generation, options=None, **fields):
    made = form(cls, generation)
    return made.params(msgspec.convert({"image": "", **fields}, made.request), config(cls, **(options or {})))


def respond(cls, generation, found, pixels=None):
    made = form(cls, generation)
    request = msgspec.convert({"image": ""}, made.request)
    reply = Reply(request, None, config(cls), [Page(found, 4, 4, pixels)], pixels is not None, None, no_font)
    return made.respond(reply)


def no_font():
    raise OSError("no font")


def test_the_2024_name_of_the_multi_label_pipeline_leads_to_it():
    assert load_pipeline(find_pipeline("multi_label_image_classification")) is ImageMultiLabelClassification


@pytest.mark.parametrize(
    ("generation", "options", "fields", "topk", "most"),
    [
        pytest.param(V3, {}, {}, 5, 0, id="configured"),
        pytest.param(V3, {"topk": 3}, {}, 3, 0, id="configured otherwise"),
        pytest.param(V3, {"topk": 0}, {}, 0, 0, id="the model's own"),
        pytest.param(V3, {}, {"topk": 9}, 9, 0, id="asked for"),
        pytest.param(BETA, {}, {}, 0, 0, id="2024"),
        pytest.param(BETA, {}, {"inferenceParams": {"topK": 2}}, 0, 2, id="2024 asked for"),
        pytest.param(BETA, {}, {"inferenceParams": {"topK": None}}, 0, 0, id="2024 null"),
        pytest.param(BETA, {}, {"inferenceParams": None}, 0, 0, id="2024 no parameters"),
    ],
)
def test_how_many_classes_are_reported(generation, options, fields, topk, most):
    found = params(ImageClassification, generation, options, **fields)
    assert (found.topk, found.most, found.linear) == (topk, most, generation == BETA)


@pytest.mark.parametrize("topk", [0, -1, 2**54, 1.5, "many"])
def test_a_number_of_classes_that_cannot_be_is_refused(topk):
    for generation, fields in ((V3, {"topk": topk}), (BETA, {"inferenceParams": {"topK": topk}})):
        with pytest.raises(msgspec.ValidationError):
            params(ImageClassification, generation, **fields)


def test_thresholds_of_a_request():
    assert params(ImageMultiLabelClassification, V3).thresholds is None
    assert params(ImageMultiLabelClassification, V3, threshold=0).thresholds.default == 0
    found = params(ImageMultiLabelClassification, V3, threshold={"default": 0.5, "2": 0.1}).thresholds
    np.testing.assert_allclose(found.limits(3), [0.5, 0.5, 0.1])
    assert params(ImageMultiLabelClassification, V3, threshold=[0.1, 0.2]).thresholds.values == (0.1, 0.2)
    beta = params(ImageMultiLabelClassification, BETA)
    assert beta.thresholds is None and beta.as_2024


@pytest.mark.parametrize("threshold", [{"0": 0.5}, {"default": 0.5, "cat": 0.5}, []])
def test_thresholds_that_cannot_be_are_refused(threshold):
    with pytest.raises(BadRequest, match=r"^threshold: "):
        params(ImageMultiLabelClassification, V3, threshold=threshold)


@pytest.mark.parametrize(
    ("generation", "expected"),
    [pytest.param(V3, 0.912339985370636, id="v3"), pytest.param(BETA, 0.91234, id="2024")],
)
def test_scores_are_rounded_in_the_precision_of_the_generation(generation, expected):
    found = Categories([7], ["cat"], [float(np.float32(0.912341))])
    answer = respond(ImageClassification, generation, found)
    assert answer == {"categories": [{"id": 7, "name": "cat", "score": expected}]}


def test_multi_label_scores_are_exact_decimals_in_both_generations():
    found = Categories([7, 1], ["cat", "dog"], [float(np.float32(0.912341)), 0.5])
    for generation in (V3, BETA):
        scores = [
            row["score"] for row in respond(ImageMultiLabelClassification, generation, found)["categories"]
        ]
        assert scores == [0.91234, 0.5]


@pytest.mark.parametrize("cls", [ImageClassification, ImageMultiLabelClassification])
def test_a_picture_is_made_of_pixels_only(cls):
    found = Categories([0], ["cat"], [0.5])
    assert "image" not in respond(cls, V3, found)
    assert respond(cls, V3, found, np.zeros((4, 4, 3), np.uint8))["image"][:2] == b"\xff\xd8"
    assert form(cls, BETA).visualize(None, config(cls))


def yaml_of(cls, **module):
    submodule = cls.roles["classification"].submodule
    return {
        "pipeline_name": cls.names[0],
        "SubModules": {submodule: {"model_name": "m", "batch_size": 4, **module}},
    }


def test_settings_of_a_yaml():
    parse = ImageClassification.parse_yaml
    assert parse(yaml_of(ImageClassification, topk=3), "v3") == {"topk": 3}
    assert parse(yaml_of(ImageClassification), "v3") == {"topk": 0}
    assert parse({"Global": {}, "Pipeline": {"model": "m", "batch_size": 1}}, "2024") == {"topk": 0}
    parse = ImageMultiLabelClassification.parse_yaml
    assert parse(yaml_of(ImageMultiLabelClassification), "v3") == {"threshold": None}
    found = parse(yaml_of(ImageMultiLabelClassification, threshold={"default": 0.4, 1: 0.2}), "v3")
    own = msgspec.convert(found, ImageMultiLabelClassification.options).threshold
    np.testing.assert_allclose(own.limits(2), [0.4, 0.2])


@pytest.mark.parametrize(
    ("cls", "module", "words"),
    [
        (ImageClassification, {"topk": 0}, "SubModules.ImageClassification.topk"),
        (ImageClassification, {"top_k": 1}, "unknown key SubModules.ImageClassification.top_k"),
        (ImageMultiLabelClassification, {"threshold": "low"}, "Classification.threshold: must be a number"),
        (ImageMultiLabelClassification, {"threshold": {3: 0.1}}, "must have the key `default`"),
        (ImageMultiLabelClassification, {"topk": 1}, "unknown key"),
    ],
)
def test_a_wrong_setting_of_a_yaml_is_named(cls, module, words):
    with pytest.raises(ConfigError, match=words):
        cls.parse_yaml(yaml_of(cls, **module), "v3")
