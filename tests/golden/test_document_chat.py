"""The visual step of document chat against PaddleX 3.7.2 (``tests/cases/record_visual.py``), same weights.

Texts, blocks, tables and ``visualInfo`` must be equal; numbers have the tolerances of the table cases.
"""

import html
import json
from pathlib import Path

import cv2
import msgspec
import numpy as np
import orjson
import pytest

from benchmarks import peers
from pipelines.core.base import Item
from pipelines.core.forms import Page, Reply
from pipelines.core.registry import load_engine
from tests.driver import Driver, config_of

CASES = Path(__file__).resolve().parents[1] / "cases" / "pp_chatocrv3_doc"
READING = {"text_detection": peers.DETECTION, "text_recognition": peers.RECOGNITION}
#: Corners and scores: the engines of two versions differ in the last digits, whole pixels may tip over.
BOX_PX, SCORE = 1.0, 0.02
PLACES = ("dt_polys", "rec_polys", "rec_boxes", "coordinate", "cell_box_list", "block_bbox")


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
    with Driver(msgspec.structs.replace(config, engines=engines)) as running:
        yield running


def answer(driver, path, request):
    """``result`` of a case, as the server writes it, without pictures."""
    operation = driver.pipeline.operations[0]
    (form,) = operation.forms
    body = msgspec.convert({"file": "", **request}, form.request)
    params, image = form.params(body, driver.config), cv2.imread(str(path))
    (found,) = driver(Item(params=params, image=image))
    if isinstance(found, Exception):
        raise found
    height, width = image.shape[:2]
    info = {"width": width, "height": height, "type": "image"}
    reply = Reply(body, params, driver.config, [Page(found, width, height)], False, info, lambda: "")
    return json.loads(orjson.dumps(form.respond(reply), option=orjson.OPT_SERIALIZE_NUMPY))


def assert_close(found, expected, where="result"):
    """Recursive comparison; names and order of keys must agree too. PaddleX does not escape its texts."""
    if isinstance(expected, dict):
        assert list(found) == list(expected), where
        for key, value in expected.items():
            assert_close(found[key], value, f"{where}.{key}")
    elif where.rpartition(".")[2] in PLACES:
        assert np.shape(found) == np.shape(expected), where
        assert np.abs(np.subtract(found, expected)).max(initial=0) <= BOX_PX, where
    elif where.endswith(("score", "scores")):
        assert found == pytest.approx(expected, abs=SCORE), where
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for place, value in enumerate(expected):
            assert_close(found[place], value, f"{where}[{place}]")
    elif isinstance(expected, str):
        assert html.unescape(found) == expected, where
    else:
        assert found == expected, where


@pytest.mark.engine
@pytest.mark.parametrize(("path", "request_", "result"), ALL)
def test_pages_are_what_paddlex_answered(driver, path, request_, result):
    found = answer(driver, path, request_)
    assert list(found) == ["layoutParsingResults", "visualInfo", "dataInfo"]
    assert_close({key: found[key] for key in result}, result)


def test_the_cases_have_tables_and_texts_of_both_languages():
    infos = [info for case in ALL for info in case.values[2]["visualInfo"]]
    assert sum(len(info["table_html_list"]) for info in infos) >= 2
    assert any("销售方" in str(info) for info in infos) and any("Seller" in str(info) for info in infos)
