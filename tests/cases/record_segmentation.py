"""Makes the golden cases of semantic segmentation, anomaly detection and instance segmentation.

    python tests/cases/record_segmentation.py MODELS            record what PaddleX answers
    python tests/cases/record_segmentation.py MODELS --samples SAMPLES    cut the inputs anew first

MODELS holds the starter models in Paddle's format (docs/models.md says how they are built). SAMPLES holds
pictures of brick (scikit-image, CC0) and of nuclei (stardist, BSD-3, from the 2018 Data Science Bowl); the
other inputs are those of the classification cases.

The oracle is ``paddlex --serve``, PaddleX 3.7.2 with PaddlePaddle 3.2.2, run mode ``paddle`` (no oneDNN).
The starter takes pictures of one size only, so sizes are recorded with a network of one convolution that
is made here: the class of a pixel is the strongest of four channels. Runs in this project's environment.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SHARED = "../image_classification/"
PLAIN = {"engine": "paddle_static", "engine_config": {"run_mode": "paddle", "cpu_threads": 2}}
#: Where the network of one convolution lies.
STRONGEST = HERE / "semantic_segmentation" / "strongest"

#: Input to (folder, sample, x, y, width, height, scale).
CUTS = {
    "brick.jpg": ("anomaly_detection", "brick_good.png", 0, 0, 256, 240, 1.0),
    "gravel.jpg": ("anomaly_detection", "brick_defect_b.png", 20, 40, 230, 200, 1.0),
    "gravel_wide.jpg": ("anomaly_detection", "brick_defect_b.png", 0, 100, 256, 130, 1.5),
    "nuclei.png": ("instance_segmentation", "nuclei_test_0.png", 0, 0, 160, 160, 1.0),
    "nuclei_low.png": ("instance_segmentation", "nuclei_test_176.png", 0, 20, 160, 110, 1.0),
    "nuclei_large.jpg": ("instance_segmentation", "nuclei_test_352.png", 0, 0, 160, 160, 3.0),
}
#: ``Deploy.transforms`` of the network of one convolution, by the name of the variant.
NORMALIZE = {"type": "Normalize", "mean": [0.4, 0.5, 0.6], "std": [0.5, 0.25, 0.75]}
TRANSFORMS: dict[str, list[dict[str, Any]]] = {
    "own_size": [{"type": "Normalize"}],
    "defaults": [{"type": "Resize", "target_size": [120, 72]}, NORMALIZE],
    "stretched": [
        {"type": "Resize", "target_size": [72, 50], "keep_ratio": False, "size_divisor": None}, NORMALIZE,
    ],
    "cubic": [{"type": "Resize", "target_size": 64, "interp": "bicubic"}, NORMALIZE],
    "area": [{"type": "Resize", "target_size": [40, 64], "interp": "AREA", "size_divisor": 8}, NORMALIZE],
}  # fmt: skip
SIZES: tuple[dict[str, Any], ...] = (
    {}, {"targetSize": 48}, {"targetSize": [90, 40]}, {"targetSize": -1}, {"targetSize": [-1, -1]},
)  # fmt: skip


class Run(NamedTuple):
    """One server: pipeline, its sub-module, folder in MODELS ("": the small network), inputs to requests."""

    pipeline: str
    submodule: str
    model: str
    variant: str
    asked: dict[str, tuple[dict[str, Any], ...]]


def runs() -> Iterator[Run]:
    people = (
        "person.jpg",
        "turned.jpg",
        "see_through.png",
        "strip.jpg",
        "column.jpg",
        "small.png",
        "tripod.png",
    )
    pictures: dict[str, tuple[dict[str, Any], ...]] = {SHARED + name: ({},) for name in people}
    pictures[SHARED + "person.jpg"] = (
        {},
        {"targetSize": 256},
        {"targetSize": [256, 256]},
        {"visualize": True},
    )
    yield Run("semantic_segmentation", "SemanticSegmentation", "segmentation_selfie", "", pictures)
    small = {SHARED + name: SIZES for name in ("small.png", "column.jpg")}
    for variant in TRANSFORMS:
        yield Run("semantic_segmentation", "SemanticSegmentation", "", variant, small)
    bricks: dict[str, tuple[dict[str, Any], ...]] = {
        "brick.jpg": ({},), "gravel.jpg": ({}, {"visualize": True}), "gravel_wide.jpg": ({},),
        SHARED + "cup.jpg": ({},), SHARED + "column.jpg": ({},),
    }  # fmt: skip
    yield Run("anomaly_detection", "AnomalyDetection", "anomaly_brick", "", bricks)
    limits: tuple[dict[str, Any], ...] = ({}, {"threshold": 0.85}, {"threshold": 0.31}, {"threshold": 0})
    nuclei = dict.fromkeys(("nuclei.png", "nuclei_low.png", "nuclei_large.jpg"), limits)
    nuclei[SHARED + "strip.jpg"] = limits[:1]
    yield Run("instance_segmentation", "InstanceSegmentation", "instance_nuclei", "", nuclei)


def cut(samples: Path) -> None:
    """Write every input of ``CUTS``."""
    for name, (folder, sample, x, y, width, height, scale) in CUTS.items():
        whole = cv2.imread(str(samples / sample), cv2.IMREAD_COLOR)
        part = whole[y : y + height, x : x + width]
        part = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        if name.endswith(".png"):
            part = part[:, :, 0]
        target = HERE / folder / name
        cv2.imwrite(str(target), part, [cv2.IMWRITE_JPEG_QUALITY, 80, cv2.IMWRITE_PNG_COMPRESSION, 9])


def make_strongest() -> None:
    """Save the network of one convolution, in the old program format."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(Path(__file__).resolve()), "--save", f"{folder}/inference"]
        subprocess.run(command, env=os.environ | {"FLAGS_enable_pir_api": "0"}, check=True)
        from tests.cases.make_tiny import without_traces

        STRONGEST.mkdir(parents=True, exist_ok=True)
        program = without_traces(Path(folder, "inference.pdmodel").read_bytes())
        (STRONGEST / "inference.pdmodel").write_bytes(program)
        shutil.copyfile(f"{folder}/inference.pdiparams", STRONGEST / "inference.pdiparams")


