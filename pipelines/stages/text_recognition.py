"""Text recognition: a CTC network, from lines to text (API reference, 9.7)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import ClassVar

import msgspec
import numpy as np

from kernels.text import ctc_argmax, ctc_collapse
from kernels.warp import crop_line_normalize_chw
from pipelines.core.config import ModelFiles
from pipelines.core.errors import EngineError
from pipelines.core.inference_yml import Description
from pipelines.core.likeness import texts
from pipelines.core.lines import Line
from pipelines.core.stage import Call, Stage
from pipelines.core.tensors import Scratch, contiguous_float32
from pipelines.core.word_boxes import Trace
from pipelines.engines.base import Engine

#: ``(x / 255 - 0.5) / 0.5`` for all channels; PaddleX has it in code, not in ``inference.yml``.
_DIVISOR, _SCALE, _SHIFT = 255.0, (2.0, 2.0, 2.0), (-1.0, -1.0, -1.0)
#: Widest canvas of 3.x; a longer line is squeezed.
MAX_WIDTH = 3200
#: Widest canvas of the 2024 generation, which has no limit of its own: bounds memory.
MAX_WIDTH_ALONE = 12_800
#: ``tight``: up to these widths a canvas is its line's width rounded up to a multiple of this, and never
#: narrower than the first (docs/compatibility.md has the measurement). Steps of about a sixteenth of the
#: width, because an engine keeps memory for every width that it has seen (OpenVINO 4.4 MB).
TIGHT_STEPS = ((64, 64), (512, 32), (1280, 64), (math.inf, 128))
#: Columns in one engine run. On one CPU thread a batch gains nothing and costs cache misses (16 lines of
#: 320 px: +36 % per line on ONNX Runtime); on all cores four such lines gain nearly what sixteen do.
RUN_COLUMNS = 1280
#: One-thread time per column of a line 48 px high; source as in text_detection.py.
MS_PER_COLUMN = 0.035


class Text(msgspec.Struct, frozen=True):
    """What a line says, the mean probability of its characters (0.0 when it is empty), and where they are."""

    text: str
    score: float
    trace: Trace


class Group(msgspec.Struct, frozen=True):
    """Input of one call: lines that share a canvas ``width`` px wide. Its result is one Text per line.

    ``ratio`` is the canvas's width per height before it is rounded and bounded.
    """

    lines: tuple[Line, ...]
    width: int
    max_width: int
    ratio: float


class TextRecognition(Stage):
    """Reads text lines.

    Raises:
        ConfigError: the model's ``inference.yml`` describes something else.
    """

    name: ClassVar[str] = "rec"
    max_batch = 4

    def __init__(self, model: ModelFiles, engine: str) -> None:
        super().__init__(model, engine)
        about = Description(model.directory)
        shape = about.shape(about.required("RecResizeImg").get("image_shape"), 3, "RecResizeImg.image_shape")
        if shape[0] != 3:
            raise about.error("RecResizeImg.image_shape must have 3 channels")
        self._height, self._base_width = shape[1:]
        post = about.postprocess
        listed = post.get("character_dict")
        if post.get("name") != "CTCLabelDecode" or not isinstance(listed, list):
            raise about.error("PostProcess is not CTCLabelDecode with a character_dict")
        if not all(isinstance(entry, str) for entry in listed):
            raise about.error("PostProcess.character_dict holds something else than text (quote it)")
        self._characters: list[str] = ["", *listed, " "]
        self._scratch = Scratch()

    @property
    def characters(self) -> frozenset[str]:
        """Everything that this model can write."""
        return frozenset(self._characters)

    def tight(self, lines: Sequence[Line], max_width: int = MAX_WIDTH) -> list[Call]:
        """One call per line; its width is a function of that line alone."""
        calls = []
        for line in lines:
            width = self._tight_width(line, max_width)
            calls.append(self._call((line,), width, max_width, width / self._height))
        return calls

    def alone(self, lines: Sequence[Line], max_width: int = MAX_WIDTH_ALONE) -> list[Call]:
        """One call per line, as wide as the 2024 generation makes it: 320 px at least."""
        return [self._batch((line,), max_width) for line in lines]

    def grouped(self, lines: Sequence[Line], size: int) -> tuple[list[Call], list[int]]:
        """PaddleX 3.x's batches of a page: sorted by ratio, cut every ``size``, as wide as the widest.

        Returns:
            The calls, and for every line in the order of their results its index in ``lines``.
        """
        order = sorted(range(len(lines)), key=lambda index: lines[index].ratio)
        calls = []
        for start in range(0, len(order), size):
            calls.append(self._batch(tuple(lines[index] for index in order[start : start + size]), MAX_WIDTH))
        return calls, order

    def run(self, engine: Engine, inputs: Sequence[Group]) -> Sequence[list[Text]]:
        """Texts of every group; all groups have one width."""
        results: list[list[Text]] = []
        for groups in _runs(inputs):
            texts = iter(self._read(engine, groups))
            results.extend([next(texts) for _ in group.lines] for group in groups)
        return results

    def canary(self) -> Sequence[Call]:
        """A white line: no text, but the whole network runs."""
        page = np.full((self._height, self._base_width, 3), 255, np.uint8)
        right, bottom = self._base_width, self._height
        quad = np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]], np.int16)
        return self.tight([Line(page, quad, right, bottom)])

    def judge(self, expected: Sequence[list[Text]], found: Sequence[list[Text]]) -> str | None:
        """By the characters of all lines together."""
        return texts(*([line.text for group in groups for line in group] for groups in (expected, found)))

    def _batch(self, lines: tuple[Line, ...], max_width: int) -> Call:
        """Lines on a canvas as wide as the widest of them, not below the ratio of ``image_shape``."""
        ratio = max(self._base_width / self._height, *(line.ratio for line in lines))
        return self._call(lines, min(int(self._height * ratio), max_width), max_width, ratio)

    def _resized_width(self, line: Line, max_width: int) -> int:
        own = min(int(self._height * max(self._base_width / self._height, line.ratio)), max_width)
        return min(own, math.ceil(self._height * line.ratio))

    def _tight_width(self, line: Line, max_width: int) -> int:
        width = self._resized_width(line, max_width)
        step = next(step for widest, step in TIGHT_STEPS if width <= widest)
        return -(-width // step) * step

    def _call(self, lines: tuple[Line, ...], width: int, max_width: int, ratio: float) -> Call:
        cost = 0.5 + MS_PER_COLUMN * width * len(lines)
        return Call(self, Group(lines, width, max_width, ratio), width, cost)

    def _read(self, engine: Engine, groups: Sequence[Group]) -> list[Text]:
        lines, group = [line for group in groups for line in group.lines], groups[0]
        tensor = self._scratch.tensor(len(lines), 3, self._height, group.width)
        for plane, line in zip(tensor, lines, strict=True):
            width = self._resized_width(line, group.max_width)
            crop_line_normalize_chw(
                line.page, line.quad, plane, width, _SCALE, _SHIFT, divisor=_DIVISOR, flip=line.flip
            )
        shares = [min(1.0, line.ratio / group.ratio) for group in groups for line in group.lines]
        return self._decoded(contiguous_float32(engine.run({engine.inputs[0].name: tensor})[0]), shares)

    def _decoded(self, probabilities: np.ndarray, shares: Sequence[float]) -> list[Text]:
        """Texts; ``shares`` are the parts of the canvas that the lines take."""
        lines, steps, classes = probabilities.shape
        if classes > len(self._characters):
            raise EngineError(
                f"{self.model.name} has {classes} classes, its dictionary {len(self._characters)}"
            )
        indices = np.empty((lines, steps), np.int32)
        scores = np.empty((lines, steps), np.float32)
        ctc_argmax(probabilities, indices, scores)
        texts = []
        for (kept, places, score), share in zip(ctc_collapse(indices, scores), shares, strict=True):
            characters = [self._characters[index] for index in kept.tolist()]
            texts.append(Text("".join(characters), score, Trace(characters, places, steps * share)))
        return texts


def _runs(groups: Sequence[Group]) -> Iterator[list[Group]]:
    """Cut into engine runs of at most RUN_COLUMNS columns; a group stays whole."""
    run: list[Group] = []
    columns = 0
    for group in groups:
        more = len(group.lines) * group.width
        if run and columns + more > RUN_COLUMNS:
            yield run
            run, columns = [], 0
        run.append(group)
        columns += more
    if run:
        yield run
