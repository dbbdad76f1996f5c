"""TensorRT's switches for reduced precision."""

from __future__ import annotations

import logging
from typing import Any

_log = logging.getLogger(__name__)


def set_precision(flags: Any, config: Any, precision: str, quantized: bool) -> None:
    """What the builder may use besides float32.

    TensorRT 10 is told by flags. 11 has none of them: it computes in the types of the ONNX file, so half
    precision takes a half-precision file there. TF32, float32 with 10 bits of mantissa, is on by default.
    """
    wanted = {"fp16": ["FP16"], "auto": ["FP16"], "bf16": ["BF16"]}.get(precision, [])
    for name in wanted + ["INT8"] * quantized:  # a file with quantised layers does not build without
        if hasattr(flags, name):
            config.set_flag(getattr(flags, name))
        else:
            _log.info("this TensorRT has no flag %s: the ONNX file decides the precision", name)
    if precision == "f32" and hasattr(flags, "TF32"):
        config.clear_flag(flags.TF32)
