"""What this processor is called and can do, from ``/proc/cpuinfo``: no framework is loaded for it."""

from __future__ import annotations

import functools
from pathlib import Path

#: Precision to the flags of x86 any of which means that the processor computes in it. Without them engines
#: compute in f32 all the same, or slower.
_NATIVE = {
    "bf16": frozenset({"avx512_bf16", "amx_bf16"}),
    "fp16": frozenset({"avx512_fp16", "amx_fp16"}),
}
#: Words of ``/proc/cpuinfo`` with which OpenVINO computes in bf16 or fp16 unless it is told not to.
_SHORT_FLOATS = {"avx512_bf16", "amx_bf16", "avx_ne_convert", "asimdhp"}


@functools.cache
def _described() -> dict[str, str]:
    """What the first processor says of itself; empty where nothing can be read."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def cpu_name() -> str:
    """``AMD EPYC 9654 96-Core Processor``; a virtual machine may hide most of it."""
    return _described().get("model name", "unknown")


def cpu_flags() -> frozenset[str]:
    """``avx2``, ``avx512_bf16`` and so on."""
    return frozenset(_described().get("flags", "").split())


def reduced_precisions() -> tuple[str, ...]:
    """Which of ``bf16`` and ``fp16`` this processor has arithmetic for."""
    return tuple(precision for precision, flags in _NATIVE.items() if flags & cpu_flags())


def openvino_computes_short() -> bool:
    """Whether OpenVINO takes bf16 or fp16 on this CPU by itself; FastDeploy has no setting for it."""
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return False
    return bool(_SHORT_FLOATS & words)
