import msgspec
import numpy as np
import pytest

from pipelines.core.base import Item
from pipelines.core.config import PipelineConfig
from pipelines.core.detection_size import DetectionParams
from pipelines.core.errors import BadRequest, EngineError
from pipelines.core.ocr_api import OcrOptions, OcrParams
from pipelines.ocr import OcrPipeline
from tests.driver import Driver
from tests.model_dirs import (
    DETECTION,
    PADDLEOCR_LINE,
    PAGE,
    RECOGNITION,
    Scripted,
    finds_dark,
    model,
    reads_grey,
)

#: Dark bars on a white page: (top, left, right, grey). The grey is what the scripted recogniser reads.
BARS = (
    (300, 40, 400, 0x60),
    (40, 200, 300, 0x20),
    (120, 40, 600, 0x30),
    (44, 40, 150, 0x10),
    (200, 40, 90, 0x50),
)
READING_ORDER = ["10", "20", "30", "50", "60"]
FULL_SIZE = DetectionParams(64, "min", thresh=0.5, box_thresh=0.5, unclip_ratio=0.2)


def page(bars=BARS, height=384, width=640):
    image = np.full((height, width, 3), 255, np.uint8)
    for top, left, right, grey in bars:
        image[top : top + 30, left:right] = grey
    return image


def says(*classes):
    return lambda tensor: np.tile(np.array(classes, np.float32), (len(tensor), 1))


class Engines:
    """Loads a scripted engine per stage name."""

    def __init__(self, **answers):
        answers = {
            "det": finds_dark,
            "rec": reads_grey,
            "doc_ori": says(1, 0, 0, 0),
            "textline_ori": says(1, 0),
        } | answers
        self.by_name = {name: Scripted(answer) for name, answer in answers.items()}

    def __call__(self, stage):
        return self.by_name[stage.name]


@pytest.fixture
def driver(tmp_path):
    def driver(engines=None, padding="tight", **options):
        models = {
            "doc_orientation": model(tmp_path / "page", PAGE),
            "text_detection": model(tmp_path / "det", DETECTION),
            "textline_orientation": model(tmp_path / "line", PADDLEOCR_LINE),
            "text_recognition": model(tmp_path / "rec", RECOGNITION),
        }
        config = PipelineConfig(
            "ocr", "OCR", "v3", msgspec.to_builtins(OcrOptions(**options)), models,
            dict.fromkeys(models, "fake"), padding=padding,
        )  # fmt: skip
        return Driver(config, load=engines or Engines())

    return driver


def run(driver, image, **params):
    (result,) = driver(Item(OcrParams(**({"detection": FULL_SIZE} | params)), image))
    if isinstance(result, Exception):
        raise result
    return result


