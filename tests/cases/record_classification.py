"""Makes the golden cases of both classification pipelines: cuts the inputs, records what PaddleX answers.

    python tests/cases/record_classification.py MODELS            record every input that is here
    python tests/cases/record_classification.py MODELS --samples SAMPLES    cut the inputs anew first

MODELS holds the starter models in Paddle's format (docs/models.md says how they are built), SAMPLES the
photographs named in ``CUTS``: scikit-image's, in the public domain or CC0.

The oracle is PaddleX 3.7.2's own pipeline in Python, run mode ``paddle`` (no oneDNN): its
``image_classification`` service answers every request with 500. 2024-style answers are made with the same
pipeline on that generation's numbers, a linear resize by OpenCV (API reference, 9.2).
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
INPUTS = HERE / "image_classification"

#: Input to (photograph, x, y, width, height, scale): every relation of the sides to the network's input.
CUTS = {
    "cat.jpg": ("chelsea.png", 0, 0, 451, 300, 1.0),
    "cup.jpg": ("coffee.png", 100, 0, 400, 400, 1.0),
    "tripod.png": ("camera.png", 200, 100, 224, 256, 1.0),
    "person.jpg": ("astronaut.png", 100, 0, 250, 500, 1.0),
    "small.png": ("chelsea.png", 100, 50, 300, 200, 0.25),
    "strip.jpg": ("rocket.jpg", 0, 200, 640, 40, 1.0),
    "column.jpg": ("astronaut.png", 200, 0, 30, 512, 1.0),
}
MODELS = {
    "image_classification": ("ImageClassification", "classification_efficientnet_lite0"),
    "image_multilabel_classification": ("ImageMultiLabelClassification", "multilabel_nanodet"),
}
#: ``ResizeImage`` in place of the model's own, by the name of the variant.
RESIZES: dict[str, dict[str, dict[str, Any]]] = {
    "image_classification": {
        "own": {},
        "cubic": {"resize_short": 256, "interpolation": "bicubic"},
        "stretched": {"size": [256, 240]},
        "pil": {"resize_short": 256, "backend": "pil", "interpolation": "bilinear"},
    },
    "image_multilabel_classification": {
        "own": {},
        "pil": {"size": [416, 416], "backend": "pil", "interpolation": "bilinear"},
        "area": {"size": 416, "interpolation": "AREA"},
    },
}
#: Requests per pipeline; a variant gets the last one only, which tells most.
REQUESTS: dict[str, tuple[dict[str, Any], ...]] = {
    "image_classification": ({"topk": 2}, {"topk": 1000}, {}),
    "image_multilabel_classification": ({}, {"threshold": 0.2}, {"threshold": -1.0}),
}


def cut(samples: Path) -> None:
    """Write every input of ``CUTS``, and one that is stored turned and one with transparency."""
    import cv2
    from PIL import Image

    INPUTS.mkdir(exist_ok=True)
    for name, (photograph, x, y, width, height, scale) in CUTS.items():
        whole = cv2.imread(str(samples / photograph), cv2.IMREAD_ANYCOLOR)  # the tripod has one channel
        part = whole[y : y + height, x : x + width]
        part = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(INPUTS / name), part, [cv2.IMWRITE_JPEG_QUALITY, 85])
    turned = Image.open(INPUTS / "cat.jpg").resize((225, 150)).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(INPUTS / "turned.jpg", exif=exif, quality=85)
    clear = Image.open(INPUTS / "cup.jpg").resize((120, 120))
    clear.putalpha(Image.linear_gradient("L").resize((120, 120)))
    clear.save(INPUTS / "see_through.png", optimize=True)


# --- inside PaddleX's environment ------------------------------------------------------------------


def answers(pipeline: str, model: str, variant: str) -> Iterator[dict[str, Any]]:
    """Every case of a pipeline on one model folder: rows of class, name and score."""
    import cv2
    from paddlex import create_pipeline

    submodule, _ = MODELS[pipeline]
    engine = {"engine": "paddle_static", "engine_config": {"run_mode": "paddle", "cpu_threads": 2}}
    description = Path(model, "inference.yml").read_text(encoding="utf-8")
    name = re.findall(r"model_name: (\S+)", description)[0]
    module = {"module_name": pipeline, "model_name": name, "model_dir": model, "batch_size": 1}
    if pipeline == "image_classification":
        module["topk"] = 5
    made = create_pipeline(
        config={"pipeline_name": pipeline, "SubModules": {submodule: module}}, device="cpu", **engine
    )
    for path in sorted(path for path in INPUTS.iterdir() if path.suffix != ".json"):
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        for request in REQUESTS[pipeline][0 if variant == "own" else -1 :]:
            (found,) = made.predict(image, **request)
            classes, scores = found["class_ids"], found["scores"]
            if pipeline == "image_classification":  # split per picture everything but the classes
                (classes,) = classes
            columns = zip(classes, found["label_names"], scores, strict=True)
            rows = [[int(index), label, float(score)] for index, label, score in columns]
            yield {"input": path.name, "request": request, "categories": rows}


# --- in this project's environment -----------------------------------------------------------------


def record(work: Path, models: Path) -> None:
    """Write ``golden.json`` of both pipelines."""
    from benchmarks import peers

    python = peers.paddlex_python(work)
    for pipeline, (_, model) in MODELS.items():
        cases = []
        for variant, resize in RESIZES[pipeline].items():
            with tempfile.TemporaryDirectory() as folder:
                changed = variant_of(models / model, Path(folder), resize)
                done = subprocess.run(
                    [str(python), str(Path(__file__).resolve()), "--inside", pipeline, str(changed), variant],
                    check=True,
                    stdout=subprocess.PIPE,
                    text=True,
                    env={"PADDLE_PDX_DISABLE_MODEL_SOURCE_CHECK": "True", "PADDLE_PDX_CACHE_HOME": folder},
                )
            lines = [line for line in done.stdout.splitlines() if line.startswith('{"input"')]
            cases += [{"variant": variant, **json.loads(line)} for line in lines]
            print(pipeline, variant, len(lines), flush=True)
        document = {
            "model": model,
            "versions": peers.paddlex_versions(work),
            "resize": RESIZES[pipeline],
            "cases": cases,
        }
        (HERE / pipeline / "golden.json").write_text(dumps(document), encoding="utf-8")


def variant_of(model: Path, folder: Path, resize: dict[str, Any]) -> Path:
    """A folder with the model's files and ``resize`` in its ``inference.yml``."""
    import yaml

    for path in model.iterdir():
        if path.name != "inference.yml":
            (folder / path.name).symlink_to(path)
    described = yaml.safe_load((model / "inference.yml").read_text(encoding="utf-8"))
    for operation in described["PreProcess"]["transform_ops"]:
        if resize and "ResizeImage" in operation:
            operation["ResizeImage"] = resize
    (folder / "inference.yml").write_text(yaml.safe_dump(described, allow_unicode=True), encoding="utf-8")
    return folder


def dumps(document: dict[str, Any]) -> str:
    """JSON with one case to a line; of long answers the head: the rest is as good as its length."""
    cases = []
    for case in document.pop("cases"):
        case["count"] = len(case["categories"])
        case["categories"] = case["categories"][:20]
        cases.append(json.dumps(case, ensure_ascii=False, separators=(",", ":")))
    head = json.dumps(document, indent=1)[:-2]
    return head + ',\n "cases": [\n' + ",\n".join(cases) + "\n]}\n"


def main() -> None:
    if sys.argv[1:2] == ["--inside"]:
        for case in answers(*sys.argv[2:5]):
            print(json.dumps(case, ensure_ascii=False), flush=True)
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path)
    parser.add_argument("--samples", type=Path, help="cut the inputs anew from these photographs")
    parser.add_argument(
        "--work", type=Path, default=ROOT / "benchmarks" / ".peers", help="folder for PaddleX"
    )
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if arguments.samples:
        cut(arguments.samples)
    record(arguments.work, arguments.models)


if __name__ == "__main__":
    main()
