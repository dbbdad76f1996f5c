"""HTML is well formed whatever a network writes and whatever a text holds."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.table_html import CELL_TOKENS, balanced, filled, known, skeleton
from tests.reference import tables as reference

SPANS = [f' {name}="{count}"' for name in ("colspan", "rowspan") for count in (2, 3, 20)]
VOCABULARY = ["<thead>", "</thead>", "<tbody>", "</tbody>", "<tr>", "</tr>", "<td>", "<td", ">", "</td>"]
VOCABULARY += [*SPANS, "<td></td>"]
CELL = st.sampled_from([["<td></td>"], ["<td", SPANS[0], ">", "</td>"], ["<td>", "</td>"]])
ROW = st.lists(CELL, max_size=4).map(lambda cells: ["<tr>", *(t for cell in cells for t in cell), "</tr>"])
ROWS = st.lists(ROW, max_size=4).map(lambda rows: [token for row in rows for token in row])
TABLE = st.builds(lambda head, body: ["<thead>", *head, "</thead>", "<tbody>", *body, "</tbody>"], ROWS, ROWS)
TEXT = st.text(st.sampled_from([*"ab <>&\"'/", "😀", "表", "\u0301"]), max_size=6)
INSIDE = {"table": "body", "thead": "table", "tbody": "table", "td": "tr", "body": "html"}


class Strict(HTMLParser):
    """Notes tags and texts; fails on a tag that is in the wrong place or ends another one."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.cells = [], []

    def handle_starttag(self, tag, attributes):
        if tag in INSIDE:
            assert self.open[-1:] == [INSIDE[tag]], (tag, self.open)
        if tag == "tr":
            assert self.open[-1] in ("table", "thead", "tbody")
        assert len({name for name, _ in attributes}) == len(attributes)
        self.open.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["td"]:
            self.cells[-1] += data
        else:
            assert not data.strip()


def cells_in(page):
    """Texts of the cells of a well-formed page."""
    parser = Strict()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser.cells


@given(st.lists(st.sampled_from(VOCABULARY), max_size=40))
def test_any_tokens_give_well_formed_html_with_every_cell(tokens):
    fixed = balanced(tokens)
    cells = sum(token in CELL_TOKENS for token in tokens)
    assert len(cells_in(filled(fixed, {}))) == len(cells_in(skeleton(fixed))) == cells
    assert sum(token in CELL_TOKENS for token in fixed) == cells
    assert balanced(fixed) == fixed


@given(TABLE | ROWS)
def test_well_formed_tokens_stay_as_they_are(tokens):
    assert balanced(tokens) == tokens


@given(ROWS, st.dictionaries(st.integers(0, 15), st.lists(TEXT, min_size=1, max_size=4)))
def test_texts_stand_in_their_cells_as_in_paddlex_but_escaped(tokens, texts):
    page = filled(tokens, texts)
    assert page == reference.filled(tokens, texts)
    for number, cell in enumerate(cells_in(page)):
        if len(texts.get(number, ())) == 1:
            assert cell == texts[number][0]


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        pytest.param([], "", id="nothing"),
        pytest.param(["<td></td>"], "<tr><td></td></tr>", id="a cell without a row"),
        pytest.param(
            ["<tr>", "<td", ' colspan="2"'], '<tr><td colspan="2"></td></tr>', id="cut off in a tag"
        ),
        pytest.param(["<td", "</tr>"], "<tr><td></td></tr>", id="a tag that is not ended"),
        pytest.param(["</td>", "</tr>", "</tbody>", ">", SPANS[0]], "", id="ends of nothing"),
        pytest.param(
            ["<thead>", "<tr>", "<td></td>", "<tbody>", "<tr>", "<td></td>"],
            "<thead><tr><td></td></tr></thead><tbody><tr><td></td></tr></tbody>",
            id="a section in a section",
        ),
        pytest.param(
            ["<tr>", "<td", SPANS[0], SPANS[1], SPANS[3], ">", "</td>", "</tr>"],
            '<tr><td colspan="2" rowspan="2"></td></tr>',
            id="an attribute twice",
        ),
    ],
)
def test_broken_tokens_are_mended(tokens, expected):
    assert "".join(balanced(tokens)) == expected


def test_tokens_without_texts_are_joined_with_spaces():
    tokens = ["<tr>", "<td", ' colspan="2"', ">", "</td>", "</tr>"]
    assert skeleton(tokens) == (
        '<html> <body> <table> <tr> <td  colspan="2" > </td> </tr> </table> </body> </html>'
    )


@pytest.mark.parametrize("token", [*VOCABULARY, ' colspan="100"'])
def test_tokens_of_tables_are_known(token):
    assert known(token)


@pytest.mark.parametrize("token", ["", "<b>", "<td >", ' style="x"', ' colspan="2" onclick="x"', "sos"])
def test_anything_else_is_not(token):
    assert not known(token)
