"""Scalers that real libraries wrote (``tests/cases/record_scalers.py``), and pickles that are none."""

import base64
import json
import pickle
import shutil
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipelines.core import scalers
from pipelines.core.config import ModelFiles
from pipelines.core.errors import ConfigError
from pipelines.core.models import ModelStore
from pipelines.core.pickle_notes import MOST_STEPS
from pipelines.core.pickled_scaler import read
from pipelines.core.scalers import convert, read_scaler, with_scaler
from server.build import build_config
from server.cli import main
from server.options import parse

CASES = json.loads((Path(__file__).resolve().parents[2] / "cases" / "scalers.json").read_text("utf-8"))
GOOD = next(base64.b64decode(case["file"]) for case in CASES if case["name"] == "standard, named columns")
FORMS = [
    pytest.param(case, id=f"{case['name']}-{case['how']}-{case['version'].split()[1]}") for case in CASES
]


def folder(path, content):
    (path / "inference.yml").write_text(yaml.safe_dump({"Global": {"model_name": "DLinear"}, "scale": True}))
    (path / "scaler.pkl").write_bytes(content)
    return path


@pytest.mark.parametrize("case", FORMS)
def test_a_real_scaler_gives_the_numbers_that_it_scales_by(case):
    found = read(base64.b64decode(case["file"]))
    if "rows" not in case:
        reason = {"clipped": "clips", "not fitted": "not fitted", "robust": "RobustScaler"}[case["name"]]
        assert reason in found["error"]
        return
    scaled = (np.array(case["rows"]) - found["mean"]) / found["scale"]
    np.testing.assert_allclose(scaled, case["scaled"], rtol=1e-6, atol=1e-6)
    assert found["columns"] == case["columns"]


def test_convert_writes_what_the_server_reads(tmp_path, capsys):
    assert main(["models", "convert", str(folder(tmp_path, GOOD))]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'scaler.json'}  3 columns: a, b c, Größe\n"
    found = read(GOOD)
    assert [*read_scaler(tmp_path / "scaler.json").mean] == found["mean"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["inference.yml", "scaler.json", "scaler.pkl"]
    assert main(["models", "convert", str(tmp_path)]) == 2
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [[], ["/nowhere"]])
def test_convert_without_a_scaler_is_one_line(argv, capsys):
    assert main(["models", "convert", *argv]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_pickle_alone_is_refused_with_both_ways_out(tmp_path):
    model = ModelFiles("DLinear", str(folder(tmp_path, GOOD)), {})
    with pytest.raises(ConfigError, match=r"models convert .*or start with --allow_pickle_scaler"):
        with_scaler(model, allowed=False, cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_what_is_allowed_is_made_once_in_the_cache_and_not_beside_the_model(tmp_path, monkeypatch):
    model = ModelFiles("DLinear", str(folder(tmp_path, GOOD)), {"onnx": "x"})
    made = with_scaler(model, allowed=True, cache=tmp_path / "cache").files
    assert [*read_scaler(Path(made["scaler"])).columns] == ["a", "b c", "Größe"]
    assert not (tmp_path / "scaler.json").exists()
    monkeypatch.delattr(scalers, "_unpickled")
    assert with_scaler(model, allowed=True, cache=tmp_path / "cache").files == made


@pytest.mark.parametrize("without", ["scale", "pickle"])
def test_a_model_that_needs_no_pickle_is_left_alone(tmp_path, without):
    model = ModelFiles("DLinear", str(folder(tmp_path, b"anything")), {})
    if without == "scale":
        (tmp_path / "inference.yml").write_text("Global: {model_name: DLinear}")
    else:
        (tmp_path / "scaler.json").write_text("{}")
    assert with_scaler(model, allowed=False, cache=tmp_path) is model


def test_a_server_starts_on_a_pickle_only_when_it_is_told_to(tmp_path, capsys):
    store = ModelStore(tmp_path / "cache")
    model = shutil.copytree(store.resolve("ts_forecast_dlinear_co2").directory, tmp_path / "model")
    (model / "scaler.json").unlink()
    (model / "scaler.pkl").write_bytes(GOOD)
    module = {"module_name": "ts_forecast", "model_name": "DLinear", "model_dir": str(model)}
    yml = tmp_path / "pipeline.yml"
    yml.write_text(yaml.safe_dump({"pipeline_name": "ts_forecast", "SubModules": {"TSForecast": module}}))
    argv = ["--pipeline", str(yml), "--device", "cpu", "--port", "0", "--cache_dir", str(tmp_path / "cache")]
    assert main(argv) == 2
    assert capsys.readouterr().err.count("\n") == 1
    config = build_config(parse([*argv, "--allow_pickle_scaler"]), store)
    (served,) = config.pipelines[0].models.values()
    assert [*read_scaler(Path(served.files["scaler"])).mean] == read(GOOD)["mean"]


class Runs:
    """An object whose pickle calls something when it is loaded."""

    def __init__(self, call, *arguments):
        self.call = call, arguments

    def __reduce__(self):
        return self.call


def wild(tmp_path):
    """Pickles that would do something, or would like to."""
    import os
    import subprocess

    mark = tmp_path / "ran"
    yield "system", pickle.dumps(Runs(os.system, f"touch {mark}")), "it names 'posix.system'"
    yield "open", pickle.dumps(Runs(open, str(mark), "w")), "it names 'io.open'"
    yield "eval", pickle.dumps(Runs(eval, f"open({str(mark)!r}, 'w')"), 2), "it names '__builtin__.eval'"
    yield "child", pickle.dumps(Runs(subprocess.check_output, ["touch", str(mark)])), "check_output'"
    yield "in a scaler", GOOD.replace(b"StandardScaler", b"FunctionTransf"), "FunctionTransf'"
    attribute = b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93."
    yield "attribute of a known one", attribute, "it names 'numpy.ndarray.tofile'"
    yield "protocol 0", b"cposix\nsystem\n(S'x'\ntR.", "no pickle of protocol 2 or later"
    yield "instance", b"\x80\x02(iposix\nsystem\n.", "an instruction INST"
    yield "from outside", b"\x80\x02Pid\n.", "an instruction PERSID"
    yield "extension", b"\x80\x02\x82\x01.", "an instruction EXT1"


def test_nothing_of_a_pickle_is_run(tmp_path):
    for name, content, reason in wild(tmp_path):
        place = tmp_path / name
        place.mkdir()
        with pytest.raises(ConfigError) as refused:
            convert(folder(place, content))
        assert reason in str(refused.value), name
        assert not (place / "scaler.json").exists()
    assert not (tmp_path / "ran").exists()


NEST = b"\x80\x04)" + b"\x85" * 300_000 + b"."
#: Two of the one before, 200 times.
DOUBLED = b"\x80\x02(]q\x00" + b"".join(b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(200)) + b"t."
#: An array of 2**59 numbers, of which three are there.
HUGE = GOOD.replace(b"K\x03\x85", b"\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x08\x85")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(NEST, "neither a StandardScaler nor a MinMaxScaler", id="nested"),
        pytest.param(DOUBLED, "neither a StandardScaler nor a MinMaxScaler", id="doubled-200-times"),
        pytest.param(b"\x80\x04" + b"N" * (2 * MOST_STEPS) + b".", "more than 400000 inst", id="long"),
        pytest.param(b"\x80\x04" + b"(" * MOST_STEPS, "more than 400000 inst", id="marks"),
        pytest.param(b"\x80\x04\x8e" + b"\xff" * 8, "is damaged", id="a-text-of-2**64-bytes"),
        pytest.param(HUGE, "it is cut short", id="an-array-of-2**59-numbers"),
        pytest.param(b"\x80\x04]" + b"\x94h\x00a" * 99_999 + b".", "neither a", id="a-list-of-itself"),
        pytest.param(b"\x80\x02" + b"L" + b"9" * 100_000 + b"L\n.", "is damaged", id="digits"),
        pytest.param(b"", "no pickle", id="empty"),
        pytest.param(b"\x1f\x8b" + GOOD, "compressed", id="gzip"),
        pytest.param(b"\x80\x04" + bytes(4 << 20), "larger than 4 MiB", id="large"),
    ],
)  # fmt: skip
def test_a_bomb_is_refused_quickly_and_with_little_memory(tmp_path, content, reason):
    started = time.process_time()
    with pytest.raises(ConfigError, match=reason):
        convert(folder(tmp_path, content))
    assert time.process_time() - started < 2  # of this process, which only waits


