"""How good the tables are: TEDS against the HTML that was rendered.

    python -m benchmarks.table_quality [--engine openvino] [--json FILE]
    python -m benchmarks.table_quality --paddlex                       beside PaddleX's serving, same weights
    python -m benchmarks.table_quality --whole-page                    without layout detection
    python -m benchmarks.table_quality --url http://127.0.0.1:8080     any server

TEDS (Zhong et al., "Image-based table recognition", 2020) is 1 - distance / nodes of the larger tree,
with the tree edit distance of rows and cells: to insert, to delete or to change the span of one costs
1, to change a cell's text the edit distance of the texts over the longer length. ``structure`` leaves
the texts out. ``thead`` and ``tbody`` count for nothing on either side: they are not to be seen.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import urllib.request
from collections.abc import Callable, Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from apted import APTED, Config

from pipelines.core.base import Item
from tests.driver import Driver, config_of

from . import peers, process, tables
from .common import parser, report, table
from .padding import distance
from .table_steps import READING

#: A picture's tables as HTML, the largest first.
Read = Callable[[bytes], list[str]]


class Node:
    """A table, a row or a cell; a cell has its spans in ``tag`` and its text."""

    def __init__(self, tag: str) -> None:
        self.tag, self.text = tag, ""
        self.children: list[Node] = []

    def __len__(self) -> int:
        return 1 + sum(len(child) for child in self.children)


class _Tree(HTMLParser):
    """The table of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Node("table")
        self._cell: Node | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.root.children.append(Node("tr"))
        elif tag == "td":
            spans = dict(attrs)
            self._cell = Node(f"td {spans.get('colspan', '1')} {spans.get('rowspan', '1')}")
            (self.root.children or [self.root])[-1].children.append(self._cell)

    def handle_endtag(self, tag: str) -> None:
        if tag == "td":
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.text += data


def tree(page: str) -> Node:
    """The table of an HTML page."""
    read = _Tree()
    read.feed(page)
    return read.root


class _Costs(Config):  # type: ignore[misc]
    def __init__(self, structure: bool) -> None:
        self._structure = structure

    def rename(self, one: Node, other: Node) -> float:
        if one.tag != other.tag:
            return 1.0
        return 0.0 if self._structure or one.text == other.text else _text_cost(one.text, other.text)

    def children(self, node: Node) -> list[Node]:
        return node.children


@cache
def _text_cost(one: str, other: str) -> float:
    return distance(one, other) / max(len(one), len(other))


def teds(found: str, expected: str, *, structure: bool = False) -> float:
    """TEDS of two HTML pages with one table each, 0 to 1."""
    one, other = tree(found), tree(expected)
    edits = APTED(one, other, _Costs(structure)).compute_edit_distance()
    return 1.0 - float(edits) / max(len(one), len(other))


@contextlib.contextmanager
def recogniser(engine: str, whole_page: bool, same_weights: bool) -> Iterator[Read]:
    """This project's pipeline in this process, with its default models or those that PaddleX is given."""
    peer = {
        "models": READING, "options": {"use_doc_preprocessor": False}, "leave_out": ("doc_orientation",),
    }  # fmt: skip
    with Driver(config_of("table_recognition", engine, **(peer if same_weights else {}))) as run:
        form = run.pipeline.operations[0].forms[0]
        request = form.request(file="", use_layout_detection=not whole_page)
        params = form.params(request, run.config)

        def read(content: bytes) -> list[str]:
            image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
            (page,) = run(Item(params=params, image=image))
            if isinstance(page, Exception):
                raise page
            return [found.html for found in sorted(page.tables, key=_area, reverse=True)]

        yield read


@contextlib.contextmanager
def paddlex(folder: Path, whole_page: bool) -> Iterator[Read]:
    """PaddleX's serving, all models on ONNX Runtime."""
    document, port = peers.table_document(), process.free_port()
    found = peers.paddlex_server(folder, "table quality", document, "--engine", "onnxruntime")
    log = folder / "logs" / "table-quality.log"
    with process.running(found.on(port), port, log, ready_path=found.ready_path, env=found.env):
        yield server(f"http://127.0.0.1:{port}", whole_page)


def _area(found: Any) -> int:
    left, top, right, bottom = found.box
    return int((right - left) * (bottom - top))


def server(url: str, whole_page: bool) -> Read:
    """A running server of either project. PaddleX does not escape its texts: theirs hold no markup here."""

    def read(content: bytes) -> list[str]:
        body = {"file": base64.b64encode(content).decode(), "fileType": 1, "visualize": False}
        body["useLayoutDetection"] = not whole_page
        request = urllib.request.Request(
            f"{url}/table-recognition", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=300) as answer:
            (page,) = json.load(answer)["result"]["tableRecResults"]
        found = page["prunedResult"]["table_res_list"]
        return [each["pred_html"] for each in sorted(found, key=lambda each: -len(each["cell_box_list"]))]

    return read


def measure(name: str, read: Read) -> Iterator[dict[str, Any]]:
    """One row per sheet; of several tables on a page the largest counts."""
    font = peers.font()
    for sheet in tables.SHEETS:
        expected = tables.true_html(tables.cells_of(sheet))
        found = read(tables.png(tables.render(sheet, font)))
        first = found[0] if found else "<table></table>"
        yield {
            "server": name,
            "sheet": sheet.name,
            "tables": len(found),
            "cells": len(tables.cells_of(sheet)),
            "cells found": first.count("</td>"),
            "teds": teds(first, expected),
            "structure": teds(first, expected, structure=True),
        }


def kinds(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Means per server and kind of sheet, and of all."""
    names = sorted({row["sheet"].partition("-")[0] for row in rows})
    for server_name in dict.fromkeys(row["server"] for row in rows):
        for name in (*names, "all"):
            chosen = [
                row
                for row in rows
                if row["server"] == server_name and name in ("all", row["sheet"].partition("-")[0])
            ]
            means = {key: float(np.mean([row[key] for row in chosen])) for key in ("teds", "structure")}
            missed = sum(not row["tables"] for row in chosen)
            yield {"server": server_name, "kind": name, "sheets": len(chosen), "not found": missed, **means}


def readers(options: argparse.Namespace) -> Iterator[tuple[str, contextlib.AbstractContextManager[Read]]]:
    """What is measured, by its name in the table."""
    if options.url:
        yield options.url, contextlib.nullcontext(server(options.url, options.whole_page))
        return
    yield f"ours {options.engine}", recogniser(options.engine, options.whole_page, options.paddlex)
    if options.paddlex:
        yield peers.PADDLEX_ONNX, paddlex(options.peers, options.whole_page)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--engine", default="onnxruntime", help="engine of all of our models")
    options.add_argument("--paddlex", action="store_true", help="PaddleX's serving too, on the same weights")
    options.add_argument(
        "--whole-page", action="store_true", help="no layout detection: the page is one table"
    )
    options.add_argument("--url", help="measure a running server")
    options.add_argument("--peers", type=Path, default=peers.DEFAULT_FOLDER, help="folder of PaddleX")
    found = options.parse_args()
    rows: list[dict[str, Any]] = []
    for name, reader in readers(found):
        with reader as read:
            rows += measure(name, read)
    means = list(kinds(rows))
    for part in (rows, means):
        print(table(list(part[0]), [list(row.values()) for row in part]) + "\n")
    report("table_quality", rows, options=vars(found), path=found.json, kinds=means)


if __name__ == "__main__":
    main()
