"""Table recognition on engines that a test scripts: dark bars are texts, their grey is what they say."""

import msgspec
import numpy as np
import pytest

from pipelines.core.base import Item
from pipelines.core.config import PipelineConfig
from pipelines.core.detection_size import DetectionParams
from pipelines.core.errors import BadRequest
from pipelines.core.ocr_api import OcrOptions, OcrParams
from pipelines.core.table_api import TableOptions, TableParams
from pipelines.engines.base import TensorSpec
from pipelines.ocr import PIPELINE as Ocr
from pipelines.table_recognition import TableRecognition
from tests.driver import Driver
from tests.model_dirs import (
    DETECTION,
    LAYOUT,
    PAGE,
    RECOGNITION,
    TABLE,
    Scripted,
    finds_dark,
    model,
    reads_grey,
)

VOCABULARY = ["sos", "<tr>", "</tr>", "<td", ">", "</td>", ' colspan="2"', "<td></td>", "eos"]
#: x1, y1, x2, y2 of a table and what is in it: (left, top, right, grey) of bars 30 px high.
BOX = (100.6, 80.4, 500.0, 280.0)
INSIDE = ((120, 110, 260, 0x10), (320, 110, 460, 0x20), (120, 210, 260, 0x30), (320, 210, 460, 0x40))
OUTSIDE = ((40, 20, 300, 0x50), (40, 330, 300, 0x60))
GRID = ["<tr>", "<td></td>", "<td></td>", "</tr>", "<tr>", "<td></td>", "<td></td>", "</tr>"]
FULL = (
    "<html><body><table><tr><td>10</td><td>20</td></tr><tr><td>30</td><td>40</td></tr></table></body></html>"
)
FULL_SIZE = DetectionParams(64, "min", thresh=0.5, box_thresh=0.5, unclip_ratio=0.2)


def page(bars=(*OUTSIDE, *INSIDE), height=384, width=640):
    image = np.full((height, width, 3), 255, np.uint8)
    for left, top, right, grey in bars:
        image[top : top + 30, left:right] = grey
    return image


class Layout(Scripted):
    """Finds the boxes it is told of; class 1 is a table."""

    def __init__(self, *boxes):
        super().__init__(None)
        self.inputs = (
            TensorSpec("image", (-1, 3, 96, 64), "float32"),
            TensorSpec("scale_factor", (-1, 2), "float32"),
        )
        rows = [[label, 0.9, *box] for label, box in boxes]
        self.outputs = [np.array(rows, np.float32).reshape(-1, 6), np.array([len(rows)], np.int32)]

    def run(self, feeds):
        self.seen.append(feeds["image"].copy())
        return self.outputs


class Structure(Scripted):
    """Writes a grid of two by two cells, or other tokens; cells are shares of the table."""

    CORNERS = ((0.0, 0.0), (0.5, 0.0), (0.0, 0.25), (0.5, 0.25))

    def __init__(self, tokens=GRID):
        super().__init__(None)
        places, scores = np.zeros((1, 16, 8), np.float32), np.zeros((1, 16, 9), np.float32)
        corners = iter(self.CORNERS)
        for step, token in enumerate((*tokens, "eos")):
            scores[0, step, VOCABULARY.index(token)] = 1
            if token.startswith("<td"):
                left, top = next(corners)
                right, bottom = left + 0.5, top + 0.25
                places[0, step] = [left, top, right, top, right, bottom, left, bottom]
        self.outputs = [places, scores]

    def run(self, feeds):
        self.seen.append(next(iter(feeds.values())).copy())
        return self.outputs


@pytest.fixture
def driver(tmp_path):
    def driver(layout=None, structure=None, page_class=0, leave_out=(), **options):
        engines = {
            "det": Scripted(finds_dark),
            "rec": Scripted(reads_grey),
            "unwarp": Scripted(lambda tensor: tensor[..., ::-1].copy()),
            "doc_ori": Scripted(lambda tensor: np.eye(4, dtype=np.float32)[[page_class] * len(tensor)]),
            "objects": layout or Layout((1, BOX), (0, (40, 20, 300, 50))),
            "table": structure or Structure(),
        }
        models = {
            "doc_orientation": model(tmp_path / "page", PAGE),
            "doc_unwarping": model(tmp_path / "flat", {"Global": {"model_name": "UVDoc"}}, "UVDoc"),
            "layout": model(tmp_path / "layout", LAYOUT),
            "text_detection": model(tmp_path / "det", DETECTION),
            "text_recognition": model(tmp_path / "rec", RECOGNITION),
            "table_structure": model(tmp_path / "table", TABLE, "SLANet_plus"),
        }
        models = {role: found for role, found in models.items() if role not in leave_out}
        ocr = {"use_doc_preprocessor": False, "limit_side_len": 64, "limit_type": "min", "thresh": 0.5}
        own = TableOptions(ocr=OcrOptions(**ocr, box_thresh=0.5, unclip_ratio=0.2), **options)
        config = PipelineConfig(
            "table_recognition", "table_recognition", "v3", msgspec.to_builtins(own), models,
            dict.fromkeys(models, "fake"),
        )  # fmt: skip
        made = Driver(config, load=lambda stage: engines[stage.name])
        made.scripted = engines
        return made

    return driver


