"""PaddleX's own serving as a peer: its environment, its configuration, its command line.

Everything lies in ``benchmarks/.peers`` (or the folder that a benchmark is given): one virtual environment
that is built once, and the pipeline YAMLs. The weights are the ones this project's model store resolves,
so both sides read the same files.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from pipelines.core.models import ModelStore, resolve

from .common import ROOT

DEFAULT_FOLDER = ROOT / "benchmarks" / ".peers"

#: PaddleX 3.7.2 with the newest PaddlePaddle whose oneDNN runs these models: 3.3.x answers every
#: request of the default configuration with 500.
REQUIREMENTS = ("paddlex[cv,ocr,serving]==3.7.2", "paddlepaddle==3.2.2", "onnxruntime==1.32.0")
#: The same for time series, which it takes more packages for.
SERIES_REQUIREMENTS = ("paddlex[ts,serving]==3.7.2", "paddlepaddle==3.2.2")
#: Environment's folder to what is installed in it.
ENVIRONMENTS = {"paddlex": REQUIREMENTS, "paddlex-ts": SERIES_REQUIREMENTS}

#: Used where OpenCV with its window system does not load (no libGL). PaddleX checks only that the
#: distribution ``opencv-contrib-python`` is there, so the headless files may lie over it.
HEADLESS = "opencv-contrib-python-headless==4.10.0.84"

DETECTION, RECOGNITION = "PP-OCRv4_mobile_det", "PP-OCRv4_mobile_rec"
LAYOUT, STRUCTURE = "layout_picodet_cdla", "SLANet_plus"


class Server(NamedTuple):
    """A server to be measured.

    Attributes:
        name: row label; ``peer`` tells PaddleX's rows from ours.
        command: full command line with ``{port}`` where the port goes.
        env: additions to the environment.
        ready_path: answers 200 once requests are served.
        prepare: command to run once before the first start; none when empty.
    """

    name: str
    peer: bool
    command: tuple[str, ...]
    env: Mapping[str, str]
    ready_path: str
    prepare: tuple[str, ...] = ()

    def on(self, port: int) -> list[str]:
        """The command line for a port."""
        return [part.replace("{port}", str(port)) for part in self.command]


def paddlex_python(folder: Path, name: str = "paddlex") -> Path:
    """The interpreter of one of :data:`ENVIRONMENTS` (about 1.7 GB, minutes)."""
    return environment(folder, name, ENVIRONMENTS[name])


def environment(
    folder: Path, name: str, requirements: Sequence[str], interpreter: str = sys.executable
) -> Path:
    """The Python of an environment that holds ``requirements``, which is built on first use."""
    home = folder / name
    python, stamp = home / "bin" / "python", home / "requirements.txt"
    wanted = "\n".join(requirements) + "\n"
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"building {home}: {' '.join(requirements)}", flush=True)
    subprocess.run([interpreter, "-m", "venv", "--clear", str(home)], check=True)
    _pip(python, *requirements)
    if subprocess.run([python, "-c", "import cv2"], check=False, capture_output=True).returncode and any(
        "paddlex" in each for each in requirements
    ):
        _pip(python, "--no-deps", "--force-reinstall", HEADLESS)
    stamp.write_text(wanted)
    return python


def _pip(python: Path, *arguments: str) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True)


def paddlex_versions(folder: Path, environment: str = "paddlex") -> dict[str, str]:
    """What is installed in PaddleX's environment and decides its figures."""
    names = ("paddlex", "paddlepaddle", "uvicorn", "fastapi", "numpy")
    names += ("pandas",) if environment == "paddlex-ts" else ("onnxruntime", "opencv-contrib-python")
    code = f"from importlib.metadata import version as v\nfor n in {names!r}: print(n, v(n))"
    python = paddlex_python(folder, environment)
    done = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    return dict(line.split() for line in done.stdout.splitlines())


def font() -> str:
    """The product's font, for the rendered images."""
    return ModelStore(stream=sys.stderr).font()


def ocr_document(**changes: Any) -> dict[str, Any]:
    """PaddleX's OCR.yaml with PP-OCRv4 mobile from the model store, without page and line orientation.

    ``changes`` are ``limit_side_len``, ``limit_type`` and ``batch_size``; other keys go to the top.
    """
    detection = {
        "module_name": "text_detection",
        "model_name": DETECTION,
        "model_dir": resolve(DETECTION, stream=sys.stderr).directory,
        "limit_side_len": changes.pop("limit_side_len", 64),
        "limit_type": changes.pop("limit_type", "min"),
        "max_side_limit": 4000,
        "thresh": 0.3,
        "box_thresh": 0.6,
        "unclip_ratio": 1.5,
    }
    recognition = {
        "module_name": "text_recognition",
        "model_name": RECOGNITION,
        "model_dir": resolve(RECOGNITION, stream=sys.stderr).directory,
        "batch_size": changes.pop("batch_size", 6),
        "score_thresh": 0.0,
    }
    return {
        "pipeline_name": "OCR",
        "text_type": "general",
        "use_doc_preprocessor": False,
        "use_textline_orientation": False,
        "SubModules": {"TextDetection": detection, "TextRecognition": recognition},
        **changes,
    }


