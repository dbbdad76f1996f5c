"""Peers of the OCR benchmark: what texts have in common, and what happens to a library that cannot run."""

import json
import sys

import pytest

from benchmarks import ocr_peers, peers


@pytest.mark.parametrize(
    ("found", "share"),
    [
        pytest.param([["abc", "de"]], 1.0, id="same"),
        pytest.param([["d e", "a b c"]], 1.0, id="order and spaces"),
        pytest.param([["abc"]], 4 / 5, id="a line less"),
        pytest.param([["xyz", "uv"]], 0.0, id="nothing"),
        pytest.param([[]], 0.0, id="empty"),
    ],
)
def test_agreement_counts_pairs_of_characters(found, share):
    assert ocr_peers.agreement(found, [["abc", "de"]]) == pytest.approx(share)


def test_pages_count_alike():
    assert ocr_peers.agreement([["ab"], []], [["ab"], ["cd", "ef"]]) == pytest.approx(0.5)
    assert ocr_peers.agreement([[]], [[]]) == 1.0


@pytest.fixture
def runs(monkeypatch, tmp_path):
    """Libraries that say what they are told to; no environment is built, no model is looked for."""
    script = tmp_path / "benchmarks" / "library_ocr.py"
    script.parent.mkdir()
    script.write_text(
        "import json, sys\n"
        "name = sys.argv[1]\n"
        "if 'lite' in name: raise SystemExit('no such library')\n"
        "texts = [['abc']] if 'rapid' in name else [['abc', 'de']]\n"
        "found = {'load_s': 1.0, 'seconds': [0.5, 1.5], 'texts': texts, 'peak_rss_mib': 99.0}\n"
        "print('noise'); print(json.dumps(found))\n"
    )
    monkeypatch.setattr(ocr_peers, "ROOT", tmp_path)
    monkeypatch.setattr(ocr_peers, "models_folder", lambda folder: folder)
    monkeypatch.setattr(peers, "environment", lambda folder, name, requirements, interpreter: sys.executable)
    names = {"ours onnxruntime": "", "rapidocr onnxruntime": "rapidocr", "rapidocrlite fast": "rapidocr"}
    monkeypatch.setattr(ocr_peers, "LIBRARIES", names)


def test_rows_have_figures_or_the_reason(runs, tmp_path):
    ours, rapid, lite = ocr_peers.libraries(tmp_path / "peers", [b"png"], 1)
    assert (ours["agreement"], ours["lines"], ours["seconds"]["mean"]) == (1.0, 2, 1.0)
    assert rapid["agreement"] == pytest.approx(4 / 5)
    assert "no such library" in lite["error"]
    text = ocr_peers.report_text([ours, rapid, lite])
    assert "| rapidocr onnxruntime" in text and "rapidocrlite fast: not measured: exit code 1" in text
    assert json.dumps([ours, rapid, lite])


def test_a_python_that_is_not_there_is_the_reason(monkeypatch):
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match=r"Python 3\.99 is not installed"):
        ocr_peers._interpreter("3.99")
    assert ocr_peers._interpreter("") == sys.executable
