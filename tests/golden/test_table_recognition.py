"""What PaddleX 3.7.2 answers to tables, recorded by ``tests/cases/record_table.py`` on the same weights.

The HTML must be equal, cell by cell; PaddleX does not escape its texts. Numbers have the tolerances of
the OCR cases. Reading was recorded on PaddlePaddle; that it runs on ONNX Runtime here changes no text.
"""

import base64
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
from server.config import Config, DeviceConfig
from tests.driver import Driver, config_of
from tests.harness import Server

CASES = Path(__file__).resolve().parents[1] / "cases" / "table_recognition"
READING = {"text_detection": peers.DETECTION, "text_recognition": peers.RECOGNITION}
#: Corners of boxes: the engines of two versions differ in the last digits, whole pixels may tip over.
BOX_PX = 1.0
SCORE = 0.02
#: What holds coordinates in an answer.
PLACES = ("dt_polys", "rec_polys", "rec_boxes", "coordinate", "cell_box_list", "bbox")
#: Inputs without rules, with spans and tilted: what another engine could see differently.
KINDS = ("open", "spans", "tilted")
#: Inputs with a text whose spaces depend on how far its line is padded.
SPACED = ("spans", "two_tables")


def recorded():
    """Every case: input, generation, request, result."""
    for path in sorted(path for path in CASES.iterdir() if path.suffix != ".json"):
        for number, case in enumerate(json.loads(path.with_suffix(".json").read_text("utf-8"))["cases"]):
            name = f"{path.stem}-{case['generation']}-{number}"
            yield pytest.param(path, case["generation"], case["request"], case["result"], id=name)


ALL = list(recorded())
IMAGES = [case for case in ALL if case.values[0].suffix == ".png"]
DEFAULTS = [case for case in IMAGES if case.values[1] == "v3" and not case.values[2]]
#: Over HTTP: a document of several pages.
SERVED = [case for case in ALL if case.values[0].suffix == ".pdf"]


def config_with(engine, padding="exact"):
    """All models on ``engine``, read as they were recorded."""
    return config_of(
        "table_recognition", engine, padding=padding, models=READING,
        options={"use_doc_preprocessor": False}, leave_out=("doc_orientation",),
    )  # fmt: skip


def only(names):
    """Cases with nothing but an input."""
    return [case for case in DEFAULTS if case.values[0].stem in names]


def answer(driver, path, generation, request):
    """``result`` of a case, as the server writes it, without pictures."""
    (operation,) = driver.pipeline.operations
    form = next(form for form in operation.forms if form.generation == generation)
    body = msgspec.convert({"file" if generation == "v3" else "image": "", **request}, form.request)
    params = form.params(body, driver.config)
    image = cv2.imread(str(path))
    (found,) = driver(Item(params=params, image=image))
    if isinstance(found, Exception):
        raise found
    height, width = image.shape[:2]
    info = {"width": width, "height": height, "type": "image"}
    reply = Reply(body, params, driver.config, [Page(found, width, height)], False, info, lambda: "")
    return json.loads(orjson.dumps(form.respond(reply), option=orjson.OPT_SERIALIZE_NUMPY))


def tables(result):
    """HTML of every table of either generation, page after page."""
    if "tables" in result:
        return [table["html"] for table in result["tables"]]
    pages = [page["prunedResult"]["table_res_list"] for page in result["tableRecResults"]]
    return [table["pred_html"] for page in pages for table in page]


def check_equal(found, expected):
    assert [html.unescape(page) for page in tables(found)] == tables(expected)
    assert_close(found, expected, "result")


def assert_close(found, expected, where):
    """Recursive comparison; names and order of keys must agree too."""
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
    elif not where.endswith("html"):
        assert found == expected, where


@pytest.fixture(scope="module")
def onnx_exact():
    with Driver(config_with("onnxruntime")) as driver:
        yield driver


@pytest.mark.parametrize(("path", "generation", "request_", "result"), IMAGES)
def test_tables_are_what_paddlex_answered(onnx_exact, path, generation, request_, result):
    check_equal(answer(onnx_exact, path, generation, request_), result)


@pytest.fixture(scope="module")
def openvino_exact():
    assert load_engine("openvino").available() is None, "the extra 'test' brings every engine"
    with Driver(config_with("openvino")) as driver:
        yield driver


@pytest.mark.engine
@pytest.mark.parametrize(("path", "generation", "request_", "result"), only(KINDS))
def test_openvino_finds_the_same_tables(openvino_exact, path, generation, request_, result):
    """It runs the structure network's Paddle program, as its card says."""
    check_equal(answer(openvino_exact, path, generation, request_), result)


@pytest.fixture(scope="module")
def onnx_tight():
    with Driver(config_with("onnxruntime", "tight")) as driver:
        yield driver


@pytest.mark.parametrize(("path", "generation", "request_", "result"), only(SPACED))
def test_less_padding_gives_back_spaces_and_changes_nothing_else(
    onnx_tight, path, generation, request_, result
):
    found = [html.unescape(page) for page in tables(answer(onnx_tight, path, generation, request_))]
    expected = tables(result)
    assert found != expected, "then this case belongs to the others"
    assert [page.replace(" ", "") for page in found] == [page.replace(" ", "") for page in expected]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    devices = (DeviceConfig(threads=2, all_threads=2),)
    config = Config(pipelines=(config_with("onnxruntime"),), devices=devices, host="127.0.0.1")
    with Server(config, tmp_path_factory.mktemp("golden")) as running:
        running.wait_ready()
        yield running


@pytest.mark.parametrize(("path", "generation", "request_", "result"), SERVED)
def test_served_tables_are_what_paddlex_served(server, path, generation, request_, result):
    file = base64.b64encode(path.read_bytes()).decode()
    assert generation == "v3"
    body = {"file": file, "fileType": 0, "visualize": False}
    status, envelope = server.post(
        json.dumps(body | request_).encode(), path="/table-recognition", timeout=60
    )
    assert status == 200, envelope
    check_equal(envelope["result"], result)
