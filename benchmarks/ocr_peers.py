"""OCR without PaddleX as a peer: RapidOCR behind FastAPI, and libraries against this project's pipeline.

Environments are built on first use. Weights are PP-OCRv6 small, from the model store, wherever a library
takes files; images are the benchmark's, their longest side 960 px for the detector.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.core.inference_yml import Description
from pipelines.core.models import resolve

from . import peers
from .common import ROOT, summary, table

RAPIDOCR, ENGINES = "rapidocr==3.10.0", ("onnxruntime==1.32.0", "openvino==2026.4.1")
#: Environment to Python version ("": this one) and requirements. rapidocrlite has rapidocr's import name.
ENVIRONMENTS = {
    "rapidocr": ("", (RAPIDOCR, *ENGINES, "fastapi>=0.115", "uvicorn>=0.30")),
    "faster-paddle": ("", ("faster-paddle==1.0.4",)),
    "rapidocrlite": ("3.12", ("rapidocrlite==5.0.0a15",)),
    "turboocr": ("3.12", ("turboocr-engine-cpu==4.0.0a8",)),
}
#: Row to environment ("": this one); the first is what texts are compared with.
LIBRARIES = {
    "ours onnxruntime": "",
    "ours openvino": "",
    "ours openvino bf16": "",
    "rapidocr onnxruntime": "rapidocr",
    "rapidocr openvino": "rapidocr",
    "rapidocrlite exact": "rapidocrlite",
    "rapidocrlite fast": "rapidocrlite",
    "turboocr small": "turboocr",
    "faster small": "faster-paddle",
}
#: Processes in step with cores, each with one thread; or one with the engine's own number.
SPREAD = " per core"


def models_folder(folder: Path) -> Path:
    """The weights under the names that libraries look for, and the dictionary as a text file."""
    home = folder / "ppocrv6-small"
    home.mkdir(parents=True, exist_ok=True)
    for name, file in (("PP-OCRv6_small_det", "det_small.onnx"), ("PP-OCRv6_small_rec", "rec_small.onnx")):
        model = resolve(name, stream=sys.stderr)
        shutil.copyfile(model.files["onnx"], home / file)
    post = Description(model.directory).postprocess
    (home / "keys.txt").write_text("\n".join(post["character_dict"]) + "\n", encoding="utf-8")
    return home


def python_of(folder: Path, name: str) -> Path:
    """The interpreter of one of :data:`ENVIRONMENTS`. Raises RuntimeError when it cannot be built."""
    version, requirements = ENVIRONMENTS[name]
    return peers.environment(folder, name, requirements, _interpreter(version))


def _interpreter(version: str) -> str:
    """A Python of this version (``3.12``), here or with pyenv. Raises RuntimeError."""
    if not version or sys.version_info[:2] == tuple(map(int, version.split("."))):
        return sys.executable
    kept = sorted(Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python"))
    found = str(kept[-1]) if kept else shutil.which(f"python{version}")
    if found is None:
        raise RuntimeError(f"Python {version} is not installed")
    return found


def document() -> dict[str, Any]:
    """OCR.yaml with PP-OCRv6 small and the peers' size of detection."""
    changes = peers.ocr_document(limit_side_len=960, limit_type="max")
    for module, name in (
        ("TextDetection", "PP-OCRv6_small_det"),
        ("TextRecognition", "PP-OCRv6_small_rec"),
    ):
        changes["SubModules"][module] |= {
            "model_name": name,
            "model_dir": resolve(name, stream=sys.stderr).directory,
        }
    return changes


def servers(folder: Path) -> dict[str, peers.Server]:
    """What is served and compared, by row label."""
    python, models, cores = python_of(folder, "rapidocr"), models_folder(folder), os.sched_getaffinity(0)
    found = {}
    for engine in ("onnxruntime", "openvino"):
        for spread in ("", SPREAD):
            name = f"rapidocr {engine}{spread}"
            command = (str(python), str(ROOT / "benchmarks/peer_rapidocr.py"), "{port}")
            env = {"ENGINE": engine, "MODELS": str(models), "THREADS": "1" if spread else "0"}
            processes = str(len(cores) if spread else 1)
            found[name] = peers.Server(name, True, (*command, processes), env, "/health")
        arguments = ("--engine", engine, "--padding", "tight")
        found[f"ours v6 {engine}"] = peers.our_server(folder, f"ours v6 {engine}", document(), *arguments)
    auto = ("--use_hpip", "--precision", "auto", "--padding", "tight")
    found["ours v6 hpip auto"] = peers.planned_server(folder, "ours v6 hpip auto", document(), *auto)
    return found


def libraries(folder: Path, images: Sequence[bytes], passes: int) -> Iterator[dict[str, Any]]:
    """A row for each library: one process on one core, ``passes`` measured passes over the images.

    A row that cannot be measured has ``error`` in place of figures.
    """
    models, pictures = models_folder(folder), folder / "library-images"
    shutil.rmtree(pictures, ignore_errors=True)
    pictures.mkdir(parents=True)
    for place, image in enumerate(images):
        (pictures / f"{place:02}").write_bytes(image)
    reference: list[list[str]] = []
    for name, environment in LIBRARIES.items():
        try:
            python = str(python_of(folder, environment)) if environment else sys.executable
            found = _run(python, name, models, pictures, passes)
        except (RuntimeError, subprocess.SubprocessError, ValueError) as error:
            yield {"library": name, "error": str(error)[-500:]}
            continue
        reference = reference or found["texts"]
        yield {
            "library": name,
            "seconds": summary(found["seconds"]),
            "load_s": found["load_s"],
            "peak_rss_mib": found["peak_rss_mib"],
            "lines": sum(map(len, found["texts"])),
            "agreement": agreement(found["texts"], reference),
        }


def _run(python: str, name: str, models: Path, pictures: Path, passes: int) -> dict[str, Any]:
    script = str(ROOT / "benchmarks/library_ocr.py")
    command = [python, script, name, str(models), str(pictures), str(passes)]
    env = dict(os.environ) | ({"PYTHONPATH": str(ROOT)} if name.startswith("ours") else {})
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, env=env, check=False)
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}: {done.stderr.strip()[-400:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def agreement(found: Sequence[Sequence[str]], reference: Sequence[Sequence[str]]) -> float:
    """Pairs of neighbouring characters that both read, wherever on the page: 1.0 if all are the same.

    Mean over the images. Spaces and the order of lines do not count: libraries differ in both.
    """
    shares = []
    for ours, theirs in zip(found, reference, strict=True):
        one, other = _pairs(ours), _pairs(theirs)
        total = one.total() + other.total()
        shares.append(2 * (one & other).total() / total if total else 1.0)
    return sum(shares) / max(1, len(shares))


def _pairs(lines: Sequence[str]) -> Counter[str]:
    solid = [line.replace(" ", "") for line in lines]
    return Counter(line[at : at + 2] for line in solid for at in range(max(1, len(line) - 1)))


def report_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The libraries as a table."""
    header = ("library, one core", "s/image p50", "mean", "load s", "peak RSS MiB", "lines", "agreement")
    lines = [
        (
            row["library"], row["seconds"]["p50"], row["seconds"]["mean"], row["load_s"],
            row["peak_rss_mib"], row["lines"], row["agreement"],
        )
        for row in rows if "error" not in row
    ]  # fmt: skip
    missing = [f"{row['library']}: not measured: {row['error']}" for row in rows if "error" in row]
    return "\n".join([table(header, lines), *missing])
