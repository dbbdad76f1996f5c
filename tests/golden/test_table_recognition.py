"""What PaddleX 3.7.2 answers to tables, recorded by ``tests/cases/record_table.py`` on the same weights.

The HTML must be equal, cell by cell; PaddleX does not escape its texts. Numbers have the tolerances of
the OCR cases. Reading was recorded on PaddlePaddle; that it runs on ONNX Runtime here changes no text.
"""

import base64
import html
import json
from pathlib import Path

import cv2
import pytest

from benchmarks import peers
from pipelines.core.registry import load_engine
from server.config import Config, DeviceConfig
from server.liveness import Policy
from tests.driver import Driver, Remembered, config_of
from tests.golden.answers import answer, assert_close
from tests.harness import Server

CASES = Path(__file__).resolve().parents[1] / "cases" / "table_recognition"
READING = {"text_detection": peers.DETECTION, "text_recognition": peers.RECOGNITION}
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


def read(driver, path, generation, request):
    """What a driver answers to a case."""
    return answer(driver, generation, request, cv2.imread(str(path)))


def tables(result):
    """HTML of every table of either generation, page after page."""
    if "tables" in result:
        return [table["html"] for table in result["tables"]]
    pages = [page["prunedResult"]["table_res_list"] for page in result["tableRecResults"]]
    return [table["pred_html"] for page in pages for table in page]


def check_equal(found, expected):
    assert_close(found, expected, escaped=("html",))


@pytest.fixture(scope="module")
def remembered():
    """The cases of one input differ in what is made of equal tensors."""
    return Remembered()


@pytest.fixture(scope="module")
def onnx_exact(remembered):
    with Driver(config_with("onnxruntime"), remembered) as driver:
        yield driver


@pytest.mark.parametrize(("path", "generation", "request_", "result"), IMAGES)
def test_tables_are_what_paddlex_answered(onnx_exact, path, generation, request_, result):
    check_equal(read(onnx_exact, path, generation, request_), result)


@pytest.fixture(scope="module")
def openvino_exact(remembered):
    assert load_engine("openvino").available() is None, "the extra 'test' brings every engine"
    with Driver(config_with("openvino"), remembered) as driver:
        yield driver


@pytest.mark.engine
@pytest.mark.parametrize(("path", "generation", "request_", "result"), only(KINDS))
def test_openvino_finds_the_same_tables(openvino_exact, path, generation, request_, result):
    """It runs the structure network's Paddle program, as its card says."""
    check_equal(read(openvino_exact, path, generation, request_), result)


@pytest.fixture(scope="module")
def onnx_tight(remembered):
    with Driver(config_with("onnxruntime", "tight"), remembered) as driver:
        yield driver


@pytest.mark.parametrize(("path", "generation", "request_", "result"), only(SPACED))
def test_less_padding_gives_back_spaces_and_changes_nothing_else(
    onnx_tight, path, generation, request_, result
):
    found = [html.unescape(page) for page in tables(read(onnx_tight, path, generation, request_))]
    expected = tables(result)
    assert found != expected, "then this case belongs to the others"
    assert [page.replace(" ", "") for page in found] == [page.replace(" ", "") for page in expected]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    devices = (DeviceConfig(threads=2, all_threads=2),)
    config = Config(
        pipelines=(config_with("onnxruntime"),), devices=devices, host="127.0.0.1", drain_grace_ms=0
    )
    with Server(config, tmp_path_factory.mktemp("golden"), Policy()) as running:
        running.wait_ready(60)
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
