"""A net of four layers in every model format, and its answer in NumPy.

``x [N,3,H,W]`` -> 3x3 convolution, ReLU -> ``maps [N,4,H,W]`` -> mean, softmax -> ``scores [N,4]``.
The ONNX file is written here; the Paddle files in ``cases/tiny`` were saved by ``cases/make_tiny.py``.
"""

import shutil
import struct
from pathlib import Path

import numpy as np

from pipelines.core.config import ModelFiles

CASES = Path(__file__).with_name("cases") / "tiny"


def weights():
    """Kernel ``[4,3,3,3]`` and bias ``[4]`` of the convolution."""
    rng = np.random.default_rng(7)
    return (
        rng.normal(0, 0.5, (4, 3, 3, 3)).astype(np.float32),
        rng.normal(0, 0.1, 4).astype(np.float32),
    )


def answer(x):
    """``scores`` and ``maps`` in float64."""
    kernel, bias = (value.astype(np.float64) for value in weights())
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    height, width = x.shape[2:]
    maps = np.zeros((len(x), 4, height, width)) + bias[:, None, None]
    for dy in range(3):
        for dx in range(3):
            window = padded[:, :, dy : dy + height, dx : dx + width]
            maps += np.einsum("oc,nchw->nohw", kernel[:, :, dy, dx], window)
    maps = np.maximum(maps, 0)
    means = maps.mean(axis=(2, 3))
    scores = np.exp(means - means.max(axis=1, keepdims=True))
    return scores / scores.sum(axis=1, keepdims=True), maps


def model(kind, folder):
    """The model as ``ModelFiles`` with one format: ``onnx``, ``pdmodel`` or ``pir``."""
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "onnx":
        (folder / "inference.onnx").write_bytes(onnx_model())
        return ModelFiles("tiny", str(folder), {"onnx": str(folder / "inference.onnx")})
    program = "inference.pdmodel" if kind == "pdmodel" else "inference.json"
    shutil.copyfile(CASES / kind / program, folder / program)
    shutil.copyfile(CASES / kind / "inference.pdiparams", folder / "inference.pdiparams")
    files = {kind: str(folder / program), "params": str(folder / "inference.pdiparams")}
    return ModelFiles("tiny", str(folder), files)


# --- ONNX by hand (field numbers: onnx/onnx.proto) ---------------------------------------------------


def _varint(value):
    out = b""
    value &= (1 << 64) - 1
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number, value):
    """One field: an integer as a varint, anything else as bytes."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(raw)) + raw


def _attribute(name, kind, *values):
    if kind == "ints":
        return field(1, name) + b"".join(field(8, v) for v in values) + field(20, 7)
    return field(1, name) + field(3, values[0]) + field(20, 2)


def _node(operator, inputs, outputs, *attributes):
    raw = b"".join(field(1, name) for name in inputs) + b"".join(field(2, name) for name in outputs)
    return field(1, raw + field(4, operator) + b"".join(field(5, each) for each in attributes))


def _tensor(name, array):
    dims = b"".join(field(1, size) for size in array.shape)
    raw = struct.pack(f"<{array.size}f", *array.ravel())
    return field(5, dims + field(2, 1) + field(8, name) + field(9, raw))


def _value(number, name, shape):
    dims = b"".join(field(1, field(1, size) if isinstance(size, int) else field(2, size)) for size in shape)
    return field(number, field(1, name) + field(2, field(1, field(1, 1) + field(2, dims))))


def onnx_model(metadata=()):
    """The bytes of the ONNX file; ``metadata`` are (key, value) pairs."""
    kernel, bias = weights()
    graph = (
        _node("Conv", ("x", "kernel", "bias"), ("conv",), _attribute("pads", "ints", 1, 1, 1, 1))
        + _node("Relu", ("conv",), ("maps",))
        + _node(
            "ReduceMean",
            ("maps",),
            ("means",),
            _attribute("axes", "ints", 2, 3),
            _attribute("keepdims", "int", 0),
        )
        + _node("Softmax", ("means",), ("scores",), _attribute("axis", "int", -1))
        + field(2, "tiny")
        + _tensor("kernel", kernel)
        + _tensor("bias", bias)
        + _value(11, "x", ("n", 3, "h", "w"))
        + _value(12, "scores", ("n", 4))
        + _value(12, "maps", ("n", 4, "h", "w"))
    )
    entries = b"".join(field(14, field(1, key) + field(2, value)) for key, value in metadata)
    return field(1, 8) + field(8, field(1, "") + field(2, 13)) + field(7, graph) + entries
