"""From a Paddle program to ONNX with ``paddle2onnx``, which is not to be trusted.

It may end the process (exit code 255 on some operators), and has written ONNX that nobody can load, or that
answers nonsense, without a word: call it in a child process, and compare what it has made with Paddle.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import tempfile
from pathlib import Path

from .config import ModelFiles
from .contained import import_contained
from .errors import ConfigError, EngineError

HINT = "the extra 'convert' makes it: python -m pip install -e '.[convert]'"
#: The first that has GridSample; ONNX Runtime, OpenVINO and TensorRT 10 read it.
_OPSET = 16


def program_of(model: ModelFiles) -> str | None:
    """Path of the Paddle program with weights of a model that has no ONNX file; None where there is none."""
    if "onnx" in model.files or "params" not in model.files:
        return None
    return model.files.get("pir") or model.files.get("pdmodel")


def missing() -> str | None:
    """None when programs can be converted here, else what to install. Loads nothing."""
    if importlib.util.find_spec("paddle2onnx") is None:
        return HINT
    if importlib.util.find_spec("paddle") is None:
        return "PaddlePaddle, which paddle2onnx needs, comes with the extra 'paddle'"
    return None


def versions() -> dict[str, str]:
    """Of what converts, and of what it needs."""
    found = {}
    for package in ("paddle2onnx", "paddlepaddle", "paddlepaddle-gpu", "onnx"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def export(model: ModelFiles, target: Path) -> None:
    """Write the ONNX file of ``model`` to ``target``; ends this process where paddle2onnx does.

    Temporary files go to the folder of ``target``.

    Raises:
        ConfigError: the model has no program.
        EngineError: it made nothing.
    """
    program = program_of(model)
    if program is None:
        raise ConfigError(f"{model.name} has no Paddle program with weights")
    # Its default optimiser would have pip install packages from an index of its own.
    os.environ["POLYGRAPHY_AUTOINSTALL_DEPS"] = "0"
    tempfile.tempdir = str(target.parent)
    paddle2onnx = import_contained("paddle2onnx")
    try:
        paddle2onnx.export(
            program,
            model.files["params"],
            str(target),
            opset_version=_OPSET,
            enable_onnx_checker=True,
            optimize_tool="None",
        )
    finally:
        tempfile.tempdir = None
    if not target.is_file() or target.stat().st_size == 0:
        raise EngineError("it has written nothing")
