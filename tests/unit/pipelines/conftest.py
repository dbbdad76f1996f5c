"""A model store whose cards, wheels and pip belong to the test."""

import pytest

from pipelines.core import cards
from pipelines.core.hubs import Hubs
from pipelines.core.models import ModelStore
from tests.shelf import Shelf
from tests.tiny import onnx_model

#: Nobody listens on port 9.
NOWHERE = Hubs(("bos",), {"bos": "http://127.0.0.1:9"})


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    made = Shelf(tmp_path)
    monkeypatch.setattr(cards, "_folder", lambda: made.cards)
    made.wheel("pk==1.0", {"pk/a.onnx": b"AAA", "pk/b.onnx": b"BBBB", "pk/rec.onnx": onnx_model()})
    made.card("model_a", {"pk==1.0": {"inference.onnx": ("pk/a.onnx", b"AAA")}})
    made.card("model_b", {"pk==1.0": {"inference.onnx": ("pk/b.onnx", b"BBBB")}})
    return made


@pytest.fixture
def store(shelf, tmp_path):
    return ModelStore(tmp_path / "cache", pip=shelf.pip, hubs=NOWHERE)
