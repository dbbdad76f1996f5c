"""Object detection: a network of PaddleDetection's family, picture to boxes (API reference, 7.2, 9.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipelines.core.box_rules import Boxes, BoxRules, boxes_of
from pipelines.core.box_yaml import model_rules
from pipelines.core.config import ModelFiles
from pipelines.core.detection_input import DetectionInput, Fitted, feeds_of
from pipelines.core.errors import EngineError
from pipelines.core.inference_yml import Description
from pipelines.core.likeness import boxes
from pipelines.core.stage import Call, Stage
from pipelines.core.tensors import Scratch
from pipelines.engines.base import Engine

#: One-thread time per input pixel: NanoDet-g on ONNX Runtime, on a core of an AMD EPYC with AVX-512.
MS_PER_PIXEL = 2.2e-4
#: One-thread time of the resize per pixel of the picture; measured as above.
MS_PER_SOURCE_PIXEL = 3e-7


class Picture(msgspec.Struct, frozen=True):
    """Input of one call: uint8 ``[H, W, 3]`` BGR, its sizes in the tensor, and complete rules."""

    image: np.ndarray
    fitted: Fitted
    rules: BoxRules


class Detection(Stage):
    """Finds objects, or the parts of a document's layout.

    Args:
        img_size: (height, width) that replaces the model's Resize, for models that take any.

    Raises:
        ConfigError: the model's ``inference.yml`` describes something else.
    """

    name: ClassVar[str] = "objects"
    max_batch = 1

    def __init__(self, model: ModelFiles, engine: str, img_size: tuple[int, int] | None = None) -> None:
        super().__init__(model, engine)
        about = Description(model.directory)
        self._input = DetectionInput(about, img_size)
        self._own = model_rules(about)
        self._names = about.label_list()
        self._scratch = Scratch()

    def call(self, image: NDArray[np.uint8], rules: BoxRules) -> Call:
        """The call for one picture; its result is Boxes. What ``rules`` leave open the model says."""
        fitted = self._input.fitted(*image.shape[:2])
        cost = 0.5 + fitted.rows * fitted.columns * MS_PER_PIXEL
        return Call(self, Picture(image, fitted, rules.over(self._own)), (fitted.rows, fitted.columns), cost)

    def run(self, engine: Engine, inputs: Sequence[Picture]) -> Sequence[Boxes]:
        """Objects of every picture."""
        first = inputs[0].fitted
        self._check_size(engine, first.rows, first.columns)
        tensor = self._scratch.tensor(len(inputs), 3, first.rows, first.columns)
        for planes, picture in zip(tensor, inputs, strict=True):
            self._input.fill(picture.image, picture.fitted, planes)
        feeds = feeds_of(
            [spec.name for spec in engine.inputs], tensor, [picture.fitted for picture in inputs]
        )
        return self._boxes(engine.run(feeds), inputs)

    def canary(self) -> Sequence[Call]:
        """A grey picture."""
        return [self.call(np.full((64, 64, 3), 127, np.uint8), BoxRules())]

    def judge(self, expected: Sequence[Boxes], found: Sequence[Boxes]) -> str | None:
        """By objects: as many in every picture, each of its class, place and score."""
        pictures = zip(expected, found, strict=True)
        differences = (boxes(one.rows, other.rows)[0] for one, other in pictures)
        return next((words for words in differences if words is not None), None)

    def _check_size(self, engine: Engine, rows: int, columns: int) -> None:
        """Raise EngineError when a network of one size is to get another."""
        for spec in engine.inputs:
            fixed = zip(spec.shape[2:], (rows, columns), strict=False)
            if len(spec.shape) == 4 and any(size not in {-1, given} for size, given in fixed):
                height, width = spec.shape[2:]
                raise EngineError(
                    f"{self.model.name} takes pictures of {width} x {height} pixels only, not of "
                    f"{columns} x {rows}: see `img_size` of the pipeline, or Resize in inference.yml"
                )

    def _boxes(self, outputs: Sequence[NDArray[Any]], inputs: Sequence[Picture]) -> list[Boxes]:
        """Rows come picture after picture, the second output says how many each has."""
        if len(outputs) < 2 or outputs[1].size != len(inputs):
            raise EngineError(f"the model gives {len(outputs)} outputs, not boxes and their counts")
        rows, counts = np.asarray(outputs[0], np.float32), outputs[1].ravel()
        if int(counts.sum()) > len(rows) or counts.min() < 0:
            raise EngineError(f"the model gives {len(rows)} boxes and counts {counts.tolist()}")
        end, found = 0, []
        for picture, count in zip(inputs, counts.tolist(), strict=True):
            start, end = end, end + count
            height, width = picture.image.shape[:2]
            boxes, _ = boxes_of(rows[start:end], self._names, width, height, picture.rules)
            found.append(boxes)
        return found
