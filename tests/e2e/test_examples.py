"""The programs of ``examples/`` as people run them (``ask_document.py``: ``test_document_chat.py``)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes import RightAnswers, page, png

pytestmark = pytest.mark.usefixtures("clean")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def right(server):
    return RightAnswers(server.config)


@pytest.fixture
def example(server):
    """Runs one; the finished process."""

    def run(name, *words, where="--url={}"):
        url = where.format(f"http://127.0.0.1:{server.port}")
        return subprocess.run(
            [sys.executable, ROOT / "examples" / name, *words, url],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def test_client_ocr(example, right, tmp_path):
    file = tmp_path / "page.png"
    file.write_bytes(png(page(1)))
    done = example("client_ocr.py", file)
    head, *lines = done.stdout.splitlines()
    assert (done.returncode, head) == (0, f"# {file}, page 1: 3 lines"), done.stderr
    assert [line.split()[1] for line in lines] == right.texts(page(1))


def test_batch_folder_names_what_is_refused_and_goes_on_where_it_was(example, right, tmp_path):
    for seed in range(4):
        (tmp_path / f"{seed}.png").write_bytes(png(page(seed)))
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    (tmp_path / "notes.txt").write_text("left alone")
    done = example("batch_folder.py", tmp_path, "--at_once", "3")
    assert (done.returncode, done.stdout) == (1, "4 of 5 files read\n"), done.stderr
    assert done.stderr.startswith("broken.jpg: 422: Invalid input file")
    assert len(list(tmp_path.iterdir())) == 6 + 4
    for seed in range(4):
        found = json.loads((tmp_path / f"{seed}.png.json").read_text())
        assert found["ocrResults"][0]["prunedResult"]["rec_texts"] == right.texts(page(seed))
    (tmp_path / "2.png.json").unlink()
    (tmp_path / "broken.jpg").unlink()
    again = example("batch_folder.py", tmp_path)
    assert (again.returncode, again.stdout) == (0, "1 of 1 files read\n"), again.stderr


def test_raw_file(example, right, tmp_path):
    file = tmp_path / "page.png"
    file.write_bytes(png(page(2)))
    done = example("raw_file.py", "/ocr", file, "visualize=false", "textDetThresh=0.4", where="url={}")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["ocrResults"][0]["prunedResult"]
    assert (found["rec_texts"], found["text_det_params"]["thresh"]) == (right.texts(page(2)), 0.4)
    file.write_bytes(b"no image")
    refused = example("raw_file.py", "/ocr", file, where="url={}")
    assert refused.returncode == 1
    assert refused.stderr.startswith("422: Invalid input file")
