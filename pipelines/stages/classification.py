"""Image classification: a picture to one score per class (API reference, 10.1 and 10.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.core.config import ModelFiles
from pipelines.core.errors import EngineError
from pipelines.core.image_input import ImageInput
from pipelines.core.inference_yml import Description
from pipelines.core.likeness import probabilities
from pipelines.core.stage import Call, Stage
from pipelines.core.tensors import Scratch, contiguous_float32
from pipelines.core.thresholds import Thresholds, read_thresholds
from pipelines.engines.base import Engine


class Picture(NamedTuple):
    """Input of one call: uint8 ``[H, W, 3]`` BGR, and how it is resized."""

    image: NDArray[np.uint8]
    linear: bool


class Classification(Stage):
    """Scores of all classes; ``PostProcess`` of its model is ``Topk``.

    Attributes:
        topk: how many classes the model itself reports.

    Raises:
        ConfigError: the model's ``inference.yml`` describes something else.
    """

    name: ClassVar[str] = "cls"
    #: key of ``PostProcess``; whether ``CropImage`` counts
    family: ClassVar[str] = "Topk"
    crops: ClassVar[bool] = True
    #: Where batching pays. On one CPU thread it does not, so ``cpu_batch`` stays 1: alone and as one of eight
    #: a picture takes 3.86 and 3.84 ms with PP-LCNet on ONNX Runtime, 4.22 and 4.18 on OpenVINO; with
    #: EfficientNet-lite0 9.9 and 10.2, 10.3 and 11.5; one of four 1 to 12 % less, for four times the wait.
    max_batch = 8

    def __init__(self, model: ModelFiles, engine: str) -> None:
        super().__init__(model, engine)
        about = Description(model.directory)
        if self.family not in about.postprocess:
            found = ", ".join(about.postprocess) or "nothing"
            raise about.error(f"PostProcess must be {self.family} for this pipeline, it is {found}")
        self._input = ImageInput(about, crops=self.crops)
        post: Mapping[str, Any] = about.postprocess[self.family] or {}
        self._labels = about.labels(self.family) if post.get("label_list") else ()
        self._read(about, post)
        self._scratch = Scratch()

    def _read(self, about: Description, post: Mapping[str, Any]) -> None:
        self.topk = int(about.number(post.get("topk", 5)))
        if self.topk < 1:
            raise about.error(f"PostProcess.{self.family}.topk must be positive")

    def call(self, image: NDArray[np.uint8], cost_ms: float, *, linear: bool = False) -> Call:
        """The call for one picture; its result is float32 ``[classes]``. Raises BadRequest.

        ``linear`` resizes as the 2024 generation does, whatever ``inference.yml`` says.
        """
        window = self._input.window(*image.shape[:2])
        return Call(self, Picture(image, linear), (window.rows, window.columns), cost_ms)

    def run(self, engine: Engine, inputs: Sequence[Picture]) -> Sequence[NDArray[np.float32]]:
        """Scores of the pictures, which all have one window size."""
        window = self._input.window(*inputs[0].image.shape[:2])
        tensor = self._scratch.tensor(len(inputs), 3, window.rows, window.columns)
        for plane, picture in zip(tensor, inputs, strict=True):
            self._input.fill(picture.image, plane, linear=picture.linear)
        (spec,) = engine.inputs
        if any(size not in {-1, given} for size, given in zip(spec.shape, tensor.shape, strict=True)):
            raise EngineError(f"{self.model.name} takes {spec.shape}, inference.yml makes {tensor.shape}")
        scores = contiguous_float32(engine.run({spec.name: tensor})[0]).reshape(len(inputs), -1)
        if not np.isfinite(scores).all():
            raise EngineError(f"{self.model.name} answers with numbers that are not finite")
        return [row.copy() for row in scores]

    def canary(self) -> Sequence[Call]:
        """A grey picture."""
        return [self.call(np.full((64, 64, 3), 128, np.uint8), 0.0)]

    def judge(
        self, expected: Sequence[NDArray[np.float32]], found: Sequence[NDArray[np.float32]]
    ) -> str | None:
        """By the probability of each class of every picture, and by what the scores decide."""
        for one, other in zip(expected, found, strict=True):
            words = probabilities(one, other) or self._decides_otherwise(one, other)
            if words is not None:
                return words
        return None

    def _decides_otherwise(self, one: NDArray[np.float32], other: NDArray[np.float32]) -> str | None:
        """Why ``other`` is another decision than ``one``, scores of one picture each: the best class."""
        if one.argmax() != other.argmax():
            return f"class {other.argmax()} is the best, not {one.argmax()}"
        return None

    def names(self, classes: Sequence[int]) -> list[str]:
        """Their labels; the number itself where ``label_list`` has none."""
        labels = self._labels
        return [labels[index] if index < len(labels) else str(index) for index in classes]


class MultiLabelClassification(Classification):
    """Scores of all classes, each on its own; ``PostProcess`` is ``MultiLabelThreshOutput``.

    Attributes:
        thresholds: what the model itself asks of its classes.
    """

    family: ClassVar[str] = "MultiLabelThreshOutput"
    crops: ClassVar[bool] = False

    def _read(self, about: Description, post: Mapping[str, Any]) -> None:
        try:
            self.thresholds = self.checked(read_thresholds(post.get("threshold", 0.5)))
        except ValueError as error:
            raise about.error(f"PostProcess.{self.family}.threshold: {error}") from error

    def _decides_otherwise(self, one: NDArray[np.float32], other: NDArray[np.float32]) -> str | None:
        """The classes above the model's own thresholds."""
        limits = self.thresholds.limits(len(one))
        if changed := np.flatnonzero((one > limits) != (other > limits)).tolist():
            return f"class {changed[0]} has {other[changed[0]]:.3f} for {one[changed[0]]:.3f}"
        return None

    def checked(self, thresholds: Thresholds) -> Thresholds:
        """The same. Raises ValueError when they do not fit the model's labels."""
        if self._labels:
            thresholds.limits(len(self._labels))
        return thresholds


def best(scores: NDArray[np.float32], count: int) -> list[int]:
    """The ``count`` highest scores' indices, highest first; of equal ones the higher index first.

    That is 3.x's ``argsort``, reversed; its order of equal scores is not defined for long lists.
    """
    order: list[int] = scores.argsort(kind="stable")[::-1][:count].tolist()
    return order


def above(scores: NDArray[np.float32], limits: NDArray[np.float32], *, inclusive: bool) -> list[int]:
    """Indices of the scores above (``inclusive``: not below) their limits, highest score first."""
    kept = np.flatnonzero(scores >= limits if inclusive else scores > limits)
    order: list[int] = kept[np.argsort(-scores[kept], kind="stable")].tolist()
    return order
