"""Makes the golden cases of the two detectors: cuts the inputs, records what PaddleX answers to them.

    python tests/cases/record_detection.py             record every case
    python tests/cases/record_detection.py --inputs    cut the inputs anew first

The oracle is ``paddlex --serve``, PaddleX 3.7.2 on its ONNX Runtime engine, with the weights and
``inference.yml`` of this project's model store, in an environment of its own that is built on first
use. Photographs are from the wheel of scikit-image 0.26.0 (astronaut: NASA, public domain; the others
CC0); documents are inputs of the OCR cases. Runs in this project's environment; takes two minutes.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FOLDER = HERE / "object_detection"
OCR = "../ocr/"
WHEEL = "scikit-image==0.26.0"

#: Requests of every photograph; classes 0, 15 and 41 are person, cat and cup.
REQUESTS: tuple[dict[str, Any], ...] = (
    {},
    {"threshold": 0.26},
    {"threshold": 0},
    {"threshold": {"41": 0.3, "0": 0.6}},
    {"threshold": {}},
)
PHOTOGRAPHS = (
    "astronaut.jpg", "chelsea.jpg", "coffee.jpg", "grey.png", "wide.jpg", "turned.jpg", "see_through.png",
    "empty.png", "one_pixel.png", "montage.jpg",
)  # fmt: skip
#: What a pipeline YAML may say of the boxes: every layout rule of 3.x.
LAYOUTS: dict[str, dict[str, Any]] = {
    "nms_large": {"threshold": 0.26, "layout_nms": True, "layout_merge_bboxes_mode": "large"},
    "small_unclip": {
        "threshold": 0.26, "layout_merge_bboxes_mode": "small", "layout_unclip_ratio": [1.1, 1.3],
    },
    "by_class": {
        "threshold": {0: 0.35, 15: 0.26, 24: 0.9}, "layout_nms": True,
        "layout_unclip_ratio": {0: [1.05, 1.5], 1: [0.5, 0.5]},
        "layout_merge_bboxes_mode": {0: "large", 15: "small"},
    },
}  # fmt: skip
SPLIT = ("montage.jpg", "coffee.jpg", "chelsea.jpg", "astronaut.jpg")
DOCUMENTS = ("mixed_table.png", "receipt.jpg", "sans_letter.png", "plain_columns.png", "coloured_poster.jpg")


def photograph(wheel: zipfile.ZipFile, name: str) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(wheel.read(f"skimage/data/{name}.png"), np.uint8), cv2.IMREAD_COLOR)


def inputs(wheel: zipfile.ZipFile) -> dict[str, bytes]:
    """Name to content of every picture that is drawn here."""
    names = ("astronaut", "chelsea", "coffee", "camera")
    full = {name: photograph(wheel, name) for name in names}
    part = {
        name: cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        for (name, picture), scale in zip(full.items(), (0.75, 0.8, 0.6, 0.5), strict=True)
    }
    coffee = np.dstack([part["coffee"], np.full(part["coffee"].shape[:2], 128, np.uint8)])
    coffee[:, : coffee.shape[1] // 2, 3] = 0
    return {
        "astronaut.jpg": jpeg(part["astronaut"]),
        "chelsea.jpg": jpeg(part["chelsea"]),
        "coffee.jpg": jpeg(part["coffee"]),
        "grey.png": png(part["camera"][:, :, 0]),
        "wide.jpg": jpeg(np.hstack([fit(full[name], 120, 160) for name in names * 2])),
        "turned.jpg": with_orientation(
            jpeg(cv2.rotate(part["astronaut"], cv2.ROTATE_90_COUNTERCLOCKWISE), 70)
        ),
        "see_through.png": png(cv2.resize(coffee, (180, 120), interpolation=cv2.INTER_AREA)),
        "empty.png": png(np.full((48, 64), 128, np.uint8)),
        "one_pixel.png": png(np.full((1, 1, 3), (10, 200, 90), np.uint8)),
        "montage.jpg": jpeg(montage(full), 80),
    }


def fit(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def montage(full: Mapping[str, np.ndarray]) -> np.ndarray:
    """Twelve small pictures on grey, for the detector of small objects."""
    canvas, random = np.full((720, 960, 3), 190, np.uint8), np.random.default_rng(3)
    for place in range(12):
        picture = full[("astronaut", "camera", "chelsea", "coffee")[place % 4]]
        height = int(random.integers(70, 130))
        small = fit(picture, height, height * picture.shape[1] // picture.shape[0])
        y = place // 4 * 240 + int(random.integers(0, 240 - height))
        x = place % 4 * 240 + int(random.integers(0, 240 - small.shape[1]))
        canvas[y : y + height, x : x + small.shape[1]] = small
    return canvas


def jpeg(picture: np.ndarray, quality: int = 85) -> bytes:
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def png(picture: np.ndarray) -> bytes:
    return cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()


def with_orientation(content: bytes) -> bytes:
    """A JPEG that says it must be turned by 90 degrees clockwise (EXIF orientation 6)."""
    entry = b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00"
    exif = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01" + entry + b"\x00\x00\x00\x00"
    return content[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + content[2:]


def draw(work: Path) -> None:
    """Write the inputs."""
    folder = work / "wheels"
    if not list(folder.glob("scikit_image-*.whl")):
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
        subprocess.run([*command, "--python-version", "3.12", "--dest", str(folder), WHEEL], check=True)
    with zipfile.ZipFile(io.BytesIO(next(folder.glob("scikit_image-*.whl")).read_bytes())) as wheel:
        for name, content in inputs(wheel).items():
            (FOLDER / name).write_bytes(content)


def document(pipeline: str, submodule: str, model: str, **keys: Any) -> dict[str, Any]:
    """A pipeline YAML of 3.x on a model of the store; ``model_dir`` is filled in by :func:`located`."""
    name = {"layout_picodet_cdla": "PicoDet_layout_1x"}.get(model, "PicoDet-S")
    module = {"module_name": pipeline, "model_name": name, "model_dir": model, "batch_size": 1, **keys}
    return {"pipeline_name": pipeline, "SubModules": {submodule: module}}


def located(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """``wanted`` with the model's folder in it."""
    from pipelines.core.models import resolve

    ((submodule, module),) = wanted["SubModules"].items()
    folder = resolve(module["model_dir"], stream=sys.stderr).directory
    return {**wanted, "SubModules": {submodule: {**module, "model_dir": folder}}}