def run(driver, image=None, doc_orientation=False, **params):
    ocr = OcrParams(detection=FULL_SIZE, doc_orientation=doc_orientation)
    (result,) = driver(Item(TableParams(ocr, **params), page() if image is None else image))
    if isinstance(result, Exception):
        raise result
    return result


def test_texts_of_the_page_come_into_the_cells_of_its_table(driver):
    found = run(driver())
    (table,) = found.tables
    assert table.html == FULL
    assert found.ocr.texts == ["50", "10", "20", "30", "40", "60"]
    assert [found.ocr.texts[line] for line in table.lines] == ["10", "20", "30", "40"]
    assert table.box == [100, 80, 500, 280]
    # Shares of 400 px from where the box begins, not from where the cut does.
    np.testing.assert_allclose(table.cells[3], [300.6, 180.4, 500.6, 280.4], atol=1e-4)
    assert found.layout.labels == ["table", "text"] and found.ocr.angle == -1


def test_everything_is_found_on_the_unwarped_page(driver):
    """The model mirrors: what is found stands in the mirror image, which comes back to be drawn on."""
    made, warped = driver(), np.ascontiguousarray(page()[:, ::-1])
    ocr = OcrParams(detection=FULL_SIZE, doc_unwarping=True, drawn=True)
    (found,) = made(Item(TableParams(ocr), warped))
    plain = run(made)
    assert found.tables[0].html == plain.tables[0].html == FULL
    np.testing.assert_array_equal(found.ocr.quads, plain.ocr.quads)
    assert np.abs(found.ocr.flat.astype(int) - page()).max() <= 1 and plain.ocr.flat is None
    (undrawn,) = made(Item(TableParams(msgspec.structs.replace(ocr, drawn=False)), warped))
    assert undrawn.ocr.flat is None and undrawn.tables[0].html == FULL


def test_only_what_the_layout_calls_a_table_is_looked_at(driver):
    made = driver(Layout((0, BOX), (1, BOX)))
    assert len(run(made).tables) == 1 and len(made.scripted["table"].seen) == 1


def test_the_table_is_cut_out_of_the_upright_page(driver):
    upright = driver()
    turned = driver(page_class=1)
    first = run(upright)
    second = run(turned, np.ascontiguousarray(np.rot90(page(), -1)), doc_orientation=True)
    assert second.ocr.angle == 90 and second.tables[0].html == first.tables[0].html == FULL
    np.testing.assert_array_equal(turned.scripted["table"].seen[0], upright.scripted["table"].seen[0])


def test_several_tables_are_kept_apart_in_the_order_of_the_layout(driver):
    left, right = (100, 80, 300, 280), (300, 80, 500, 280)
    found = run(driver(Layout((1, right), (1, left))))
    texts = [[found.ocr.texts[line] for line in table.lines] for table in found.tables]
    assert texts == [["20", "40"], ["10", "30"]]


@pytest.mark.parametrize("leave_out", [(), ("layout",)], ids=["switched off", "not loaded"])
def test_without_layout_the_page_is_one_table(driver, leave_out):
    found = run(driver(leave_out=leave_out), page(INSIDE, width=640), layout=bool(leave_out))
    (table,) = found.tables
    assert found.layout is None and table.box == [0, 0, 639, 383] and table.lines == [0, 1, 2, 3]
    assert table.cells.tolist()[3] == [320, 160, 640, 320]


def test_cells_end_at_the_page(driver):
    found = run(driver(Layout((1, (300, 200, 640, 384)))))
    assert found.tables[0].cells.max(axis=0)[2:].tolist() == [640, 370]
    assert run(driver(Layout((1, (300, 300, 640, 384))))).tables[0].cells[:, 3].max() == 384


def test_a_page_without_tables_is_only_read(driver):
    found = run(driver(Layout()))
    assert found.tables == [] and found.ocr.texts == ["50", "10", "20", "30", "40", "60"]
    assert found.layout.labels == []


def test_without_texts_the_structure_is_given_with_spaces(driver):
    (table,) = run(driver(), page(OUTSIDE)).tables
    assert table.html == "<html> <body> <table> " + " ".join(GRID) + " </table> </body> </html>"
    assert table.lines == [] and len(table.cells) == 4


