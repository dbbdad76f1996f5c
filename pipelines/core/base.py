"""The contract of a pipeline: its routes, its sub-models, and what runs on a device.

A pipeline lives in one file, ``pipelines/<name>.py``, which defines
``PIPELINE``, a subclass of :class:`Pipeline`. The worker process uses its
operations (parse, parameters, response; ``core/forms.py``); the device process
uses ``steps``, whose calls go to stages (``core/stage.py``). Neither side
imports an inference framework through this module.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TextIO

import msgspec
import numpy as np

from . import examples
from .config import Generation, ModelSet, PipelineConfig
from .forms import Operation
from .stage import StageFactory, Steps


class Item(msgspec.Struct):
    """One page, image or table on a device.

    Attributes:
        params: the ``Params`` struct that the operation's form made.
        image: uint8 ``[H, W, 3]`` BGR view of the slot; read-only; or None.
        blob: raw bytes for pipelines that do not take images (CSV); or None.
    """

    params: msgspec.Struct
    image: np.ndarray | None = None
    blob: memoryview | None = None


class Role(msgspec.Struct, frozen=True):
    """One sub-model of a pipeline.

    Attributes:
        task: module name as PaddleX writes it (``text_detection``).
        submodule: key under ``SubModules`` in a v3 YAML (``TextDetection``),
            dotted through sub-pipelines (``DocPreprocessor.DocOrientationClassify``).
        beta_key: key under ``Pipeline`` in a 2024 YAML (``text_det_model``), or None.
        default: model name when no YAML says otherwise, or None: not loaded by default.
        official: what PaddleX 3.7.2 takes in its place (``paddlex/configs/pipelines``), or None: the same.
        optional: left out, with a line in the plan, where no folder is given and the model cannot be had.
    """

    task: str
    submodule: str
    beta_key: str | None = None
    default: str | None = None
    official: str | None = None
    optional: bool = False

    def named(self, models: ModelSet) -> str | None:
        """The model of one set of defaults."""
        return self.official or self.default if models == "paddlex" else self.default


class Pipeline(ABC):
    """What one pipeline accepts, runs and answers. Instances live on devices only."""

    #: PaddleX's names for it, 3.x first
    names: ClassVar[tuple[str, ...]]
    operations: ClassVar[tuple[Operation, ...]]
    roles: ClassVar[Mapping[str, Role]]
    #: frozen msgspec Struct of the pipeline's own settings, every field with a default
    options: ClassVar[type[msgspec.Struct]]

    @abstractmethod
    def __init__(self, config: PipelineConfig, stages: StageFactory) -> None:
        """Take the stages it needs from ``stages``; loads nothing itself."""

    @abstractmethod
    def steps(self, item: Item) -> Steps:
        """The work on one item, as a generator of Calls."""

    @classmethod
    @abstractmethod
    def parse_yaml(cls, document: Mapping[str, Any], generation: Generation) -> dict[str, Any]:
        """Own settings from a PaddleX YAML, as builtins of ``options``.

        Raises ConfigError naming an unknown key.
        """

    @classmethod
    def loads(cls, role: str, options: Mapping[str, Any]) -> bool:
        """Whether a YAML with these options loads ``role``: not the sub-models that its flags turn off."""
        return True

    @classmethod
    @abstractmethod
    def cost_ms(cls, params: msgspec.Struct, height: int, width: int) -> float:
        """Rough one-thread device time of an item, for admission; corrected by measurement.

        ``height`` and ``width`` are those of an image in pixels; of other files they are 1 and the bytes.
        """

    @classmethod
    def result_bytes(cls, params: msgspec.Struct, height: int, width: int) -> int:
        """Upper bound of the packed result. Overflow is a counted 500."""
        return 256 * 1024

    @classmethod
    def fetch(cls, options: Mapping[str, Any], cache_dir: Path, stream: TextIO | None) -> dict[str, str]:
        """Files besides models that these options need, by name: fetched once, before anything starts.

        Raises ConfigError.
        """
        return {}

    @classmethod
    def desk(cls, config: PipelineConfig) -> Any:
        """What a worker keeps for this pipeline's errands (connections); loads and connects nothing yet.

        Raises ConfigError for settings that cannot be.
        """
        return None

    @classmethod
    def notes(cls, config: PipelineConfig) -> Sequence[str]:
        """Lines for the start-up plan about what else is set up. Raises ConfigError."""
        return ()

    @abstractmethod
    def canary(self) -> Item:
        """A small real item that must succeed before a device calls itself ready."""

    def examples(self) -> Sequence[Item]:
        """Real items that make every model work: engines are compared on what their stages get.

        Unless a pipeline knows better: the canary's parameters on the pictures of ``core/examples.py``, or
        the canary itself where it is no picture.
        """
        canary = self.canary()
        if canary.image is None:
            return [canary]
        return [Item(canary.params, picture) for picture in examples.pictures()]
