"""What the image benchmark measures: pipelines, models, pictures, and what to compare of an answer."""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import cv2
import msgspec
import numpy as np

from pipelines.core.models import resolve

from .common import ROOT

#: Inputs of the golden cases: every subject gets some of them at its own size.
_CASES = ROOT / "tests" / "cases"
PHOTOGRAPHS = tuple(
    f"object_detection/{name}.jpg" for name in ("astronaut", "chelsea", "coffee", "montage", "wide")
)
NUCLEI = tuple(f"instance_segmentation/nuclei{name}" for name in (".png", "_low.png", "_large.jpg"))
BRICKS = tuple(f"anomaly_detection/{name}.jpg" for name in ("brick", "gravel", "gravel_wide"))

#: ``result`` of an answer, its values still JSON text: a large label map is never a list of Python numbers.
Result = Mapping[str, msgspec.Raw]


def _classes(key: str, field: str) -> Callable[[Result], object]:
    return lambda result: [entry[field] for entry in msgspec.json.decode(result[key])]


def _label_map(result: Result) -> object:
    """Shape and content of a label map."""
    content = bytes(result["labelMap"]).translate(None, b" ")
    return msgspec.json.decode(result["size"]), hashlib.sha256(content).hexdigest()


class Subject(NamedTuple):
    """One pipeline with one model.

    Attributes:
        title: PaddleX's pipeline name.
        submodule: its key under ``SubModules``.
        model: name in the model store; both sides read its files.
        paddlex_name: ``Global.model_name`` of its ``inference.yml``.
        gist: what must not change under load, of a result.
        size: (width, height) of every picture, pixels.
        keys: further keys of the sub-module.
        inputs: the pictures, below ``tests/cases``.
        paddlex_onnx: whether PaddleX runs a model of this name with ``--engine onnxruntime``.
    """

    title: str
    submodule: str
    model: str
    paddlex_name: str
    gist: Callable[[Result], object]
    size: tuple[int, int] = (640, 480)
    keys: Mapping[str, Any] = {}
    inputs: tuple[str, ...] = PHOTOGRAPHS
    paddlex_onnx: bool = False

    def document(self, folder: str | None = None) -> dict[str, Any]:
        """A 3.x pipeline YAML on the model of the store, or on the one in ``folder``."""
        where = folder or resolve(self.model, stream=sys.stderr).directory
        module = {
            "module_name": self.title,
            "model_name": self.paddlex_name,
            "model_dir": where,
            "batch_size": 1,
        }
        return {"pipeline_name": self.title, "SubModules": {self.submodule: {**module, **self.keys}}}


_OBJECTS = _classes("detectedObjects", "categoryId")

#: By the name that ``--subject`` takes.
SUBJECTS: dict[str, Subject] = {
    "object_detection": Subject(
        "object_detection", "ObjectDetection", "detection_nanodet_416", "PicoDet-S", _OBJECTS,
        paddlex_onnx=True,
    ),
    "small_object_detection": Subject(
        "small_object_detection", "SmallObjectDetection", "small_object_nanodet_832", "PicoDet-S", _OBJECTS,
        keys={"threshold": 0.4}, paddlex_onnx=True,
    ),
    "image_classification": Subject(
        "image_classification", "ImageClassification", "classification_efficientnet_lite0", "PP-LCNet_x1_0",
        _classes("categories", "id"), keys={"topk": 5}, paddlex_onnx=True,
    ),
    "image_multilabel_classification": Subject(
        "image_multilabel_classification", "ImageMultiLabelClassification", "multilabel_nanodet",
        "PP-LCNet_x1_0_ML", _classes("categories", "id"),
    ),
    "semantic_segmentation": Subject(
        "semantic_segmentation", "SemanticSegmentation", "segmentation_selfie", "PP-LiteSeg-T", _label_map,
        keys={"target_size": None},
    ),
    "semantic_segmentation_12mp": Subject(
        "semantic_segmentation", "SemanticSegmentation", "segmentation_selfie", "PP-LiteSeg-T", _label_map,
        (4000, 3000), keys={"target_size": None}, inputs=PHOTOGRAPHS[:2],
    ),
    "instance_segmentation": Subject(
        "instance_segmentation", "InstanceSegmentation", "instance_nuclei", "Mask-RT-DETR-S",
        _classes("instances", "categoryId"), keys={"threshold": 0.5}, inputs=NUCLEI,
    ),
    "anomaly_detection": Subject(
        "anomaly_detection", "AnomalyDetection", "anomaly_brick", "STFPM", _label_map, inputs=BRICKS
    ),
}  # fmt: skip


@functools.cache
def pictures(subject: str) -> tuple[bytes, ...]:
    """JPEGs of a subject's inputs at its size, quality 90."""
    about, found = SUBJECTS[subject], []
    for name in about.inputs:
        image = cv2.imdecode(np.fromfile(_CASES / name, np.uint8), cv2.IMREAD_COLOR)
        scaled = cv2.resize(image, about.size, interpolation=cv2.INTER_CUBIC)
        found.append(cv2.imencode(".jpg", scaled, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
    return tuple(found)