def test_without_cells_the_structure_is_given_with_spaces(driver):
    (table,) = run(driver(structure=Structure([]))).tables
    assert table.html == "<html> <body> <table> </table> </body> </html>"
    assert len(table.lines) == 4 and table.cells.shape == (0, 4)


def test_a_span_is_kept(driver):
    tokens = ["<tr>", "<td", ' colspan="2"', ">", "</td>", "</tr>"]
    html = run(driver(structure=Structure(tokens))).tables[0].html
    assert '<td colspan="2">10 20 30 40</td>' in html


def test_every_cell_can_be_read_by_itself(driver):
    made = driver()
    (table,) = run(made, by_cell=True).tables
    assert table.html == FULL
    assert [count for name, count in made.log if name == "det"] == [1] * 5
    # The cells' lines are read together.
    assert [count for name, count in made.log if name == "rec"][-1] == 4


def test_a_cell_without_a_pixel_is_empty(driver):
    structure = Structure()
    structure.outputs[0][0, 1] = [0.2, 0.1, 0.2, 0.1, 0.2, 0.1, 0.2, 0.1]
    html = run(driver(structure=structure), by_cell=True).tables[0].html
    assert html == FULL.replace(">10<", "><")


def test_2024_reads_every_table_again_and_matches_inside_of_it(driver):
    made = driver()
    found = run(made, crops=True)
    (table,) = found.tables
    assert table.html == FULL and table.box == [100, 80, 500, 280]
    assert table.cells.tolist()[3] == [300, 180, 500, 280]
    # What the page itself gave is replaced by what was read in the table.
    assert found.ocr.texts == ["50", "60", "10", "20", "30", "40"] and found.ocr.kept == [0, 1, 2, 3, 4, 5]
    left, top, *_ = INSIDE[0]
    assert abs(found.ocr.quads[2][0] - (left, top)).max() <= 2
    assert [name for name, _ in made.log].count("det") == 2


def test_2024_without_cells_or_texts_gives_the_bare_table(driver):
    assert run(driver(structure=Structure([])), crops=True).tables[0].html == (
        "<html><body><table></table></body></html>"
    )
    empty = FULL.replace("10", "").replace("20", "").replace("30", "").replace("40", "")
    assert run(driver(), page(OUTSIDE), crops=True).tables[0].html == empty


def test_pages_and_ocr_are_read_by_the_same_stages(driver):
    """So their lines run together, and a device loads each model once."""
    made = driver()
    shared = {"doc_orientation", "text_detection", "text_recognition"}
    config = msgspec.structs.replace(
        made.config, name="ocr", options=msgspec.to_builtins(OcrOptions()),
        models={role: files for role, files in made.config.models.items() if role in shared},
    )  # fmt: skip
    before = dict(made.stages.all)
    ocr = Ocr(config, made.stages)
    assert made.stages.all == before
    reading = OcrParams(detection=FULL_SIZE)
    (theirs,) = next(ocr.steps(Item(reading, page())))
    (ours,) = next(made.pipeline.steps(Item(TableParams(reading), page())))
    assert ours.stage is theirs.stage and ours.key == theirs.key


def test_many_pages_with_tables_of_their_own_do_not_mix(driver):
    """Each page says another number, in other cells; alone and side by side the answers are the same."""
    pages = [page([(120, 110 + 100 * (n % 2), 260, 0x10 + n)]) for n in range(12)]
    made = driver(Layout((1, BOX), (1, (100, 180, 300, 280))))
    items = [Item(TableParams(OcrParams(detection=FULL_SIZE)), image) for image in pages]
    together = [[table.html for table in found.tables] for found in made(*items)]
    assert together == [[table.html for table in run(made, image).tables] for image in pages]
    for number, (whole, _) in enumerate(together):
        rows = [f"<tr><td>{text}</td><td></td></tr>" for text in (f"{0x10 + number:x}", "")]
        shown = "".join(rows[:: -1 if number % 2 else 1])
        assert whole == f"<html><body><table>{shown}</table></body></html>"


def test_a_page_that_is_too_large_is_a_bad_request(driver):
    with pytest.raises(BadRequest, match="a side of more than 32767 pixels"):
        run(driver(), np.zeros((8, 32768, 3), np.uint8))


def test_more_work_is_expected_to_take_longer():
    simple = TableParams(OcrParams(detection=FULL_SIZE), layout=False)
    costs = [
        TableRecognition.cost_ms(msgspec.structs.replace(simple, **changes), 1000, 800)
        for changes in ({}, {"layout": True}, {"layout": True, "by_cell": True})
    ]
    assert costs == sorted(set(costs))
    assert TableRecognition.cost_ms(simple, 2000, 1600) > costs[0]
