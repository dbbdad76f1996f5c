"""The seam between stages and inference frameworks: tensors in, tensors out.

An engine file is ``pipelines/engines/<name>.py`` and defines ``ENGINE``, a
subclass of :class:`Engine`. The module name is the engine's public name.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import msgspec
import numpy as np

from pipelines.core.config import ModelFiles
from pipelines.core.errors import EngineError
from pipelines.core.gpus import visible_entries

#: Inputs above this size (0.7 megapixels of float32 colour) leave activations behind that are worth
#: giving back: a page of 1600 x 2016 px needs 500 MB of them on OpenVINO.
LARGE_INPUT_BYTES = 8 << 20


def nvidia_gpus(root: Path = Path("/")) -> int:
    """NVIDIA GPUs with a device node here that ``CUDA_VISIBLE_DEVICES`` shows; loads no framework."""
    nodes = sum(path.name[6:].isdigit() for path in (root / "dev").glob("nvidia*"))
    entries = visible_entries()
    return nodes if entries is None else min(nodes, len(entries))


class TensorSpec(msgspec.Struct, frozen=True):
    """Name, shape and dtype of one input or output.

    ``shape`` holds -1 for a dynamic axis. ``dtype`` is NumPy's name (``float32``).
    """

    name: str
    shape: tuple[int, ...]
    dtype: str

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape is one."""
        return len(shape) == len(self.shape) and all(
            wanted in (-1, size) for size, wanted in zip(shape, self.shape, strict=True)
        )


def check_feeds(feeds: Mapping[str, np.ndarray], inputs: Sequence[TensorSpec]) -> None:
    """Raise EngineError unless there is an array of the right shape and native type for each input."""
    if feeds.keys() != {spec.name for spec in inputs}:
        names = [spec.name for spec in inputs]
        raise EngineError from ValueError(f"inputs {sorted(feeds)} where {names} are wanted")
    for spec in inputs:
        array = feeds[spec.name]
        if (
            not spec.fits(array.shape)
            or 0 in array.shape
            or array.dtype.name != spec.dtype
            or not array.dtype.isnative
        ):
            raise EngineError from ValueError(f"{array.dtype} {array.shape} does not fit {spec}")


class EngineOptions(msgspec.Struct, frozen=True):
    """How to load a model.

    Attributes:
        device: ``cpu`` or ``gpu:<index>``.
        threads: intra-op threads of this form; at least 1.
        precision: ``f32``, or ``bf16``/``fp16``/``int8`` where the engine has it.
        cache_dir: folder for compiled artefacts, or None for no cache.
    """

    device: str = "cpu"
    threads: int = 1
    precision: str = "f32"
    cache_dir: str | None = None


class Engine(ABC):
    """One model loaded on one device in one form (a thread count).

    Engines know tensors only: no images, tasks, labels or downloads.
    Framework exceptions become ``EngineError`` here. One thread uses an
    engine at a time.
    """

    name: ClassVar[str]
    #: keys of ``ModelFiles.files`` that this engine can run, best first:
    #: "onnx", "pdmodel", "pir" (PIR ``inference.json``), "ir" (OpenVINO).
    formats: ClassVar[tuple[str, ...]]
    #: distributions that bring the framework; what an engine is measured to be holds for one version
    packages: ClassVar[tuple[str, ...]] = ()

    inputs: tuple[TensorSpec, ...]  #: graph order
    outputs: tuple[TensorSpec, ...]  #: graph order

    @classmethod
    @abstractmethod
    def available(cls) -> str | None:
        """None when the framework can be imported, else one line saying what to install."""

    @classmethod
    def gpus(cls) -> int:
        """How many GPUs this engine could use now; 0 when it cannot use any. Loads the framework."""
        return 0

    @classmethod
    def precisions(cls, device: str) -> tuple[str, ...]:
        """What it can compute in on ``device``, ``f32`` first; empty where it cannot run at all.

        Only what the hardware has arithmetic for: the rest would be no faster.
        """
        return ("f32",)

    @classmethod
    def refuses(cls, files: ModelFiles) -> str | None:
        """Why it would not load ``files``, as far as they say so themselves; loads no framework."""
        return None

    @classmethod
    def version(cls) -> str:
        """Name and version of the framework, which is not loaded for it; empty when it is not installed."""
        for package in cls.packages:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                return f"{package} {importlib.metadata.version(package)}"
        return ""

    @abstractmethod
    def __init__(self, files: ModelFiles, options: EngineOptions) -> None:
        """Load ``files``. Raises EngineError."""

    @abstractmethod
    def sibling(self, threads: int) -> Engine:
        """The same model with another thread count, sharing weights where the framework can."""

    @abstractmethod
    def run(self, feeds: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        """Run once.

        Args:
            feeds: one C-contiguous array per input name. They are not copied
                where the framework allows, and not kept after the call.

        Returns:
            Outputs in graph order; valid until the next ``run`` on this engine.

        Raises:
            EngineError: the framework refused or failed.
        """

    def trim(self) -> None:  # noqa: B027 - nothing to do where a framework keeps nothing
        """Give back what large runs have left with the engine; arrays of the last run are gone then.

        Called when another form of the model takes over, and when a device has nothing to do. Not
        after every large run: getting 500 MB of fresh pages again takes up to half as long as
        using them, and on one thread.
        """

    @abstractmethod
    def close(self) -> None:
        """Free the model. Calling it twice does no harm."""
