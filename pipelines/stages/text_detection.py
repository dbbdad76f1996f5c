"""Text detection: a DB network, from page to boxes (API reference, 9.5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from kernels.boxes import db_boxes
from kernels.resize import resize_normalize_chw
from pipelines.core.config import ModelFiles
from pipelines.core.detection_size import DetectionParams, input_size, padded_size
from pipelines.core.inference_yml import Description
from pipelines.core.likeness import quads
from pipelines.core.polygons import polygons
from pipelines.core.stage import Call, Stage
from pipelines.core.tensors import Scratch, contiguous_float32
from pipelines.engines.base import Engine

#: One-thread time per input pixel: PP-OCRv6 small on ONNX Runtime, on a core of an AMD EPYC with AVX-512.
#: PP-OCRv4 mobile takes 0.4 of it, OpenVINO 0.7 (every device corrects estimates by what it measures).
MS_PER_PIXEL = 3.5e-4
#: Activations per input pixel: a page of 1600 x 2016 px takes 500 MB on OpenVINO, 400 MB on ONNX Runtime.
BYTES_PER_PIXEL = 160


class Page(msgspec.Struct, frozen=True):
    """Input of one call: uint8 ``[H, W, 3]`` BGR, the network's (width, height), and parameters."""

    image: np.ndarray
    width: int
    height: int
    params: DetectionParams


class TextDetection(Stage):
    """Finds text lines as quadrilaterals.

    Raises:
        ConfigError: the model's ``inference.yml`` describes something else.
    """

    name: ClassVar[str] = "det"
    _box_type: ClassVar[str] = "quad"
    max_batch = 1  # one page fills a CPU core, and a batch would make the first page wait for the last

    def __init__(self, model: ModelFiles, engine: str) -> None:
        super().__init__(model, engine)
        about = Description(model.directory)
        self._normalization = about.normalization()
        post = about.postprocess
        found = (post.get("name", "DBPostProcess"), post.get("box_type", "quad"))
        if found != ("DBPostProcess", self._box_type):
            raise about.error(f"PostProcess is not DBPostProcess with box_type {self._box_type}")
        if post.get("score_mode", "fast") != "fast":
            raise about.error("PostProcess.score_mode is not fast")
        resize = about.operation("DetResizeForTest") or {}
        self._own = DetectionParams(
            limit_side_len=int(about.number(resize.get("resize_long", 960))),
            limit_type=str(resize.get("limit_type", "max")),
            thresh=about.number(post.get("thresh", 0.3)),
            box_thresh=about.number(post.get("box_thresh", 0.6)),
            unclip_ratio=about.number(post.get("unclip_ratio", 2.0)),
        )
        if not 0.0 < self._own.unclip_ratio <= 1000.0:
            raise about.error("PostProcess.unclip_ratio must be above 0 and at most 1000")
        self._max_candidates = int(about.number(post.get("max_candidates", 1000)))
        self._dilation = bool(post.get("use_dilation", False))
        self._scratch = Scratch()

    def call(self, image: NDArray[np.uint8], params: DetectionParams) -> Call:
        """The call for one page; its result is int16 ``[N, 4, 2]``, in the order of the contours."""
        params = self._completed(params)
        height, width = input_size(image.shape[0], image.shape[1], params)
        page = Page(image, width, height, params)
        pixels = height * width
        return Call(self, page, (height, width), 1.0 + pixels * MS_PER_PIXEL, pixels * BYTES_PER_PIXEL)

    def run(self, engine: Engine, inputs: Sequence[Page]) -> Sequence[Any]:
        """Boxes of every page; all have one input size."""
        first = inputs[0]
        tensor = self._scratch.tensor(len(inputs), 3, first.height, first.width)
        norm = self._normalization
        for plane, page in zip(tensor, inputs, strict=True):
            image = _filled(page.image)
            resize_normalize_chw(image, plane, page.width, page.height, norm.scale, norm.shift)
        maps = contiguous_float32(engine.run({engine.inputs[0].name: tensor})[0])
        return [self._boxes(prob[0], page) for prob, page in zip(maps, inputs, strict=True)]

    def canary(self) -> Sequence[Call]:
        """A white page: no boxes, but the whole network runs."""
        return [self.call(np.full((64, 64, 3), 255, np.uint8), DetectionParams())]

    def judge(self, expected: Sequence[NDArray[np.int16]], found: Sequence[NDArray[np.int16]]) -> str | None:
        """By boxes: as many on every page, and each where the other is."""
        pages = zip(expected, found, strict=True)
        return next((words for page in pages if (words := quads(*page)) is not None), None)

    def _completed(self, params: DetectionParams) -> DetectionParams:
        own = self._own
        return DetectionParams(
            limit_side_len=params.limit_side_len or own.limit_side_len,
            limit_type=params.limit_type or own.limit_type,
            max_side_limit=min(params.max_side_limit, 32736),
            thresh=params.thresh or own.thresh,
            box_thresh=params.box_thresh or own.box_thresh,
            unclip_ratio=params.unclip_ratio or own.unclip_ratio,
        )

    def _boxes(self, prob: NDArray[np.float32], page: Page) -> Any:
        height, width = page.image.shape[:2]
        params = page.params
        boxes, _ = db_boxes(
            prob,
            width,
            height,
            params.thresh,
            params.box_thresh,
            params.unclip_ratio,
            max_candidates=self._max_candidates,
            dilation=self._dilation,
        )
        return boxes


class SealDetection(TextDetection):
    """Finds the text on a seal as polygons: a result is a list of int16 ``[K, 2]``.

    Raises:
        ConfigError: the model's ``inference.yml`` describes something else.
    """

    name: ClassVar[str] = "seal"
    _box_type: ClassVar[str] = "poly"

    def _boxes(self, prob: NDArray[np.float32], page: Page) -> list[NDArray[np.int16]]:
        height, width = page.image.shape[:2]
        return polygons(prob, width, height, page.params, self._max_candidates, dilation=self._dilation)


def _filled(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = padded_size(*image.shape[:2])
    if (height, width) == image.shape[:2]:
        return image
    filled: NDArray[np.uint8] = np.zeros((height, width, 3), np.uint8)
    filled[: image.shape[0], : image.shape[1]] = image
    return filled
