"""The text of seals: cut out of the page, found as polygons, straightened and read (API reference, 10.13)."""

from __future__ import annotations

from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from pipelines.stages.text_detection import SealDetection
from pipelines.stages.text_recognition import TextRecognition

from .box_rules import Boxes
from .config import PipelineConfig
from .curved import polygon_picture
from .draw import Pen, ocr_picture
from .lines import MAX_SIDE, Line, cut_lines
from .ocr_api import OcrParams, Settings
from .reading import Part, read_lines, stage_of
from .stage import StageFactory

#: The line that pictures write a text in is at most so high where its polygon is curved, pixels (PaddleX).
_WRITTEN = 20


class Seal(msgspec.Struct, frozen=True):
    """One seal.

    Attributes:
        box: x1, y1, x2, y2 in whole pixels of the upright page: what was cut out.
        polygons: int16 ``[K, 2]`` around each text, on the cut-out, from top to bottom.
        kept: numbers of those whose text passed the score threshold.
        texts, scores: of the kept ones.
    """

    box: list[int]
    polygons: list[np.ndarray]
    kept: list[int]
    texts: list[str]
    scores: list[float]


class SealReader:
    """Reads seals with the models behind ``seal_detection`` and ``seal_text_recognition``.

    Where the second is not loaded, as in the 2024 generation, the page's ``text_recognition`` reads them.

    Args:
        config: the pipeline.
        stages: gives the stages.
        batch_size: lines in one batch where lines are padded as PaddleX does.
    """

    def __init__(self, config: PipelineConfig, stages: StageFactory, batch_size: int) -> None:
        self._tight, self._batch_size = config.padding == "tight", batch_size
        self._detection: SealDetection = stage_of(config, stages, SealDetection, "seal_detection")
        role = "seal_text_recognition" if "seal_text_recognition" in config.models else "text_recognition"
        self._recognition: TextRecognition = stage_of(config, stages, TextRecognition, role)

    def read(self, page: NDArray[np.uint8], box: list[int], params: OcrParams) -> Part[Seal]:
        """The text of one seal; ``params.alone`` keeps the texts in the order of their contours (2024)."""
        left, top, right, bottom = box
        pixels = page[top:bottom, left:right]
        (found,) = yield [self._detection.call(pixels, params.detection)]
        if not params.alone:
            found = sorted(found, key=lambda polygon: int(polygon[:, 1].min()))
        polygons, lines = [], []
        for polygon in found:
            line = _line(polygon_picture(pixels, polygon))
            if line is not None:
                polygons.append(polygon)
                lines.append(line)
        texts = yield from read_lines(
            self._recognition, lines, tight=self._tight, alone=params.alone, batch_size=self._batch_size
        )
        kept = [place for place, text in enumerate(texts) if text.score >= params.score_thresh]
        return Seal(
            box, polygons, kept, [texts[place].text for place in kept], [texts[place].score for place in kept]
        )


def _line(picture: NDArray[np.uint8] | None) -> Line | None:
    """A picture as a line that fills its page; like any line it is turned when far higher than wide."""
    if picture is None or max(picture.shape[:2]) > MAX_SIDE:
        return None
    height, width = picture.shape[:2]
    quad = np.array([[[0, 0], [width, 0], [width, height], [0, height]]], np.int16)
    lines, _ = cut_lines(np.ascontiguousarray(picture), quad)
    return lines[0] if lines else None


def seal_boxes(layout: Boxes) -> dict[int, list[int]]:
    """Block to its corners in whole pixels, of the seals that have a whole pixel."""
    corners = layout.rows[:, 2:6].astype(np.int64).tolist()
    return {
        number: box
        for number, (box, label) in enumerate(zip(corners, layout.labels, strict=True))
        if label.lower() == "seal" and box[0] < box[2] and box[1] < box[3]
    }


# --- what is answered


def seal_result(seal: Seal, settings: Settings) -> dict[str, Any]:
    """One entry of ``seal_res_list`` (3.x), keys in PaddleX's order."""
    result: dict[str, Any] = {
        "model_settings": {"use_doc_preprocessor": False, "use_textline_orientation": False},
        "dt_polys": seal.polygons,
        "text_det_params": settings.detection,
        "text_type": "seal",
    }
    if seal.polygons:
        result["textline_orientation_angles"] = [-1] * len(seal.polygons)
    return result | {
        "text_rec_score_thresh": settings.score_thresh,
        "return_word_box": False,
        "rec_texts": seal.texts,
        "rec_scores": seal.scores,
        "rec_polys": [seal.polygons[place] for place in seal.kept],
        "rec_boxes": [],
    }


def seal_picture(page: NDArray[np.uint8], seal: Seal, pen: Pen) -> NDArray[np.uint8]:
    """A seal under coloured polygons, beside what it says."""
    left, top, right, bottom = seal.box
    shapes = [seal.polygons[place] for place in seal.kept]
    places = np.array([_written(shape) for shape in shapes], np.int16).reshape(-1, 4, 2)
    pixels = np.ascontiguousarray(page[top:bottom, left:right])
    return ocr_picture(pixels, places, seal.texts, pen, shapes)


def _written(polygon: NDArray[np.int16]) -> NDArray[np.int32]:
    """Where a text is written: in its box, of a curved one in a line across the middle (PaddleX)."""
    if len(polygon) == 4:
        return polygon.astype(np.int32)
    corners = cv2.boxPoints(cv2.minAreaRect(polygon.astype(np.int32)))
    by_x = corners[np.argsort(corners[:, 0], kind="stable")]
    left, right = (pair[np.argsort(pair[:, 1], kind="stable")] for pair in (by_x[:2], by_x[2:]))
    place = np.array([left[0], right[0], right[1], left[1]]).astype(np.int32)
    middle, height = place[:, 1].mean(), int(0.5 * np.ptp(place[:, 1]))
    place[:2, 1] = middle
    place[2:, 1] = middle + min(_WRITTEN, height)
    return place
