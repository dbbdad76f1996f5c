"""The fake engine answers by rule, each input on its own, and fails as told."""

import json
import signal
import subprocess
import sys
import zlib

import numpy as np
import pytest

from pipelines.core.config import ModelFiles
from pipelines.core.errors import EngineError
from pipelines.engines.base import EngineOptions
from pipelines.engines.fake import ENGINE


@pytest.fixture
def load(tmp_path):
    def build(threads=1, **content):
        path = tmp_path / "fake.json"
        path.write_text(json.dumps(content))
        return ENGINE(ModelFiles("m", str(tmp_path), {"fake": str(path)}), EngineOptions(threads=threads))

    return build


def batch(count, width=64, seed=0):
    return np.random.default_rng(seed).random((count, 3, 48, width), np.float32)


def test_detection_marks_dark_pixels_of_the_image_before_normalisation(load):
    engine = load(kind="text_detection", scale=[1 / 255] * 3, shift=[-0.5] * 3)
    image = np.full((2, 3, 32, 32), 255, np.float32)
    image[1, :, 8:16, 4:20] = 30
    (prob,) = engine.run({"x": image / 255 - 0.5})
    assert prob.shape == (2, 1, 32, 32) and prob.dtype == np.float32
    assert prob[0].sum() == 0
    assert prob[1, 0, 8:16, 4:20].min() == 1.0 and prob.sum() == 8 * 16


def spelled(row):
    best = row.argmax(axis=1)
    return "".join(f"{c - 1:x}" for c, before in zip(best, [0, *best], strict=False) if c and c != before)


@pytest.mark.parametrize(("width", "digits"), [(64, 4), (128, 8), (320, 8), (8, 0)])
def test_recognition_spells_the_checksum_whatever_its_neighbours(load, width, digits):
    engine = load(kind="text_recognition", classes=18)
    inputs = batch(3, width)
    (probs,) = engine.run({"x": inputs})
    assert probs.shape == (3, width // 8, 18)
    for row, one in zip(probs, inputs, strict=True):
        assert spelled(row) == f"{zlib.crc32(one.tobytes()):08x}"[:digits]
        (single,) = engine.run({"x": one[None]})
        assert np.array_equal(single[0], row)


def test_classification_answers_by_checksum_or_as_told(load):
    inputs = batch(4)
    (scores,) = load(kind="classification", classes=4).run({"x": inputs})
    assert scores.argmax(axis=1).tolist() == [zlib.crc32(one.tobytes()) % 4 for one in inputs]
    assert np.allclose(scores.sum(axis=1), 1.0)
    (scores,) = load(kind="classification", classes=4, answer=3).run({"x": inputs})
    assert scores.argmax(axis=1).tolist() == [3, 3, 3, 3]


def test_a_fault_happens_to_its_colour_only(load):
    fault = {"pixel": [10, 20, 30], "action": "raise"}
    engine = load(kind="classification", scale=[2.0, 2.0, 2.0], shift=[1.0, 1.0, 1.0], faults=[fault])
    image = np.zeros((1, 3, 8, 8), np.float32)
    engine.run({"x": image})
    image[0, :, 0, 0] = np.array([11, 19, 30]) * 2 + 1
    with pytest.raises(RuntimeError, match="asked for"):
        engine.run({"x": image})


def test_error_is_an_engine_error_and_slow_and_allocate_answer(load):
    faults = [
        {"pixel": [50, 50, 50], "action": "error"},
        {"pixel": [60, 60, 60], "action": "slow", "amount": 1},
        {"pixel": [70, 70, 70], "action": "allocate", "amount": 1000},
    ]
    engine = load(kind="classification", faults=faults)
    with pytest.raises(EngineError):
        engine.run({"x": np.full((1, 3, 4, 4), 50, np.float32)})
    for value in (60, 70):
        (scores,) = engine.run({"x": np.full((1, 3, 4, 4), value, np.float32)})
        assert scores.shape == (1, 2)


CODE = """
import json, sys
import numpy as np
from pipelines.core.config import ModelFiles
from pipelines.engines.base import EngineOptions
from pipelines.engines.fake import ENGINE
files = ModelFiles("m", "", {"fake": sys.argv[1]})
ENGINE(files, EngineOptions()).run({"x": np.full((1, 3, 4, 4), 50, np.float32)})
"""


@pytest.mark.parametrize(
    ("action", "code"), [("abort", -signal.SIGABRT), ("segv", -signal.SIGSEGV), ("exit", 7)]
)
def test_faults_that_end_the_process(tmp_path, action, code):
    path = tmp_path / "fake.json"
    fault = {"pixel": [50, 50, 50], "action": action, "amount": 7}
    path.write_text(json.dumps({"kind": "classification", "faults": [fault]}))
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(path)], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == code


@pytest.mark.parametrize(
    "content", [pytest.param({}, id="no kind"), pytest.param({"kind": "tea"}, id="unknown kind")]
)
def test_a_wrong_model_is_refused(load, content):
    with pytest.raises(EngineError, match="no fake model"):
        load(**content)


@pytest.mark.parametrize(
    "tensor",
    [
        pytest.param(np.zeros((3, 4, 4), np.float32), id="rank"),
        pytest.param(np.zeros((1, 3, 4, 4), np.float64), id="dtype"),
        pytest.param(np.zeros((1, 3, 4, 8), np.float32)[..., ::2], id="not contiguous"),
    ],
)
def test_a_wrong_tensor_is_refused(load, tensor):
    with pytest.raises(EngineError):
        load(kind="classification").run({"x": tensor})


def test_a_sibling_has_the_same_answers_and_more_threads_are_faster(load):
    engine = load(kind="classification", classes=9, delay_ms=40)
    sibling = engine.sibling(4)
    inputs = batch(1)
    assert np.array_equal(engine.run({"x": inputs})[0], sibling.run({"x": inputs})[0])
    assert sibling.delay_ms == 10 and engine.delay_ms == 40
