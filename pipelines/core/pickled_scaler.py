"""The child that takes a scaler's numbers out of ``scaler.pkl`` without running anything that is in it.

Started by :mod:`pipelines.core.scalers` with the standard library alone. The pickle is on stdin; on stdout
goes JSON: the fields of ``scaler.json``, or ``{"error": "..."}``.
"""

import io
import json
import math
import resource
import struct
import sys
from typing import Any

from .pickle_notes import (
    ENCODE,
    FROM_BUFFER,
    RANGE,
    RECONSTRUCT,
    STANDARD,
    WRAPPER,
    Machine,
    Made,
    Refused,
    content,
    length,
    type_format,
)

#: Of this process: address space in bytes, and seconds.
MEMORY_BYTES, CPU_S = 256 << 20, 5


def floats(made: Any) -> list[float]:
    """The numbers of an array, in whichever form it was written."""
    if not isinstance(made, Made) or made.name not in {WRAPPER, RECONSTRUCT, FROM_BUFFER}:
        raise Refused("it has something else where an array of numbers should be")
    if made.name == WRAPPER:
        shape, kind, found = made.state["shape"], made.state["dtype"], made.content
    elif made.name == RECONSTRUCT:
        _, shape, kind, _, found = made.state
    else:
        found, kind, shape, _ = made.arguments
    if isinstance(found, Made) and found.name == ENCODE:
        found = found.arguments[0].encode("latin-1")
    return [float(value) for value in struct.unpack(type_format(kind, length(shape)), found)]


def names(made: Any) -> list[str]:
    """``feature_names_in_``, absent when the scaler was fitted on numbers without names."""
    if made is None:
        return []
    listed = made.content if made.name == WRAPPER else content(made)
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise Refused("it has names of columns that are no text")
    return listed


def facts(made: Any) -> dict[str, Any]:
    """The fields of ``scaler.json``: ``(x - mean) / scale`` is what the scaler does."""
    if not isinstance(made, Made) or made.name not in {STANDARD, RANGE} or not isinstance(made.state, dict):
        raise Refused(f"it holds neither a {STANDARD} nor a {RANGE}")
    state = made.state
    try:
        mean, scale = standard(state) if made.name == STANDARD else limited(state)
    except KeyError as error:
        raise Refused(f"its {made.name} is not fitted: {error.args[0]} is missing") from error
    if not all(map(math.isfinite, mean + scale)) or 0.0 in scale:
        raise Refused("it scales by numbers that are not finite or zero")
    return {"columns": names(state.get("feature_names_in_")), "mean": mean, "scale": scale}


def standard(state: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Of a StandardScaler."""
    mean = floats(state["mean_"]) if state.get("with_mean", True) else None
    scale = floats(state["scale_"]) if state.get("with_std", True) else None
    if mean is None and scale is None:
        raise Refused(f"its {STANDARD} does nothing")
    return mean or [0.0] * len(scale or ()), scale or [1.0] * len(mean or ())


def limited(state: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Of a MinMaxScaler, which multiplies and adds."""
    if state.get("clip"):
        raise Refused(f"its {RANGE} clips, which scaler.json cannot say")
    factors, terms = floats(state["scale_"]), floats(state["min_"])
    pairs = list(zip(terms, factors, strict=True))
    return [-term / factor for term, factor in pairs], [1 / factor for factor in factors]


def read(data: bytes) -> dict[str, Any]:
    """The fields of ``scaler.json``, or ``error``. Raises MemoryError."""
    if data[:1] != b"\x80":
        return {"error": "it is no pickle of protocol 2 or later (or compressed)"}
    try:
        return facts(Machine(io.BytesIO(data)).load())
    except Refused as error:
        return {"error": str(error)}
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, struct.error) as error:
        return {"error": f"it is damaged ({type(error).__name__})"}


def main() -> None:
    """Answer for stdin."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    for what in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE, resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE):
        resource.setrlimit(what, (0, 0))
    try:
        answer = read(sys.stdin.buffer.read())
    except MemoryError:
        answer = {"error": f"it needs more than {MEMORY_BYTES >> 20} MiB"}
    sys.stdout.write(json.dumps(answer))
