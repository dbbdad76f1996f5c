"""The steps of OCR that every pipeline with text shares: a page upright, its lines, their texts.

Pipelines whose roles have these names share the models as well: a device loads each of them once,
and lines of all pipelines are read in the same batches.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from kernels.boxes import sort_boxes
from pipelines.stages.doc_orientation import MS_PER_PAGE, DocOrientation
from pipelines.stages.text_detection import MS_PER_PIXEL, TextDetection
from pipelines.stages.text_orientation import TextOrientation
from pipelines.stages.text_recognition import MAX_WIDTH_ALONE, MS_PER_COLUMN, Text, TextRecognition
from pipelines.stages.unwarping import MS_PER_PIXEL as MS_PER_UNWARPED_PIXEL
from pipelines.stages.unwarping import Unwarping

from .config import PipelineConfig
from .detection_size import input_size
from .errors import BadRequest, EngineError
from .lines import MAX_SIDE, Line, cut_lines, flipped, rotated
from .ocr_api import OcrPage, OcrParams
from .stage import Call, Stage, StageFactory
from .word_boxes import words_of

#: Recognition time per detection pixel of a printed page: 0.013 columns per pixel (receipt, letter, table,
#: invoice and Chinese page; 0.006 to 0.023) times the recogniser's time per column.
_READ_MS_PER_PIXEL = 0.013 * MS_PER_COLUMN
#: How many times as large a page can be that has the box of every word.
_WORD_TIMES = 8

T = TypeVar("T")
#: Part of a pipeline's steps: yields calls, receives their results, gives a T (use it with ``yield from``).
Part = Generator[Sequence[Call], Sequence[Any], T]


def stage_of(config: PipelineConfig, stages: StageFactory, cls: type[Stage], role: str) -> Any:
    """The shared stage behind a role; None when the role is not loaded."""
    if role not in config.models:
        return None
    return stages.get(cls, config.models[role], config.engines[role])


class Reader:
    """Reads pages with the models behind a pipeline's roles.

    Roles are ``text_detection`` and ``text_recognition``, and ``doc_orientation``, ``doc_unwarping`` and
    ``textline_orientation`` where they are loaded.

    Args:
        config: the pipeline.
        stages: gives the stages.
        rec_batch_size: lines in one batch where lines are padded as PaddleX does.
    """

    def __init__(self, config: PipelineConfig, stages: StageFactory, rec_batch_size: int) -> None:
        self._tight, self._rec_batch_size = config.padding == "tight", rec_batch_size
        self.page: DocOrientation | None = stage_of(config, stages, DocOrientation, "doc_orientation")
        self.flattener: Unwarping | None = stage_of(config, stages, Unwarping, "doc_unwarping")
        self.line: TextOrientation | None = stage_of(config, stages, TextOrientation, "textline_orientation")
        self._detection: TextDetection = stage_of(config, stages, TextDetection, "text_detection")
        self._recognition: TextRecognition = stage_of(config, stages, TextRecognition, "text_recognition")

    def upright(self, image: NDArray[np.uint8], wanted: bool) -> Part[tuple[NDArray[np.uint8], int]]:
        """The page turned so that it stands upright, and by how many degrees (-1: nobody looked).

        Raises:
            BadRequest: the page is too large for corners of 16 bits.
        """
        if max(image.shape[:2]) > MAX_SIDE:
            raise BadRequest(f"The image has a side of more than {MAX_SIDE} pixels")
        if not wanted or self.page is None:
            return image, -1
        (angle,) = yield [self.page.call(image)]
        return rotated(image, angle), angle

    def flat(self, image: NDArray[np.uint8], wanted: bool) -> Part[NDArray[np.uint8]]:
        """An upright page unwarped, if that is wanted."""
        if not wanted or self.flattener is None:
            return image
        (found,) = yield [self.flattener.call(image)]
        return np.asarray(found, np.uint8)

    def read(self, image: NDArray[np.uint8], params: OcrParams, angle: int = -1) -> Part[OcrPage]:
        """Lines and texts of an upright page of at most MAX_SIDE px a side."""
        (quads,) = yield [self._detection.call(image, params.detection)]
        lines, quads = cut_lines(image, sort_boxes(quads))
        angles = [-1] * len(lines)
        if lines and params.textline_orientation and self.line is not None:
            answers = yield self.line.calls(lines)
            angles = [found for answer in answers for found in answer]
            lines = flipped(lines, angles)
        texts = yield from read_lines(
            self._recognition, lines, tight=self._tight, alone=params.alone, batch_size=self._rec_batch_size
        )
        if params.expect and params.expect not in [text.text for text in texts]:
            raise EngineError(f"the canary page says {params.expect!r}, the models read {texts!r}")
        kept = [index for index, text in enumerate(texts) if text.score >= params.score_thresh]
        found = OcrPage(
            angle,
            quads,
            angles,
            kept,
            [texts[index].text for index in kept],
            [texts[index].score for index in kept],
        )
        if not params.words or not kept:
            return found
        words, boxes = zip(
            *(words_of(texts[index].trace, quads[index], lines[index].flip) for index in kept), strict=True
        )
        return msgspec.structs.replace(found, words=list(words), word_boxes=np.concatenate(boxes))


def read_lines(
    recognition: TextRecognition, lines: Sequence[Line], *, tight: bool, alone: bool, batch_size: int
) -> Part[list[Text]]:
    """Texts of lines, in their order.

    Args:
        recognition: reads them.
        lines: none, or more.
        tight: pad each no further than it needs.
        alone: read line by line as the 2024 generation does.
        batch_size: lines in one batch where they are padded as PaddleX 3.x does.
    """
    if not lines:
        return []
    order = list(range(len(lines)))
    if tight:
        calls = recognition.tight(lines, MAX_WIDTH_ALONE) if alone else recognition.tight(lines)
    elif alone:
        calls = recognition.alone(lines)
    else:
        calls, order = recognition.grouped(lines, batch_size)
    answers = yield calls
    read = dict(zip(order, [text for answer in answers for text in answer], strict=True))
    return [read[index] for index in range(len(lines))]


def official(config: PipelineConfig) -> bool:
    """Whether the models that read are PaddleX's own, so that a canary may expect a text."""
    return all(
        config.engines[role] != "fake" and config.models[role].name.startswith("PP-OCR")
        for role in ("text_detection", "text_recognition")
    )