@pytest.mark.parametrize("padding", ["tight", "exact"])
@pytest.mark.parametrize("alone", [False, True])
def test_texts_come_in_reading_order_whatever_the_batches_were(driver, padding, alone):
    result = run(driver(padding=padding, rec_batch_size=2), page(), alone=alone)
    assert result.texts == READING_ORDER
    assert result.kept == [0, 1, 2, 3, 4] and result.line_angles == [-1] * 5 and result.angle == -1
    assert [int(quad[0, 1]) // 10 for quad in result.quads] == pytest.approx([4, 4, 12, 20, 30], abs=1)


def test_exact_groups_lines_of_the_page_and_tight_does_not(driver):
    widths = {}
    for padding in ("exact", "tight"):
        engines = Engines()
        run(driver(engines, padding, rec_batch_size=2), page())
        widths[padding] = sorted((tensor.shape[0], tensor.shape[3]) for tensor in engines.by_name["rec"].seen)
    assert [count for count, _ in widths["exact"]] == [1, 2, 2]
    assert all(width >= 320 for _, width in widths["exact"])
    assert sum(count * width for count, width in widths["tight"]) < sum(c * w for c, w in widths["exact"])


def test_a_text_never_depends_on_its_neighbours_or_on_other_pages(driver):
    """Tight: the tensor of every line is the same alone and among others."""

    def tensors(*images):
        engines = Engines()
        items = [Item(OcrParams(detection=FULL_SIZE), image) for image in images]
        results = driver(engines)(*items)
        seen = [one.tobytes() for tensor in engines.by_name["rec"].seen for one in tensor]
        return results, sorted(seen)

    together, seen_together = tensors(page(), page(BARS[:2]))
    apart = [tensors(page([bar]))[1][0] for bar in BARS]
    assert seen_together == sorted(apart + apart[:2])
    assert [result.texts for result in together] == [READING_ORDER, ["20", "60"]]


def test_pages_run_side_by_side_share_runs_and_keep_their_texts(driver):
    ocr = driver()
    pages = [page([(40, 40, 300, grey)]) for grey in (0x11, 0x22, 0x33)]
    results = ocr(*[Item(OcrParams(detection=FULL_SIZE), image) for image in pages])
    assert [result.texts for result in results] == [["11"], ["22"], ["33"]]
    assert ("rec", 3) in ocr.log


def test_lines_below_the_score_are_left_out_but_their_boxes_stay(driver):
    def unsure(tensor):
        answer = reads_grey(tensor)
        answer[answer == np.float32(0.9)] = 0.7 if tensor.shape[3] > 700 else 0.9
        return answer

    result = run(driver(Engines(rec=unsure)), page(), score_thresh=0.8)
    assert result.texts == ["10", "20", "50", "60"] and result.kept == [0, 1, 3, 4]
    assert len(result.quads) == 5 and len(result.scores) == 4


def test_a_score_equal_to_the_threshold_is_kept(driver):
    score = run(driver(), page()).scores[0]
    assert len(run(driver(), page(), score_thresh=score).texts) == 5


def test_turned_lines_are_turned_back(driver):
    engines = Engines(textline_ori=says(0.05, 0.95))
    image = page([(40, 40, 300, 0x20)])
    image[40:55, 40:300] = 0x40
    result = run(driver(engines), image, textline_orientation=True)
    assert result.line_angles == [1]
    upper, lower = engines.by_name["rec"].seen[0][0, 0, [8, 40], 30]
    assert upper < lower


def test_a_turned_page_is_turned_first(driver):
    image = np.ascontiguousarray(np.rot90(page(), -1))
    result = run(driver(Engines(doc_ori=says(0, 1, 0, 0))), image, doc_orientation=True)
    assert result.angle == 90 and result.texts == READING_ORDER


def test_models_run_only_when_asked(driver):
    engines = Engines()
    run(driver(engines), page())
    assert not engines.by_name["doc_ori"].seen and not engines.by_name["textline_ori"].seen


def test_an_empty_page_stops_after_detection(driver):
    engines = Engines()
    result = run(driver(engines), page([]), textline_orientation=True)
    assert (result.texts, result.kept, result.line_angles) == ([], [], [])
    assert result.quads.shape == (0, 4, 2) and result.quads.dtype == np.int16
    assert not engines.by_name["rec"].seen and not engines.by_name["textline_ori"].seen


def test_a_side_that_boxes_cannot_hold_is_refused(driver):
    with pytest.raises(BadRequest, match="side of more than 32767 pixels"):
        run(driver(), np.zeros((1, 32768, 3), np.uint8))


def test_an_engine_fault_reaches_the_item(driver):
    def fails(_):
        raise EngineError("no")

    with pytest.raises(EngineError):
        run(driver(Engines(rec=fails)), page())


def test_the_canary_is_read_back(driver):
    ocr = driver()
    item = ocr.pipeline.canary()
    assert item.params.expect == ""  # a fake engine reads nothing
    assert not isinstance(ocr(item)[0], Exception)
    with pytest.raises(EngineError, match="the canary page says '20417'"):
        run(ocr, item.image, expect="20417")


@pytest.mark.parametrize(("name", "expected"), [("PP-OCRv6_small_rec", "20417"), ("my_rec", "")])
def test_the_canary_expects_its_text_from_official_models_only(driver, name, expected):
    config = driver().config
    rec = msgspec.structs.replace(config.models["text_recognition"], name=name)
    changed = msgspec.structs.replace(
        config,
        models=config.models | {"text_recognition": rec},
        engines=dict.fromkeys(config.models, "openvino"),
    )
    assert Driver(changed, load=Engines()).pipeline.canary().params.expect == expected


def test_cost_and_result_grow_with_what_the_detector_sees():
    small, large = (
        OcrParams(detection=DetectionParams(64, "min")),
        OcrParams(detection=DetectionParams(2000, "min")),
    )
    assert OcrPipeline.cost_ms(small, 500, 500) < OcrPipeline.cost_ms(small, 2000, 2000)
    assert OcrPipeline.cost_ms(small, 500, 500) < OcrPipeline.cost_ms(large, 500, 500)
    beta = OcrParams(detection=DetectionParams(0, "max"), alone=True)
    assert OcrPipeline.cost_ms(beta, 4000, 4000) == OcrPipeline.cost_ms(beta, 960, 960)
    assert OcrPipeline.result_bytes(small, 100, 100) < OcrPipeline.result_bytes(small, 3000, 3000) < 3 << 20
