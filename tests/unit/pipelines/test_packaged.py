"""Models out of this package: parts, digests, and that the package stays as it is."""

from pathlib import Path

import pytest
import yaml

from pipelines.core import packaged
from pipelines.core.cards import Card, card_names, load_card
from pipelines.core.errors import ConfigError
from pipelines.core.packaged import weights_folder
from tests.shelf import leftovers, sha256

DESCRIPTION = b"Global: {model_name: PP-Official}\n"


@pytest.fixture
def weights(tmp_path, shelf, monkeypatch):
    """The folder of the weights, with one model of two parts."""
    folder = tmp_path / "weights"
    (folder / "starter").mkdir(parents=True)
    (folder / "starter" / "graph.onnx").write_bytes(b"GRAPH")
    (folder / "starter" / "weights.onnx").write_bytes(b"WEIGHTS")
    (folder / "starter" / "inference.yml").write_bytes(DESCRIPTION)
    card = {
        "task": "t",
        "licence": "MIT",
        "starter": True,
        "package": {
            "inference.onnx": {
                "parts": ["starter/graph.onnx", "starter/weights.onnx"],
                "sha256": sha256(b"GRAPHWEIGHTS"),
            },
            "inference.yml": {"parts": ["starter/inference.yml"], "sha256": sha256(DESCRIPTION)},
        },
    }
    (shelf.cards / "starter.yml").write_text(yaml.safe_dump(card))
    monkeypatch.setattr(packaged, "weights_folder", lambda: folder)
    return folder


def test_the_name_is_that_of_the_card(store, shelf, weights):
    model = store.resolve("starter")
    assert model.name == "starter"
    assert model.source == "this package: a starter model"
    assert Path(model.files["onnx"]).read_bytes() == b"GRAPHWEIGHTS"
    assert Path(model.directory, "inference.yml").read_bytes() == DESCRIPTION
    assert model.sha256 == {"inference.onnx": sha256(b"GRAPHWEIGHTS"), "inference.yml": sha256(DESCRIPTION)}
    assert shelf.calls == []


def test_writing_to_the_cache_leaves_the_package_alone(store, weights):
    model = store.resolve("starter")
    for path in Path(model.directory).glob("inference.*"):
        path.write_bytes(b"overwritten")
    assert (weights / "starter" / "inference.yml").read_bytes() == DESCRIPTION
    assert Path(store.resolve("starter").files["onnx"]).read_bytes() == b"GRAPHWEIGHTS"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), r"this installation lacks pipelines/weights/starter/weights\.onnx"),
        (
            lambda path: path.write_bytes(b"weights"),
            r"graph\.onnx \+ starter/weights\.onnx has sha256 [0-9a-f]{64}",
        ),
    ],
    ids=["missing", "changed"],
)
def test_a_damaged_installation(store, weights, damage, message):
    damage(weights / "starter" / "weights.onnx")
    with pytest.raises(ConfigError, match=message):
        store.resolve("starter")
    assert leftovers(store.root) == []
    assert not (store.root / "models" / "starter").exists()


def test_list_and_verify(store, weights):
    listed = {each.name: (each.state, each.origin) for each in store.list()}
    assert listed["starter"] == ("not fetched", "this package")
    Path(store.resolve("starter").files["onnx"]).write_bytes(b"GRAPHWEIGHT5")
    assert {each.name: each.state for each in store.verify()} == {"starter": "changed: inference.onnx"}


PACKED = {"inference.onnx": {"parts": ["a"], "sha256": "0"}}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "either in wheels or in this package"),
        ({"package": PACKED}, "either in the card or in this package"),
        (
            {"package": PACKED | {"inference.yml": PACKED["inference.onnx"]}, "inference": {"Global": {}}},
            "either in the card or in this package",
        ),
    ],
    ids=["no-place", "no-description", "two-descriptions"],
)
def test_a_card_that_says_too_little_or_too_much(shelf, more, message):
    (shelf.cards / "wrong.yml").write_text(yaml.safe_dump({"task": "t", "licence": "MIT"} | more))
    with pytest.raises(ConfigError, match=f"malformed model card wrong: .*{message}"):
        load_card("wrong")


def test_every_file_of_the_package_belongs_to_a_card():
    cards: list[Card] = [load_card(name)[0] for name in card_names()]
    used = {part for card in cards for packed in card.package.values() for part in packed.parts}
    kinds = {".onnx", ".json", ".yml"}
    there = {
        str(path.relative_to(weights_folder()))
        for path in weights_folder().rglob("*")
        if path.suffix in kinds
    }
    assert there == used
