"""The model store: descriptions, the cache, listing, the font."""

import os
from pathlib import Path

import pytest
import yaml

from pipelines.core import wheels
from pipelines.core.cards import card_names, load_card
from pipelines.core.errors import ConfigError
from pipelines.core.models import ModelStore
from tests.shelf import leftovers, sha256
from tests.tiny import onnx_model

#: Characters that YAML or str.splitlines would take for something else.
ALPHABET = [*"a~1:#'\"é漢😀", "null", " -", "\u3000", "\u2028", "\x85", "\ufeff"]


class TestDescription:
    def rec_card(self, shelf, file, data, kind):
        shelf.wheel(
            "rec==1", {"m": onnx_model([("other", "x"), ("character", "\n".join(ALPHABET))]), "k": data}
        )
        members = {"inference.onnx": ("m", onnx_model([("other", "x"), ("character", "\n".join(ALPHABET))]))}
        if kind == "lines":
            members[file] = ("k", data)
        shelf.card("rec", {"rec==1": members}, characters={"file": file, "kind": kind})

    @pytest.mark.parametrize("kind", ["lines", "metadata"])
    @pytest.mark.parametrize("loader", ["SafeLoader", "CSafeLoader"])
    def test_the_alphabet_survives(self, store, shelf, kind, loader):
        file = "inference.onnx" if kind == "metadata" else "keys.txt"
        self.rec_card(shelf, file, ("\n".join(ALPHABET) + "\n").encode(), kind)
        model = store.resolve("rec")
        with Path(model.directory, "inference.yml").open("rb") as opened:
            found = yaml.load(opened, Loader=getattr(yaml, loader))
        assert found["PostProcess"] == {"name": "X", "character_dict": ALPHABET}
        assert found["Global"] == {"model_name": "rec"}

    def test_metadata_that_is_not_there(self, store, shelf):
        shelf.card(
            "rec",
            {"pk==1.0": {"inference.onnx": ("pk/rec.onnx", onnx_model())}},
            characters={"file": "inference.onnx", "kind": "metadata"},
        )
        with pytest.raises(ConfigError, match="no metadata 'character'"):
            store.resolve("rec")
        assert leftovers(store.root) == []


class TestCache:
    def test_a_newer_time_alone_changes_nothing(self, store, shelf):
        model = store.resolve("model_a")
        os.utime(model.files["onnx"], (1, 1))
        assert store.resolve("model_a") == model
        assert len(shelf.calls) == 1

    def test_a_changed_file_is_set_up_again(self, store, shelf):
        model = store.resolve("model_a")
        Path(model.directory, "inference.yml").write_text("Global: {model_name: other}\n")
        again = store.resolve("model_a")
        assert again == model
        assert "model_a" in Path(model.directory, "inference.yml").read_text()
        assert len(shelf.calls) == 1  # the weights were still right

    def test_changed_weights_are_fetched_again(self, store, shelf):
        model = store.resolve("model_a")
        with Path(model.files["onnx"]).open("r+b") as file:  # in place: the hard-linked blob changes as well
            file.write(b"ZZZ")
        os.utime(model.files["onnx"], (1, 1))
        assert Path(store.resolve("model_a").files["onnx"]).read_bytes() == b"AAA"
        assert len(shelf.calls) == 2

    def test_a_missing_file_is_set_up_again(self, store, shelf):
        model = store.resolve("model_a")
        Path(model.files["onnx"]).unlink()
        assert store.resolve("model_a") == model

    def test_a_new_card_replaces_the_folder(self, store, shelf):
        store.resolve("model_a")
        shelf.card("model_a", {"pk==1.0": {"inference.onnx": ("pk/b.onnx", b"BBBB")}})
        assert Path(store.resolve("model_a").files["onnx"]).read_bytes() == b"BBBB"

    def test_a_half_made_folder_is_not_used(self, store, shelf):
        folder = store.root / "models" / "model_a"
        folder.mkdir(parents=True)
        (folder / "inference.onnx").write_bytes(b"A")
        assert Path(store.resolve("model_a").files["onnx"]).read_bytes() == b"AAA"

    def test_a_change_that_keeps_size_and_time_is_found_at_the_start(self, store, shelf):
        model = store.resolve("model_a")
        store.resolve("model_b")
        status = Path(model.files["onnx"]).stat()
        with Path(model.files["onnx"]).open("r+b") as file:
            file.write(b"ZZZ")
        os.utime(model.files["onnx"], ns=(status.st_atime_ns, status.st_mtime_ns))
        states = {listed.name: listed.state for listed in store.verify()}
        assert states == {"model_a": "changed: inference.onnx", "model_b": "ready"}
        assert Path(store.resolve("model_a").files["onnx"]).read_bytes() == b"AAA"

    def test_list(self, store, shelf):
        store.resolve("model_b")
        listed = [(each.name, each.state, each.origin) for each in store.list()]
        assert listed == [("model_a", "not fetched", "pk==1.0"), ("model_b", "ready", "pk==1.0")]

    def test_a_cache_that_cannot_be_written(self, shelf, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(OSError):
            ModelStore(tmp_path / "file" / "cache", pip=shelf.pip).resolve("model_a")


def test_the_font_is_fetched_once(shelf, tmp_path, monkeypatch):
    from pipelines.core import models
    from pipelines.core.fonts import FontWheel

    font = FontWheel("fonts", "3", 100, "f/sans.ttf", 4, sha256(b"font"), "OFL-1.1")
    monkeypatch.setattr(models, "CJK_FONT", font)
    shelf.wheel("fonts==3", {"f/sans.ttf": b"font"})
    store = ModelStore(tmp_path / "cache", pip=shelf.pip)
    assert Path(store.font()).read_bytes() == b"font"
    assert store.font() == store.font()
    assert len(shelf.calls) == 1


def test_pip_that_is_not_installed(shelf, tmp_path, monkeypatch):
    monkeypatch.setattr(wheels.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="python -m ensurepip"):
        ModelStore(tmp_path / "cache").resolve("model_a")


def test_a_malformed_card_is_named(shelf, store):
    (shelf.cards / "model_a.yml").write_text("task: t\nlicence: x\nwheels: []\ninference: {}\nextra: 1\n")
    with pytest.raises(ConfigError, match="malformed model card model_a"):
        store.resolve("model_a")


@pytest.mark.parametrize("name", card_names())
def test_the_cards_that_ship(name):
    card, _ = load_card(name)
    if card.wheels:
        assert card.inference["Global"]["model_name"] == name
    assert set(card.licence.split(" AND ")) <= {"Apache-2.0", "BSD-3-Clause", "CC0-1.0", "MIT"}
    files = [file for wheel in card.wheels for file in wheel.members]
    assert len(files) == len(set(files))
    assert all(len(m.sha256) == 64 and m.bytes > 0 for w in card.wheels for m in w.members.values())
    assert all(len(packed.sha256) == 64 for packed in card.package.values())
    assert not any(file.endswith((".pkl", ".pickle")) for file in (*files, *card.package))
    if card.characters:
        assert card.characters.file in files
