"""A YAML or a model folder of the operator's is read as data, or refused in one line with exit code 2."""

import os
import pickle

import pytest

from pipelines.core.errors import ConfigError
from pipelines.core.models import ModelStore
from server.cli import main

#: What would be left behind by code that somebody hid in a file.
MARK = "was_here"

TAGS = (
    "!!python/object/apply:os.mkdir [{mark}]",
    "!!python/object/new:os.mkdir [{mark}]",
    "!!python/name:os.mkdir",
    "!!python/module:os",
)


class Hidden:
    """A pickle of this makes a folder when it is loaded."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (self.mark,)


def refusal(capsys, *argv):
    """What the command line says of it, in one line."""
    assert main([*map(str, argv)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.strip().splitlines()
    assert "Traceback" not in line
    return line


@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_in_a_pipeline_yaml_makes_no_object(tmp_path, capsys, tag):
    path = tmp_path / "p.yaml"
    path.write_text("pipeline_name: OCR\nSubModules: " + tag.format(mark=tmp_path / MARK))
    assert "is not YAML" in refusal(capsys, "--pipeline", path)
    assert not (tmp_path / MARK).exists()


@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_in_a_model_folder_makes_no_object(tmp_path, tag):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "inference.onnx").write_bytes(b"")
    (folder / "inference.yml").write_text("Global: " + tag.format(mark=tmp_path / MARK))
    with pytest.raises(ConfigError, match="is not YAML"):
        ModelStore(tmp_path / "cache").resolve("mine", str(folder))
    assert not (tmp_path / MARK).exists()


def test_the_pickle_would_have_done_it(tmp_path):
    pickle.loads(pickle.dumps(Hidden(str(tmp_path / MARK))))
    assert (tmp_path / MARK).exists()


def test_a_pickle_in_a_model_folder_is_not_loaded_even_where_scalers_are_converted(tmp_path, capsys):
    """What converts them reads numbers out of it, and runs nothing."""
    folder, mark = tmp_path / "model", tmp_path / MARK
    folder.mkdir()
    (folder / "inference.yml").write_text("Global: {model_name: mine}\nscale: true\n")
    (folder / "scaler.pkl").write_bytes(pickle.dumps(Hidden(str(mark))))
    assert "cannot be used as a scaler" in refusal(capsys, "models", "convert", folder)
    assert not mark.exists()
    assert not (folder / "scaler.json").exists()