def save_strongest(target: str) -> None:
    """In a process of its own: Paddle reads the flag when it is loaded."""
    import paddle

    from tests.tiny import weights

    class Strongest(paddle.nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.conv = paddle.nn.Conv2D(3, 4, 3, padding=1)

        def forward(self, x: Any) -> Any:
            return self.conv(x).argmax(axis=1, dtype="int32")

    net = Strongest()
    for parameter, value in zip((net.conv.weight, net.conv.bias), weights(), strict=True):
        parameter.set_value(value)
    net.eval()
    spec = paddle.static.InputSpec([-1, 3, -1, -1], "float32", name="x")
    paddle.jit.save(paddle.jit.to_static(net, full_graph=True, input_spec=[spec]), target)


def model_of(run: Run, models: Path, folder: Path) -> Path:
    """The model of a run; the small network gets its ``inference.yml``."""
    if run.model:
        return models / run.model
    for path in STRONGEST.iterdir():
        shutil.copyfile(path, folder / path.name)
    document = {"Global": {"model_name": "PP-LiteSeg-T"}, "Deploy": {"transforms": TRANSFORMS[run.variant]}}
    (folder / "inference.yml").write_text(yaml.safe_dump(document))
    return folder


def document(run: Run, model: Path) -> dict[str, Any]:
    """A pipeline YAML of 3.x."""
    name = yaml.safe_load((model / "inference.yml").read_text())["Global"]["model_name"]
    module = {"module_name": run.pipeline, "model_name": name, "model_dir": str(model), "batch_size": 1}
    own = {"SemanticSegmentation": {"target_size": None}, "InstanceSegmentation": {"threshold": 0.5}}
    return {
        "pipeline_name": run.pipeline,
        "SubModules": {run.submodule: {**module, **own.get(run.submodule, {})}},
        **PLAIN,
    }


def post(url: str, path: Path, fields: Mapping[str, Any]) -> dict[str, Any]:
    """``result`` of one request."""
    body = {"image": base64.b64encode(path.read_bytes()).decode(), "visualize": False, **fields}
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as answer:
        return json.load(answer)["result"]


def kept(result: dict[str, Any], folder: Path, name: str) -> dict[str, Any]:
    """What is kept of an answer; a label map and a picture become files of that name."""
    if "instances" in result:
        return {"instances": result["instances"]}
    labels = np.array(result["labelMap"], np.uint8).reshape(result["size"])
    (folder / f"{name}.png").write_bytes(cv2.imencode(".png", labels, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1])
    found = {"size": result["size"], "labels": f"{name}.png"}
    if "image" in result:
        (folder / f"{name}.jpg").write_bytes(base64.b64decode(result["image"]))
        found["picture"] = f"{name}.jpg"
    return found


def record(work: Path, models: Path) -> None:
    """Write ``golden.json`` of every pipeline, and the files that it names."""
    from benchmarks import peers, process

    made: dict[str, list[dict[str, Any]]] = {}
    for run in runs():
        cases, answers = made.setdefault(run.pipeline, []), HERE / run.pipeline / "golden"
        answers.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            model = model_of(run, models, Path(folder))
            name = f"record {run.pipeline} {run.variant}"
            server = peers.paddlex_server(work, name, document(run, model))
            route = f"/{run.pipeline.replace('_', '-')}".replace("/anomaly", "/image-anomaly")
            port = process.free_port()
            log = Path(folder, "log")
            with process.running(server.on(port), port, log, ready_path="/health", env=server.env):
                for each, requests in run.asked.items():
                    for request in requests:
                        result = post(f"http://127.0.0.1:{port}{route}", HERE / run.pipeline / each, request)
                        known = {
                            "model": run.model,
                            "variant": run.variant,
                            "input": each,
                            "request": request,
                        }
                        cases.append(known | kept(result, answers, f"{len(cases):02}"))
        print(run.pipeline, run.variant, len(cases), flush=True)
    for pipeline, cases in made.items():
        about = {"versions": peers.paddlex_versions(work), "transforms": TRANSFORMS}
        if pipeline != "semantic_segmentation":
            del about["transforms"]
        (HERE / pipeline / "golden.json").write_text(dumps(about, cases), encoding="utf-8")


def dumps(about: Mapping[str, Any], cases: list[dict[str, Any]]) -> str:
    """JSON with one case to a line: small, and a changed case is one changed line."""
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    return json.dumps(about, indent=1)[:-2] + ',\n "cases": [\n' + lines + "\n]}\n"


def main() -> None:
    sys.path.insert(0, str(ROOT))
    if sys.argv[1:2] == ["--save"]:
        save_strongest(sys.argv[2])
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path)
    parser.add_argument("--samples", type=Path, help="cut the inputs anew from these pictures")
    parser.add_argument(
        "--work", type=Path, default=ROOT / "benchmarks" / ".peers", help="folder for PaddleX"
    )
    arguments = parser.parse_args()
    if arguments.samples:
        cut(arguments.samples)
        make_strongest()
    record(arguments.work, arguments.models)


if __name__ == "__main__":
    main()
