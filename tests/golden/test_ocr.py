"""OCR against PaddleX 3.7.2: what it answered to ``tests/cases/ocr`` (``tests/cases/record_ocr.py``).

A missing engine fails here: the extra ``test`` brings all three, and a skipped golden test proves nothing.
"""

import base64
import json
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest

from benchmarks import padding, pages
from pipelines.core.registry import load_engine
from server.config import Config, DeviceConfig
from server.liveness import Policy
from tests.driver import Driver, Remembered, config_of
from tests.golden.answers import answer, assert_close
from tests.harness import Server

CASES = Path(__file__).resolve().parents[1] / "cases" / "ocr"
MODELS = {"text_detection": "PP-OCRv4_mobile_det", "text_recognition": "PP-OCRv4_mobile_rec"}
#: The cases were recorded without page and line orientation.
OPTIONS = {"use_doc_preprocessor": False, "use_textline_orientation": False}
ORIENTATION = ("doc_orientation", "textline_orientation")

#: Of all lines of all cases, read with another engine than the recorded ones.
EQUAL_LINES = 0.995


class Case(NamedTuple):
    """One recorded answer."""

    input: Path
    generation: str
    request: dict
    result: dict


def recorded():
    for path in sorted(path for path in CASES.iterdir() if path.suffix != ".json"):
        document = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        for number, case in enumerate(document["cases"]):
            yield pytest.param(Case(path, **case), id=f"{path.stem}-{case['generation']}-{number}")


ALL = list(recorded())
#: Documents have several pages; they are answered by the real server below.
IMAGES = [case for case in ALL if case.values[0].input.suffix in (".png", ".jpg")]
DEFAULTS = [case.values[0] for case in IMAGES if not case.values[0].request]
#: Through HTTP: documents, every way to store pixels, one input with parameters, both generations.
SERVED_INPUTS = (
    "two_pages.pdf", "two_frames.tiff", "exif_turned.jpg", "see_through.png", "grey_16bit.png",
    "one_pixel.png", "empty_page.png", "tiny.png", "chinese_small.jpg",
)  # fmt: skip
SERVED = [case for case in ALL if case.values[0].input.name in SERVED_INPUTS]


def config_with(engine, padding):
    assert load_engine(engine).available() is None, "the extra 'test' brings every engine"
    return config_of("OCR", engine, padding=padding, models=MODELS, options=OPTIONS, leave_out=ORIENTATION)


def read(driver, case):
    """What a driver answers to a case."""
    image = cv2.imdecode(np.fromfile(case.input, np.uint8), cv2.IMREAD_COLOR)
    return answer(driver, case.generation, case.request, image)


def lines(result):
    """(polygon, text, score) of every line of either generation."""
    if "texts" in result:
        return [(line["poly"], line["text"], line["score"]) for line in result["texts"]]
    found = []
    for page in result["ocrResults"]:
        pruned = page["prunedResult"]
        found += zip(pruned["rec_polys"], pruned["rec_texts"], pruned["rec_scores"], strict=True)
    return found


def centre(polygon):
    return np.mean(polygon, axis=0)


def equal_lines(found, expected):
    """(equal lines, lines) where every line is compared with the nearest one of the other side."""
    ours, theirs = lines(found), lines(expected)
    equal = 0
    for polygon, text, _ in theirs:
        nearest = min(ours, key=lambda line: np.abs(centre(line[0]) - centre(polygon)).sum(), default=None)
        equal += nearest is not None and nearest[1] == text
    return equal, max(len(ours), len(theirs))


@pytest.fixture(scope="module")
def paddle_exact():
    """The cases of one input differ in what is made of equal tensors."""
    with Driver(config_with("paddle", "exact"), Remembered()) as driver:
        yield driver


@pytest.mark.engine
@pytest.mark.parametrize("case", IMAGES)
def test_paddle_engine_answers_what_paddlex_answered(paddle_exact, case):
    assert_close(read(paddle_exact, case), case.result)


@pytest.mark.engine
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_other_engines_read_the_same_lines(engine):
    missed, total = [], 0
    with Driver(config_with(engine, "exact"), Remembered()) as driver:
        for case in DEFAULTS:
            equal, count = equal_lines(read(driver, case), case.result)
            total += count
            if equal < count:
                missed.append((case.input.name, case.generation, count - equal))
    share = 1 - sum(count for *_, count in missed) / total
    assert share >= EQUAL_LINES, f"{share:.2%} of {total} lines: {missed}"


@pytest.mark.engine
def test_tight_padding_reads_no_worse():
    """It is the default because of this: fewer errors against what was drawn, and only spaces differ."""
    total = padding.compare("openvino", pages.SHEETS[:2])[-1]
    assert total["tight_errors"] <= total["exact_errors"]
    assert total["differ_solid"] == 0


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    config = Config(
        pipelines=(config_with("paddle", "exact"),),
        devices=(DeviceConfig(threads=2, all_threads=2),),
        host="127.0.0.1",
        drain_grace_ms=0,
    )
    with Server(config, tmp_path_factory.mktemp("golden"), Policy()) as running:
        running.wait_ready(60)
        yield running


@pytest.mark.engine
@pytest.mark.parametrize("case", SERVED)
def test_served_answers_are_what_paddlex_served(server, case):
    file = base64.b64encode(case.input.read_bytes()).decode()
    if case.generation == "v3":
        kind = 0 if case.input.suffix == ".pdf" else 1
        body = {"file": file, "fileType": kind, "visualize": False, **case.request}
    else:
        body = {"image": file}
    status, envelope = server.post(json.dumps(body).encode(), timeout=60)
    assert status == 200, envelope
    result = envelope["result"]
    if case.generation == "2024":
        assert result.pop("image")
    assert_close(result, case.result)
