"""Makes the golden cases of document chat's visual step: draws pages, records what PaddleX answers to them.

    python tests/cases/record_visual.py                record every input that is here
    python tests/cases/record_visual.py --inputs       draw the inputs anew first

The oracle is ``paddlex --serve`` of the layout parsing pipeline, PaddleX 3.7.2, which is the visual step of
PP-ChatOCRv3-doc; ``visualInfo`` is made of its answer by PaddleX's own code in its own environment. Engines
are those of ``record_table.py``.

Runs in this project's environment; takes about two minutes on two cores.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FOLDER = HERE / "pp_chatocrv3_doc"

PLAIN = {"engine": "paddle_static", "engine_config": {"run_mode": "paddle", "cpu_threads": 2}}
#: Requests per input; the first is the default.
VARIANTS: dict[str, tuple[dict[str, Any], ...]] = {
    "invoice": ({"layoutThreshold": 0.7}, {"layoutNms": True, "layoutUnclipRatio": 1.1}),
    "columns": ({"textRecScoreThresh": 0.97, "layoutMergeBboxesMode": "large"},),
}
#: PaddleX's own rule from the answer to ``visualInfo``.
DECODE = """
import json, sys
from paddlex.inference.pipelines.pp_chatocr.pipeline_v3 import PP_ChatOCRv3_Pipeline as Chat
results = json.load(sys.stdin)
for result in results:
    result.setdefault("table_res_list", [])
print(json.dumps([Chat.decode_visual_result(None, result) for result in results]))
"""


def draw() -> None:
    """Write every input."""
    from PIL import Image

    from benchmarks import chat_pages, pages, peers

    font = peers.font()
    papers = {paper.name: paper for paper in chat_pages.papers()}
    columns = pages.Sheet("golden-columns", 900, 700, 2, 12, 22, words=(3, 5), ending="png")
    pictures = {
        "invoice": chat_pages.draw(papers["invoice-en-0"], font)[0],
        "invoice_han": chat_pages.draw(papers["invoice-zh-1"], font)[0],
        "contract": chat_pages.draw(papers["contract-en-0"], font)[1],
        "columns": Image.open(io.BytesIO(pages.render(columns, font))),
        "blank": Image.new("L", (200, 150), 255),
    }
    for name, picture in pictures.items():
        picture.convert("L").save(FOLDER / f"{name}.png", optimize=True)


def post(port: int, content: bytes, fields: Mapping[str, Any]) -> dict[str, Any]:
    """``result`` of one request."""
    body = {"file": base64.b64encode(content).decode(), "fileType": 1, "visualize": False, **fields}
    url = f"http://127.0.0.1:{port}/layout-parsing"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as answer:
        return json.load(answer)["result"]


def visual_info(python: Path, result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """``visualInfo`` of an answer."""
    pruned = json.dumps([page["prunedResult"] for page in result["layoutParsingResults"]])
    done = subprocess.run([python, "-c", DECODE], input=pruned, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def record(work: Path) -> None:
    """Start the server and write ``<input>.json`` for every input."""
    import record_ocr

    from benchmarks import chat_peers, peers, process

    section = chat_peers.parser_section({"engine": "onnxruntime"}, PLAIN)
    server, port = chat_peers.peer(work, "record visual", section), process.free_port()
    python = peers.paddlex_python(work)
    log = work / "record-visual.log"
    with process.running(server.on(port), port, log, ready_path="/health", env=server.env):
        for path in sorted(FOLDER.glob("*.png")):
            cases = []
            for request in ({}, *VARIANTS.get(path.stem, ())):
                result = post(port, path.read_bytes(), request)
                result["visualInfo"] = visual_info(python, result)
                cases.append({"request": request, "result": result})
            recorded = {"input": path.name, "cases": cases}
            path.with_suffix(".json").write_text(record_ocr.dumps(recorded), encoding="utf-8")
            print(path.name, len(cases), "cases", flush=True)


def main() -> None:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--inputs", action="store_true", help="draw the inputs anew")
    work = ROOT / "benchmarks" / ".peers"
    parser.add_argument("--work", type=Path, default=work, help="folder for PaddleX")
    arguments = parser.parse_args()
    sys.path[:0] = [str(ROOT), str(HERE)]
    if arguments.inputs:
        draw()
    record(arguments.work)


if __name__ == "__main__":
    main()