def test_what_takes_the_child_too_long_or_too_much_is_refused(tmp_path, monkeypatch):
    folder(tmp_path, GOOD)
    for child in ("while True: pass", "import os; os.abort()", "print('{')"):
        monkeypatch.setattr(scalers, "_CHILD", child)
        monkeypatch.setattr(scalers, "_CHILD_S", 0.2)
        with pytest.raises(ConfigError, match=r"more than 0 s|too much time or memory"):
            convert(tmp_path)


def test_a_scaler_cut_short_anywhere_is_refused():
    for size in range(len(GOOD)):
        assert read(GOOD[:size]).keys() == {"error"}, size


def test_no_change_of_a_byte_does_more_than_change_an_answer():
    for place in range(len(GOOD)):
        for change in (0x01, 0x80, 0xFF):
            changed = bytearray(GOOD)
            changed[place] ^= change
            answer = read(bytes(changed))
            assert answer.keys() in ({"error"}, {"columns", "mean", "scale"})


def test_a_scaler_of_ten_thousand_columns_fits(tmp_path, monkeypatch):
    module = types.ModuleType("sklearn.preprocessing._data")
    scaler = type("StandardScaler", (), {"__module__": module.__name__})
    module.StandardScaler = scaler
    for name in ("sklearn", "sklearn.preprocessing", module.__name__):
        monkeypatch.setitem(sys.modules, name, module)
    wide, numbers = scaler(), np.arange(1.0, 10_001.0)
    names = np.array([f"column {n}" for n in range(len(numbers))], dtype=object)
    wide.__dict__ |= {"mean_": -numbers, "scale_": numbers, "feature_names_in_": names}
    path, found = convert(folder(tmp_path, pickle.dumps(wide, 4)))
    assert found.columns == tuple(names) and found.scale == tuple(numbers)
    assert read_scaler(path).mean == tuple(-numbers)
