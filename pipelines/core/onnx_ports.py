"""Inputs and outputs of an ONNX file, read without a framework: some end the process on a bad file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .errors import ConfigError
from .paddle_program import Port
from .protobuf import fields, messages, signed, text

#: TensorProto.DataType to NumPy (onnx/onnx.proto).
_TYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
}


def read_onnx_ports(path: str) -> tuple[dict[str, Port], dict[str, Port]]:
    """``(inputs, outputs)`` of a model by name, in the file's order; weights are no inputs.

    A type that NumPy does not have is "". Raises ConfigError on a file that is no ONNX model.
    """
    try:
        graph = next(messages(memoryview(Path(path).read_bytes()), 7), None)
        if graph is None:
            raise ConfigError("no graph")
        weights = {text(tensor, 8) for tensor in messages(graph, 5)}
        inputs = {name: port for name, port in _values(graph, 11) if name not in weights}
        outputs = dict(_values(graph, 12))
    except (ConfigError, UnicodeDecodeError) as error:
        raise ConfigError(f"{Path(path).name} is not an ONNX model") from error
    if not outputs:
        raise ConfigError(f"{Path(path).name} is not an ONNX model")
    return inputs, outputs


def _values(graph: memoryview, number: int) -> Iterator[tuple[str, Port]]:
    """ValueInfoProto: name 1, type 2; there, tensor_type 1: elem_type 1, shape 2 with a dim 1 per axis."""
    for value in messages(graph, number):
        for kind in messages(value, 2):
            for tensor in messages(kind, 1):
                element = next((found for number, found in fields(tensor) if number == 1), 0)
                axes = [axis for shape in messages(tensor, 2) for axis in messages(shape, 1)]
                dtype = _TYPES.get(element, "") if isinstance(element, int) else ""
                yield text(value, 1), Port(tuple(_size(axis) for axis in axes), dtype)


def _size(axis: memoryview) -> int:
    """Dimension: dim_value 1 is a number; anything else (dim_param 2, nothing) is dynamic."""
    size = next((found for number, found in fields(axis) if number == 1), -1)
    return signed(size) if isinstance(size, int) else -1