def side_by_side(parts: Sequence[Part[T]]) -> Part[list[T]]:
    """Run parts in step: what they wait for at one time is asked for together."""
    results: dict[int, T] = {}
    answers: dict[int, Sequence[Any] | None] = dict.fromkeys(range(len(parts)))
    while answers:
        asked: dict[int, Sequence[Call]] = {}
        for index, answer in answers.items():
            try:
                asked[index] = next(parts[index]) if answer is None else parts[index].send(answer)
            except StopIteration as end:
                results[index] = end.value
        found = iter((yield [call for calls in asked.values() for call in calls]) if asked else ())
        answers = {index: [next(found) for _ in calls] for index, calls in asked.items()}
    return [results[index] for index in range(len(parts))]


# --- what reading costs


def reading_cost_ms(params: OcrParams, height: int, width: int) -> float:
    """Rough one-thread time of a page, from the size that it has in the detector."""
    rows, columns = _input_size(params, height, width)
    pages = MS_PER_PAGE if params.doc_orientation else 0.0
    if params.doc_unwarping:
        pages += height * width * MS_PER_UNWARPED_PIXEL
    return pages + rows * columns * (MS_PER_PIXEL + _READ_MS_PER_PIXEL)


def reading_bytes(params: OcrParams, height: int, width: int) -> int:
    """Upper bound of a packed page: a byte of text per detector pixel, as boxes are 5 px high or more.

    Words take another 17 bytes each at least: the box and the text's length.
    """
    rows, columns = _input_size(params, height, width)
    times = _WORD_TIMES if params.words else 1
    flat = 3 * height * width if params.doc_unwarping and params.drawn else 0
    return (64 << 10) + times * min(rows * columns, 2 << 20) + flat


def _input_size(params: OcrParams, height: int, width: int) -> tuple[int, int]:
    detection = params.detection
    if not detection.limit_side_len:  # the model's own, which only devices know: 960 in all of PaddleOCR's
        detection = msgspec.structs.replace(detection, limit_side_len=960)
    return input_size(height, width, detection)
