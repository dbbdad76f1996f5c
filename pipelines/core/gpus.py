"""What Linux knows about NVIDIA GPUs without any library: model, and the NUMA node each is on.

The kernel driver lists a folder per GPU in ``/proc/driver/nvidia/gpus``, named by its PCI address.
"""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path
from typing import NamedTuple

_LIST = "proc/driver/nvidia/gpus"
_MODEL = re.compile(r"^Model:\s*(.+?)\s*$", re.MULTILINE)


class Gpu(NamedTuple):
    """One GPU: PCI address (``0000:3b:00.0``), product name, and the NUMA node, None where there is none."""

    address: str
    model: str
    node: int | None


def keep_float32(precision: str) -> None:
    """Have NVIDIA's libraries compute float32 as such: they take TF32, with 10 bits of mantissa, by default.

    To be called before CUDA is used. ``NVIDIA_TF32_OVERRIDE`` counts for the whole process; what the user has
    set stays.
    """
    if precision == "f32":
        os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")


def list_gpus(root: Path = Path("/")) -> list[Gpu]:
    """GPUs in the order of their PCI addresses, which is CUDA's with ``CUDA_DEVICE_ORDER=PCI_BUS_ID``.

    Args:
        root: stands in for ``/`` (tests).
    """
    folders = sorted((root / _LIST).glob("*:*:*"), key=lambda folder: folder.name)
    return [Gpu(folder.name, _model(folder), _node(root, folder.name)) for folder in folders]


def visible_entries() -> list[str] | None:
    """What ``CUDA_VISIBLE_DEVICES`` shows CUDA: numbers or names; None when it is not set.

    CUDA stops reading at the first number that is none, -1 for instance.
    """
    text = os.environ.get("CUDA_VISIBLE_DEVICES")
    if text is None:
        return None
    entries = [entry.strip() for entry in text.split(",")]
    return list(itertools.takewhile(lambda entry: entry and not entry.startswith("-"), entries))


def visible_gpu(index: int, root: Path = Path("/")) -> Gpu | None:
    """GPU ``index`` as CUDA counts; None when it is named by something else than its number, or not there."""
    entries, gpus = visible_entries(), list_gpus(root)
    if entries is not None:
        if index >= len(entries) or not entries[index].isdecimal():
            return None
        index = int(entries[index])
    return gpus[index] if index < len(gpus) else None


def gpu_model(index: int, root: Path = Path("/")) -> str:
    """Product name of GPU ``index``; "unknown" where it cannot be told."""
    gpu = visible_gpu(index, root)
    return gpu.model if gpu is not None else "unknown"


def _model(folder: Path) -> str:
    try:
        found = _MODEL.search((folder / "information").read_text())
    except OSError:
        return "unknown"
    return found[1] if found else "unknown"


def _node(root: Path, address: str) -> int | None:
    """``numa_node`` of the PCI device; -1 in there means that the machine has no nodes."""
    try:
        node = int((root / "sys/bus/pci/devices" / address.lower() / "numa_node").read_text())
    except (OSError, ValueError):
        return None
    return node if node >= 0 else None
