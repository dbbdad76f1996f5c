"""Makes the golden cases of table recognition: draws the inputs, records what PaddleX answers to them.

    python tests/cases/record_table.py                 record every input that is here
    python tests/cases/record_table.py --inputs        draw the inputs anew first
    python tests/cases/record_table.py open tilted     only these

The oracle is ``paddlex --serve``, PaddleX 3.7.2, as for OCR. Layout and table structure run on ONNX
Runtime: of the structure network PaddlePaddle 3.2.2 gives other places (docs/compatibility.md). What
the 2024 generation answers comes from the same server: the tables of the page, and then for each of
them the answer to its cut-out without layout detection, which is what that generation did (API
reference, 10.9).

Runs in this project's environment; takes about five minutes on two cores.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FOLDER = HERE / "table_recognition"

PLAIN = {"engine": "paddle_static", "engine_config": {"run_mode": "paddle", "cpu_threads": 2}}

#: Requests that change one parameter, on inputs where it changes the answer.
VARIANTS: dict[str, tuple[dict[str, Any], ...]] = {
    "grid": (
        {"useLayoutDetection": False},
        {"textDetLimitType": "max", "textDetLimitSideLen": 320},
        {"textDetThresh": 0.6, "textDetBoxThresh": 0.8},
        {"textDetUnclipRatio": 2.5},
        {"textRecScoreThresh": 0.9},
    ),
    "open": (
        {"useLayoutDetection": False},
        {"useLayoutDetection": False, "useOcrResultsWithTableCells": True},
    ),
    "no_table": ({"useLayoutDetection": False},),
    "blank": ({"useLayoutDetection": False},),
    "spans": ({"useOcrResultsWithTableCells": True},),
}
#: Inputs that are recorded in the 2024 style too.
BOTH_GENERATIONS = ("open", "spans", "two_tables", "no_table")


def draw() -> None:
    """Write every input."""
    from PIL import Image

    from benchmarks import peers, tables

    font = peers.font()

    def page(*args: Any, **options: Any) -> Image.Image:
        return tables.render(tables.Sheet(*args, **options), font).convert("L")

    grid, lines = page("golden-grid", 5, 4), page("golden-lines", 6, 3, "lines")
    both = Image.new("L", (max(grid.width, lines.width), grid.height + lines.height), 255)
    both.paste(grid, (0, 0))
    both.paste(lines, (0, grid.height))
    text = grid.crop((0, 0, grid.width, 110))
    pictures = {
        "grid": grid,
        "open": page("golden-open", 6, 4, "none"),
        "spans": page("golden-spans", 7, 5, spans=True),
        "tilted": page("golden-tilted", 6, 4, degrees=2.0),
        "han": page("golden-han", 6, 4, han=True),
        "wide": page("golden-wide", 4, 12),
        "two_tables": both,
        "no_table": text,
        "blank": Image.new("L", (200, 150), 255),
        "markup": _markup(tables, font),
    }
    FOLDER.mkdir(exist_ok=True)
    for name, picture in pictures.items():
        (FOLDER / f"{name}.png").write_bytes(tables.png(picture))
    out = io.BytesIO()
    lines.save(out, "PDF", save_all=True, append_images=[grid], resolution=144.0)
    (FOLDER / "two_pages.pdf").write_bytes(out.getvalue())


def _markup(tables: Any, font: str) -> Any:
    """A table whose texts are markup where they are not escaped."""
    sheet = tables.Sheet("golden-markup", 3, 3)
    texts = ("Rule", "R & D", "<b>bold</b>", "a < b", "&amp;", "x > y", "</td>", "1 < 2 > 0", "<td>")
    cells = [cell._replace(text=text) for cell, text in zip(tables.cells_of(sheet), texts, strict=True)]
    return tables.render(sheet, font, cells=cells).convert("L")


def post(port: int, content: bytes, kind: int, fields: Mapping[str, Any]) -> dict[str, Any]:
    """``result`` of one request."""
    body = {"file": base64.b64encode(content).decode(), "fileType": kind, "visualize": False, **fields}
    url = f"http://127.0.0.1:{port}/table-recognition"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as answer:
        return json.load(answer)["result"]


def beta_tables(port: int, content: bytes, page: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The 2024 ``tables`` of a page whose v3 answer is ``page``."""
    from PIL import Image

    found = []
    for box in page["prunedResult"]["layout_det_res"]["boxes"]:
        if box["label"].lower() != "table":
            continue
        corners = [int(side) for side in box["coordinate"]]
        out = io.BytesIO()
        Image.open(io.BytesIO(content)).crop(corners).save(out, "PNG")
        (cut,) = post(port, out.getvalue(), 1, {"useLayoutDetection": False})["tableRecResults"]
        (table,) = cut["prunedResult"]["table_res_list"]
        found.append({"bbox": [float(side) for side in corners], "html": table["pred_html"]})
    return found


def cases(port: int, path: Path) -> Iterator[dict[str, Any]]:
    """Everything that is recorded for one input."""
    content, kind = path.read_bytes(), 0 if path.suffix == ".pdf" else 1
    for request in ({}, *VARIANTS.get(path.stem, ())):
        result = post(port, content, kind, request)
        yield {"generation": "v3", "request": request, "result": result}
        if not request and path.stem in BOTH_GENERATIONS:
            tables = beta_tables(port, content, result["tableRecResults"][0])
            yield {"generation": "2024", "request": {}, "result": {"tables": tables}}


def record(work: Path, names: list[str]) -> None:
    """Start the server and write ``<input>.json`` for every input."""
    import record_ocr

    from benchmarks import peers, process

    document = peers.table_document(engine="onnxruntime", ocr=PLAIN)
    server, port = peers.paddlex_server(work, "record table", document), process.free_port()
    log = work / "record-table.log"
    with process.running(server.on(port), port, log, ready_path="/health", env=server.env):
        for path in sorted(FOLDER.iterdir()):
            if path.suffix == ".json" or (names and path.stem not in names):
                continue
            recorded = {"input": path.name, "cases": list(cases(port, path))}
            path.with_suffix(".json").write_text(record_ocr.dumps(recorded), encoding="utf-8")
            print(path.name, len(recorded["cases"]), "cases", flush=True)
    if not names:
        weights = (peers.DETECTION, peers.RECOGNITION, peers.LAYOUT, peers.STRUCTURE)
        about = {
            "versions": peers.paddlex_versions(work),
            "engine": {"reading": PLAIN, "layout": "onnxruntime", "structure": "onnxruntime"},
            "weights": {name: peers.resolve(name).sha256 for name in weights},
        }
        (HERE / "table_recognition.json").write_text(json.dumps(about, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="record only these inputs (without ending)")
    parser.add_argument("--inputs", action="store_true", help="draw the inputs anew")
    parser.add_argument(
        "--work", type=Path, default=ROOT / "benchmarks" / ".peers", help="folder for PaddleX"
    )
    arguments = parser.parse_args()
    sys.path[:0] = [str(ROOT), str(HERE)]
    if arguments.inputs:
        draw()
    record(arguments.work, arguments.names)


if __name__ == "__main__":
    main()
