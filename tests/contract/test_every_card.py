"""Every card is true: its wheels are on PyPI, its files fit together. Fetches into the user's own cache."""

import json
import sys
from pathlib import Path

import cv2
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


CASES = Path(__file__).parents[1] / "cases"
#: What every card answered to ``feeds_of`` on ONNX Runtime 1.32.0: elements, mean and deviation per output.
ANSWERS = json.loads((CASES / "cards.json").read_text())
#: Pictures in which the models of a task find something; the others see a person.
PICTURES = {
    "small_object_detection": "object_detection/montage.jpg",
    "layout_detection": "ocr/mixed_table.png",
    "table_structure_recognition": "ocr/mixed_table.png",
    "text_detection": "ocr/mixed_table.png",
    "text_recognition": "ocr/big_title.png",
    "textline_orientation": "ocr/big_title.png",
}


def picture(task, width, height):
    """[1, 3, height, width] float32, ImageNet-normalised."""
    image = cv2.imread(str(CASES / PICTURES.get(task, "object_detection/astronaut.jpg")))
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)[..., ::-1]
    scaled = (image / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None], np.float32)


def feeds_of(engine, task):
    """A picture and the sizes that go with it, or a sine for a series and ones for its mask; batch 1."""
    feeds = {}
    for spec in engine.inputs:
        shape = (1, *spec.shape[1:])
        if spec.dtype == "int64":  # tokens, their mask, their kind
            feeds[spec.name] = np.ones((1, 8), np.int64)
        elif len(shape) == 4:
            height, width = (side if side > 0 else SIDES[task][i] for i, side in enumerate(shape[2:]))
            feeds[spec.name] = picture(task, width, height)
        elif len(shape) == 3:
            feeds[spec.name] = np.sin(np.arange(np.prod(shape)) / 9).reshape(shape).astype(np.float32)
        else:
            feeds[spec.name] = np.full(shape, 256 if spec.name == "im_shape" else 1, np.float32)
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
    found = [[result.size, result.mean(), result.std()] for result in results]
    assert np.allclose(found, ANSWERS[name], rtol=1e-3, atol=1e-5)


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


def embedding(results, described):
    assert results[0].shape == (1, 384)
    assert np.linalg.norm(results[0]) == pytest.approx(1, abs=1e-5)


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
    "text_embedding": embedding,
    "text_recognition": characters,
    "textline_orientation": labels,
    "ts_anomaly_detection": reconstruction,
    "ts_classification": classes,
    "ts_forecast": forecast,
}
