"""The visual step of document chat against PaddleX 3.7.2 (``tests/cases/record_visual.py``), same weights.

Texts, blocks, tables and ``visualInfo`` must be equal; numbers have the tolerances of the table cases.
"""

import json
from pathlib import Path

import cv2
import msgspec
import pytest

from benchmarks import peers
from pipelines.core.registry import load_engine
from tests.driver import Driver, Remembered, config_of
from tests.golden.answers import answer, assert_close

CASES = Path(__file__).resolve().parents[1] / "cases" / "pp_chatocrv3_doc"
READING = {"text_detection": peers.DETECTION, "text_recognition": peers.RECOGNITION}


def recorded():
    for path in sorted(CASES.glob("*.png")):
        for number, case in enumerate(json.loads(path.with_suffix(".json").read_text("utf-8"))["cases"]):
            yield pytest.param(path, case["request"], case["result"], id=f"{path.stem}-{number}")


ALL = list(recorded())


@pytest.fixture(scope="module")
def driver():
    """Reading on PaddlePaddle; layout and structure on ONNX Runtime, as they were recorded."""
    assert load_engine("paddle").available() is None, "the extra 'test' brings every engine"
    config = config_of(
        "PP-ChatOCRv3-doc", "paddle", padding="exact", models=READING,
        options={"use_doc_preprocessor": False}, leave_out=("doc_orientation", "embedding"),
    )  # fmt: skip
    engines = config.engines | dict.fromkeys(("layout", "table_structure"), "onnxruntime")
    with Driver(msgspec.structs.replace(config, engines=engines), Remembered()) as running:
        yield running


@pytest.mark.engine
@pytest.mark.parametrize(("path", "request_", "result"), ALL)
def test_pages_are_what_paddlex_answered(driver, path, request_, result):
    found = answer(driver, "v3", request_, cv2.imread(str(path)))
    assert list(found) == ["layoutParsingResults", "visualInfo", "dataInfo"]
    assert_close({key: found[key] for key in result}, result, escaped=("",))


def test_the_cases_have_tables_and_texts_of_both_languages():
    infos = [info for case in ALL for info in case.values[2]["visualInfo"]]
    assert sum(len(info["table_html_list"]) for info in infos) >= 2
    assert any("销售方" in str(info) for info in infos) and any("Seller" in str(info) for info in infos)
