"""Table structure: an SLANet, from the picture of a table to its rows and cells (API reference, 9.9)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from kernels.resize import resize_normalize_chw
from pipelines.core.config import ModelFiles
from pipelines.core.errors import EngineError
from pipelines.core.inference_yml import Description
from pipelines.core.stage import Call, Stage
from pipelines.core.table_html import CELL_TOKENS, balanced, known
from pipelines.core.tensors import Scratch, contiguous_float32
from pipelines.engines.base import Engine

#: One-thread time per table: a backbone of 80 ms and 0.6 ms for each of some hundred tokens.
MS_PER_TABLE = 150.0
#: How far the corner of a cell may be off for another engine to be as good, pixels of the picture.
_CORNER_PIXELS = 4
#: Largest input that is plausible, pixels.
_MAX_SIZE = 2048


class Structure(msgspec.Struct, frozen=True):
    """What a table looks like.

    Attributes:
        tokens: well-formed, without those around ``<table>``.
        cells: int64 ``[N, 4, 2]`` corners of each cell in pixels of the picture, in the order of the tokens.
    """

    tokens: list[str]
    cells: np.ndarray


class TableStructure(Stage):
    """Finds the rows, the cells and the spans of a table.

    Raises:
        ConfigError: the model's ``inference.yml`` describes something else.
    """

    name: ClassVar[str] = "table"
    #: Two equal tables in a run save 5 to 14 %, four or unequal ones less or nothing (benchmarks/README.md).
    max_batch = 1

    def __init__(self, model: ModelFiles, engine: str) -> None:
        super().__init__(model, engine)
        about = Description(model.directory)
        self._longest = int(about.number(about.required("ResizeTableImage").get("max_len", 488)))
        padding = about.shape(
            about.required("PaddingTableImage").get("size", [488, 448]), 2, "PaddingTableImage.size"
        )
        self._size = padding[0]  # both sides, as PaddleX takes it
        if not 0 < self._longest <= self._size <= _MAX_SIZE:
            raise about.error("ResizeTableImage.max_len and PaddingTableImage.size do not fit each other")
        self._norm = about.normalization()
        self._vocabulary = _vocabulary(about)
        #: SLANet's places are shares of the picture; those of its successors are shares of the padded square.
        self._stretched = model.name == "SLANet"
        self._scratch = Scratch()

    def call(self, image: NDArray[np.uint8]) -> Call:
        """The call for one table, uint8 ``[H, W, 3]`` BGR; its result is a Structure."""
        return Call(self, image, None, MS_PER_TABLE)

    def run(self, engine: Engine, inputs: Sequence[NDArray[np.uint8]]) -> Sequence[Structure]:
        """Structures of the tables."""
        tensor = self._scratch.tensor(len(inputs), 3, self._size, self._size)
        norm = self._norm
        for planes, image in zip(tensor, inputs, strict=True):
            ratio = self._longest / max(image.shape[:2])
            height, width = (max(1, round(side * ratio)) for side in image.shape[:2])
            resize_normalize_chw(image, planes, width, height, norm.scale, norm.shift)
        places, scores = self._outputs(engine.run({engine.inputs[0].name: tensor}), len(inputs))
        rows = zip(scores.argmax(axis=2), places, inputs, strict=True)
        return [self._decoded(steps, corners, image) for steps, corners, image in rows]

    def canary(self) -> Sequence[Call]:
        """A white picture."""
        return [self.call(np.full((64, 64, 3), 255, np.uint8))]

    def judge(self, expected: Sequence[Structure], found: Sequence[Structure]) -> str | None:
        """By the tokens of every table, and by the corners of its cells."""
        for one, other in zip(expected, found, strict=True):
            if one.tokens != other.tokens:
                return f"another table: {len(other.tokens)} tokens for {len(one.tokens)}"
            worst = int(np.abs(one.cells - other.cells).max(initial=0))
            if worst > _CORNER_PIXELS:
                return f"the corner of a cell is off by {worst} px"
        return None

    def _outputs(
        self, outputs: Sequence[NDArray[Any]], count: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Places ``[N, T, 8]`` and scores ``[N, T, V]``. Raises EngineError when the model gives others."""
        shapes = [output.shape for output in outputs]
        steps = shapes[0][1] if shapes and len(shapes[0]) == 3 else 0
        if shapes != [(count, steps, 8), (count, steps, len(self._vocabulary))]:
            raise EngineError(
                f"the model gives {shapes}, not places and scores of {len(self._vocabulary)} tokens"
            )
        return contiguous_float32(outputs[0]), contiguous_float32(outputs[1])

    def _decoded(
        self, steps: NDArray[np.int64], places: NDArray[np.float32], image: NDArray[np.uint8]
    ) -> Structure:
        last = len(self._vocabulary) - 1
        ends = np.flatnonzero(steps[1:] == last)
        count = ends[0] + 1 if len(ends) else len(steps)
        tokens, cells = [], []
        for place, step in enumerate(steps[:count].tolist()):
            if 0 < step < last:
                tokens.append(self._vocabulary[step])
                if tokens[-1] in CELL_TOKENS:
                    cells.append(place)
        corners = places[cells].reshape(-1, 4, 2) * self._scale(*image.shape[:2])
        return Structure(balanced(tokens), corners.astype(np.int64))

    def _scale(self, height: int, width: int) -> NDArray[np.float64]:
        """Pixels per share, across and down."""
        if self._stretched:
            return np.array([width, height], np.float64)
        ratio = min(self._size / width, self._size / height)
        return np.array([self._size / ratio] * 2, np.float64)


def _vocabulary(about: Description) -> list[str]:
    """What each class of the network means. Raises ConfigError."""
    post = about.postprocess
    listed = post.get("character_dict")
    if post.get("name", "TableLabelDecode") != "TableLabelDecode" or not isinstance(listed, list):
        raise about.error("PostProcess is not TableLabelDecode with a character_dict")
    label = about.operation("TableLabelEncode") or post
    tokens = list(listed)
    if label.get("merge_no_span_structure", True):
        if "<td></td>" not in tokens:
            tokens.append("<td></td>")
        tokens = [piece for piece in tokens if piece != "<td>"]
    for piece in tokens:
        if not isinstance(piece, str) or not known(piece):
            raise about.error(f"PostProcess.character_dict holds {piece!r}, which is no part of a table")
    return ["sos", *tokens, "eos"]