def table_document(**changes: Any) -> dict[str, Any]:
    """PaddleX's table_recognition.yaml with models from the store, without page preprocessing.

    The layout model runs on ONNX Runtime: the store has it as ONNX only. ``changes`` are keys of the
    table structure model's entry; ``ocr``: see :func:`ocr_document`, ``top``: keys of the document.
    """
    reading = ocr_document(
        **{"limit_side_len": 960, "limit_type": "max", "batch_size": 1}, **changes.pop("ocr", {})
    )
    layout = {
        "module_name": "layout_detection",
        "model_name": "PicoDet_layout_1x",
        "model_dir": resolve(LAYOUT, stream=sys.stderr).directory,
        "engine": "onnxruntime",
    }
    top = changes.pop("top", {})
    structure = {
        "module_name": "table_structure_recognition",
        "model_name": STRUCTURE,
        "model_dir": resolve(STRUCTURE, stream=sys.stderr).directory,
        **changes,
    }
    return {
        "pipeline_name": "table_recognition",
        "use_doc_preprocessor": False,
        "use_layout_detection": True,
        "use_ocr_model": True,
        "SubModules": {"LayoutDetection": layout, "TableStructureRecognition": structure},
        "SubPipelines": {"GeneralOCR": reading},
        **top,
    }


def write_yaml(folder: Path, name: str, document: Mapping[str, Any]) -> Path:
    """``document`` as a YAML file named after ``name``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{re.sub(r'[^a-z0-9]+', '-', name.lower())}.yaml"
    path.write_text(yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True))
    return path


def paddlex_server(
    folder: Path, name: str, document: Mapping[str, Any], *arguments: str, environment: str = "paddlex"
) -> Server:
    """``paddlex --serve`` of ``document``; ``arguments`` are further options such as ``--engine``."""
    program = str(paddlex_python(folder, environment).with_name("paddlex"))
    command = (
        program, "--serve", "--device", "cpu", "--host", "127.0.0.1", "--port", "{port}",
        "--pipeline", str(write_yaml(folder, name, document)), *arguments,
    )  # fmt: skip
    # No hub is asked for anything: the models are local, and the measuring machine may be offline.
    env = {"PADDLE_PDX_DISABLE_MODEL_SOURCE_CHECK": "True", "PADDLE_PDX_CACHE_HOME": str(folder / "cache")}
    return Server(name, True, command, env, "/health")


def our_server(folder: Path, name: str, document: Mapping[str, Any], *arguments: str) -> Server:
    """This project's server on the same YAML."""
    command = (
        sys.executable, "-m", "server", "--device", "cpu", "--host", "127.0.0.1", "--port", "{port}",
        "--pipeline", str(write_yaml(folder, name, document)), *arguments,
    )  # fmt: skip
    return Server(name, False, command, {}, "/health/ready")


def planned_server(folder: Path, name: str, document: Mapping[str, Any], *arguments: str) -> Server:
    """The same with a plan for these ``arguments``, which is made before the first start if there is none."""
    server = our_server(folder, name, document, *arguments)
    path = server.command[server.command.index("--pipeline") + 1]
    plan = (sys.executable, "-m", "server", "plan", "--device", "cpu", "--pipeline", path, *arguments)
    return server._replace(prepare=plan)


#: Row labels of the standard comparison; the first of PaddleX's is its default.
OPENVINO, ONNXRUNTIME, PADDLE = "ours openvino", "ours onnxruntime", "ours paddle exact"
AUTO = "ours hpip auto"
PADDLEX_DEFAULT, PADDLEX_ONNX = "paddlex", "paddlex --engine onnxruntime"


def standard(folder: Path) -> dict[str, Server]:
    """The configurations of the OCR benchmark, by row label."""
    document = ocr_document()
    auto = ("--use_hpip", "--precision", "auto", "--padding", "tight")
    return {
        PADDLEX_DEFAULT: paddlex_server(folder, PADDLEX_DEFAULT, document),
        PADDLEX_ONNX: paddlex_server(folder, PADDLEX_ONNX, document, "--engine", "onnxruntime"),
        OPENVINO: our_server(folder, OPENVINO, document, "--engine", "openvino", "--padding", "tight"),
        AUTO: planned_server(folder, AUTO, document, *auto),
        ONNXRUNTIME: our_server(
            folder, ONNXRUNTIME, document, "--engine", "onnxruntime", "--padding", "tight"
        ),
        PADDLE: our_server(folder, PADDLE, document, "--engine", "paddle", "--padding", "exact"),
    }
