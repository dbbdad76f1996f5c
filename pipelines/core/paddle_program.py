"""Names, shapes and types of the inputs and outputs of a saved Paddle program.

Paddle Inference tells a program's shapes only after it has run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .errors import ConfigError
from .protobuf import fields, messages, signed, text

#: framework.proto's VarType.Type to NumPy; PIR's type names to NumPy.
_TYPES = {
    0: "bool",
    1: "int16",
    2: "int32",
    3: "int64",
    4: "float16",
    5: "float32",
    6: "float64",
    20: "uint8",
}
_PIR_TYPES = {
    "bool": "bool",
    "f16": "float16",
    "f32": "float32",
    "f64": "float64",
    "i32": "int32",
    "i64": "int64",
}


class Port(NamedTuple):
    """One input or output. ``shape`` holds -1 for a dynamic axis; ``dtype`` is NumPy's name."""

    shape: tuple[int, ...]
    dtype: str


def read_ports(path: str) -> dict[str, Port]:
    """Every named tensor of an ``inference.pdmodel``, or every input and output of an ``inference.json``.

    The predictor's own names are keys of it. Raises ConfigError on a file that is neither.
    """
    raw = Path(path).read_bytes()
    try:
        return dict(_pir_ports(json.loads(raw)) if path.endswith(".json") else _variables(memoryview(raw)))
    except (ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise ConfigError(f"{Path(path).name} is not a Paddle program") from error


def _variables(program: memoryview) -> Iterator[tuple[str, Port]]:
    """ProgramDesc.blocks[0].vars (field numbers: paddle/phi/core/framework/framework.proto)."""
    block = next(messages(program, 1), None)
    if block is None:
        raise ValueError("no block")
    for variable in messages(block, 3):
        for kind in messages(variable, 2):
            for lod_tensor in messages(kind, 3):
                for tensor in messages(lod_tensor, 1):
                    yield text(variable, 1), _port(tensor)


def _port(tensor: memoryview) -> Port:
    """TensorDesc: field 1 the type, field 2 the dimensions."""
    found = [(number, value) for number, value in fields(tensor) if isinstance(value, int)]
    dtype = next((_TYPES.get(value, "") for number, value in found if number == 1), "")
    return Port(tuple(signed(value) for number, value in found if number == 2), dtype)


def _pir_ports(document: dict[str, Any]) -> Iterator[tuple[str, Port]]:
    """The ``data`` and ``fetch`` operations of a PIR program."""
    for operation in document["program"]["regions"][0]["blocks"][0]["ops"]:
        if operation["#"].rpartition(".")[2] in ("data", "fetch"):
            name = next(entry["AT"]["D"] for entry in operation["A"] if entry["N"] == "name")
            element, shape = operation["O"][0]["TT"]["D"][:2]
            yield name, Port(tuple(shape), _PIR_TYPES.get(element["#"].rpartition("_")[2], ""))
