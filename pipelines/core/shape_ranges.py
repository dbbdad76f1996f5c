"""For which input shapes TensorRT builds a model: the ``Hpi`` section of its ``inference.yml``.

PaddleX writes it into every model that it exports for TensorRT (API reference, 7.1):
``Hpi.backend_configs.tensorrt.dynamic_shapes`` is ``{input: [smallest, usual, largest]}``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np

from .config import ModelFiles
from .errors import ConfigError
from .inference_yml import Description
from .onnx_ports import read_onnx_ports
from .paddle_program import Port

Shape = tuple[int, ...]
#: Numbers in an input that is small: a series of 1,000 steps has less, a picture of 48 x 48 px has more.
_SMALL = 4096
#: Where the ranges are in 3.x, best first.
_PLACES = (("tensorrt", "dynamic_shapes"), ("paddle_infer", "trt_dynamic_shapes"))


class ShapeRange(NamedTuple):
    """Shapes of one input: an engine is built for those from ``low`` to ``high``, and tuned for ``usual``."""

    low: Shape
    usual: Shape
    high: Shape

    def holds(self, shape: Shape) -> bool:
        """Whether ``shape`` lies inside, bounds included."""
        return len(shape) == len(self.low) and all(
            low <= size <= high for low, size, high in zip(self.low, shape, self.high, strict=True)
        )


def read_ranges(directory: str) -> dict[str, ShapeRange]:
    """Ranges by input name; empty where the model has no ``inference.yml`` or says none.

    Raises ConfigError on a section that is there and wrong.
    """
    try:
        description = Description(directory)
    except ConfigError:
        return {}
    configs = _mapping(_mapping(description.top("Hpi")).get("backend_configs"))
    for backend, key in _PLACES:
        found = _mapping(configs.get(backend)).get(key)
        if found is not None:
            return {str(name): _range(description, name, value) for name, value in _mapping(found).items()}
    return {}


def ranges_for(directory: str, inputs: Mapping[str, Port]) -> dict[str, ShapeRange]:
    """Ranges for every input of a model: those of its ``inference.yml``, and fixed shapes as they are.

    An input of which only the number is open, and of which the file says nothing, may come in a batch.
    Raises ConfigError when there is no range for an input with another dynamic axis.
    """
    known = read_ranges(directory)
    most = min((_most_together(shape[1:]) for shape, _ in inputs.values()), default=1)
    found = {}
    for name, (shape, _) in inputs.items():
        if -1 not in shape:
            found[name] = ShapeRange(shape, shape, shape)
        elif name in known and len(known[name].low) == len(shape):
            found[name] = known[name]
        elif -1 not in shape[1:]:
            one = (1, *shape[1:])
            found[name] = ShapeRange(one, one, (most, *shape[1:]))
        else:
            raise ConfigError(f"inference.yml has no Hpi shapes for the input {name}")
    return found


def _most_together(shape: Shape) -> int:
    """Largest batch of such inputs that a stage makes: 64 series, 8 pictures (``Stage.max_batch``)."""
    return 8 if math.prod(shape) > _SMALL else 64


def lacks_ranges(files: ModelFiles) -> str | None:
    """Why TensorRT cannot know for which shapes to build a model's ONNX file; None when it can."""
    try:
        inputs, _ = read_onnx_ports(files.files["onnx"])
        ranges_for(files.directory, inputs)
    except (ConfigError, OSError) as error:
        return str(error)
    return None


def first_outside(ranges: Mapping[str, ShapeRange], feeds: Mapping[str, np.ndarray]) -> str | None:
    """What is wrong with the first array whose shape is in no range; None when all are inside."""
    for name, array in feeds.items():
        if name in ranges and not ranges[name].holds(array.shape):
            low, _, high = ranges[name]
            return f"{name} {array.shape} is not between {low} and {high}"
    return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _range(description: Description, name: Any, value: Any) -> ShapeRange:
    try:
        low, usual, high = msgspec.convert(value, tuple[Shape, Shape, Shape])
    except msgspec.ValidationError:
        raise description.error(f"Hpi: the shapes of {name} must be three lists of integers") from None
    found = ShapeRange(low, usual, high)
    if min((*low, 1)) < 1 or not found.holds(usual) or len(low) != len(high):
        raise description.error(f"Hpi: the shapes of {name} must be positive, smallest first, of one rank")
    return found
