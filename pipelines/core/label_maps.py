"""A class per pixel: how such a map travels, and what it becomes in an answer (API reference, 4, 10.3, 10.7).

A map stays as small as the network made it until it is written: the enlargement to the picture's size
happens while its JSON text is made, in the worker.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import cache
from typing import Any, ClassVar, cast

import cv2
import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from kernels.labels import label_map_json

from .base import Item, Pipeline
from .config import PipelineConfig
from .deploy_transforms import SizeRule
from .errors import EngineError
from .image_api import canary_picture, picture

Labels = NDArray[np.uint8] | NDArray[np.uint16]

#: Of a packed map, for its labels: two bytes each if there are more than 256.
_LABEL_BYTES = 2
#: Of an answer, per pixel of the picture: "255,", or a short label twice, as text and inside the envelope.
_TEXT_BYTES = 4


class LabelMap(msgspec.Struct, frozen=True):
    """What a device found: uint8 or uint16 ``[h, w]`` at the network's size."""

    labels: np.ndarray


class MapParams(msgspec.Struct, frozen=True):
    """``size``: which size the picture has in the network; the worker's estimates need it too."""

    size: SizeRule


class LabelMapPipeline(Pipeline):
    """What the pipelines have in common whose one network gives a label per pixel.

    Attributes:
        ms_per_pixel: one-thread time per pixel of the network's input.
    """

    ms_per_pixel: ClassVar[float]

    def __init__(self, config: PipelineConfig) -> None:
        self._config = config

    @classmethod
    @abstractmethod
    def own_size(cls, config: PipelineConfig) -> SizeRule:
        """Which size a picture has where the request names none."""

    @classmethod
    def cost_ms(cls, params: msgspec.Struct, height: int, width: int) -> float:
        """From the picture's size in the network."""
        rows, columns = cast("MapParams", params).size.size(height, width)
        return 0.5 + rows * columns * cls.ms_per_pixel

    @classmethod
    def result_bytes(cls, params: msgspec.Struct, height: int, width: int) -> int:
        """A label per pixel of the network. Raises BadRequest when those are too many."""
        return packed_bytes(*cast("MapParams", params).size.checked_size(height, width))

    def canary(self) -> Item:
        """A picture of shades."""
        return Item(MapParams(self.own_size(self._config)), canary_picture())


def compact(found: NDArray[Any]) -> Labels:
    """A network's map ``[h, w]`` of any integers in the smallest type.

    Raises EngineError for what is no map of labels.
    """
    if found.ndim != 2 or not np.issubdtype(found.dtype, np.integer):
        raise EngineError(f"the model gives {found.dtype} of shape {found.shape}, not a map of labels")
    least, most = int(found.min()), int(found.max())
    if least < 0 or most > 65535:
        raise EngineError(f"the model gives labels from {least} to {most}")
    return found.astype(np.uint8) if most < 256 else found.astype(np.uint16)


def nearest(size: int, wanted: int) -> NDArray[np.int32]:
    """Places that OpenCV's nearest-neighbour resize takes its pixels from: it is asked itself."""
    places = np.arange(size, dtype=np.int32)[np.newaxis]
    return np.asarray(cv2.resize(places, (wanted, 1), interpolation=cv2.INTER_NEAREST)[0], np.int32)


def packed_bytes(height: int, width: int) -> int:
    """Upper bound of a packed map of the network's size."""
    return 1024 + height * width * _LABEL_BYTES


def answer_bytes(height: int, width: int) -> int:
    """About what :func:`answer` takes for an answered size."""
    return height * width * _TEXT_BYTES


def answer(labels: Labels, height: int, width: int, *, visualize: bool) -> dict[str, Any]:
    """``labelMap``, ``size`` and, with ``visualize``, ``image`` of a map at ``height`` x ``width``."""
    text = label_map_json(labels, nearest(labels.shape[0], height), nearest(labels.shape[1], width))
    result: dict[str, Any] = {"labelMap": orjson.Fragment(text), "size": [height, width]}
    if visualize:
        result["image"] = picture(_coloured(labels, height, width))
    return result


@cache
def _palette() -> NDArray[np.uint8]:
    """uint8 ``[256, 1, 3]`` BGR: entry k has the VOC colour of k + 1, its bits dealt to red, green, blue."""
    table = np.zeros((256, 1, 3), np.uint8)
    for entry in range(256):
        for bit in range(9):
            if (entry + 1) >> bit & 1:
                table[entry, 0, 2 - bit % 3] |= 0x80 >> bit // 3
    return table


def _coloured(labels: Labels, height: int, width: int) -> NDArray[np.uint8]:
    """BGR picture of a map; labels above 255 begin the palette anew."""
    coloured = cv2.applyColorMap(labels.astype(np.uint8, copy=False), _palette())
    if coloured.shape[:2] != (height, width):
        coloured = cv2.resize(coloured, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(coloured, np.uint8)