def runs() -> dict[str, tuple[dict[str, Any], str, dict[str, tuple[dict[str, Any], ...]]]]:
    """Name to (YAML, route, input to requests) of everything that is recorded."""
    general = document("object_detection", "ObjectDetection", "detection_nanodet_416")
    small = document(
        "small_object_detection", "SmallObjectDetection", "small_object_nanodet_832", threshold=0.5
    )
    found = {
        "general": (general, "/object-detection", dict.fromkeys(PHOTOGRAPHS, REQUESTS)),
        "small": (small, "/small-object-detection", {"montage.jpg": REQUESTS, "wide.jpg": REQUESTS[:1]}),
    }
    layout = document("object_detection", "ObjectDetection", "layout_picodet_cdla", threshold=0.31)
    found["documents"] = (layout, "/object-detection", {OCR + each: ({},) for each in DOCUMENTS})
    for name, keys in LAYOUTS.items():
        # The network for small objects splits large ones: many of its boxes lie in others.
        rules = document("object_detection", "ObjectDetection", "small_object_nanodet_832", **keys)
        found[f"layout_{name}"] = (rules, "/object-detection", dict.fromkeys(SPLIT, ({},)))
    return found


def post(url: str, path: Path, fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    """``detectedObjects`` of one request."""
    body = {"image": base64.b64encode(path.read_bytes()).decode(), "visualize": False, **fields}
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as answer:
        return json.load(answer)["result"]["detectedObjects"]


def record(work: Path) -> None:
    """Write one JSON file per run."""
    from benchmarks import peers, process

    for name, (wanted, route, asked) in runs().items():
        port = process.free_port()
        server = peers.paddlex_server(work, f"record {name}", located(wanted), "--engine", "onnxruntime")
        log = work / f"record-{name}.log"
        with process.running(server.on(port), port, log, ready_path="/health", env=server.env):
            cases = [
                {
                    "input": each,
                    "request": request,
                    "objects": post(f"http://127.0.0.1:{port}{route}", FOLDER / each, request),
                }
                for each, requests in asked.items()
                for request in requests
            ]
        print(name, [len(case["objects"]) for case in cases], flush=True)
        (FOLDER / f"{name}.json").write_text(
            dumps({"yaml": yaml.safe_dump(wanted), "cases": cases}), encoding="utf-8"
        )
    (HERE / "object_detection.json").write_text(json.dumps(about(work), indent=1) + "\n")


def about(work: Path) -> dict[str, Any]:
    """Versions and weights of the record."""
    from benchmarks import peers
    from pipelines.core.models import resolve

    models = {
        module["model_dir"] for wanted, *_ in runs().values() for module in wanted["SubModules"].values()
    }
    return {
        "versions": peers.paddlex_versions(work),
        "engine": "onnxruntime",
        "weights": {name: resolve(name, stream=sys.stderr).sha256 for name in sorted(models)},
    }


def dumps(document: Mapping[str, Any]) -> str:
    """JSON with one case to a line: small, and a changed case is one changed line."""
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in document["cases"])
    return f'{{"yaml":{json.dumps(document["yaml"])},"cases":[\n{lines}\n]}}\n'


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", action="store_true", help="cut the inputs anew")
    parser.add_argument(
        "--work", type=Path, default=ROOT / "benchmarks" / ".peers", help="folder for PaddleX"
    )
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if arguments.inputs:
        draw(arguments.work)
    record(arguments.work)


if __name__ == "__main__":
    main()
