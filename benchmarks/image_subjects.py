"""What the image benchmark measures: pipelines, models, pictures, and what to compare of an answer."""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np

from pipelines.core.models import resolve

from .common import ROOT

#: Photographs of the golden cases; every subject gets them at its own size.
PHOTOGRAPHS = ("astronaut.jpg", "chelsea.jpg", "coffee.jpg", "montage.jpg", "wide.jpg")
_FOLDER = ROOT / "tests" / "cases" / "object_detection"

Result = Mapping[str, Any]


def _classes(key: str, field: str) -> Callable[[Result], object]:
    return lambda result: [entry[field] for entry in result[key]]


def _label_map(result: Result) -> object:
    """Shape and content of a label map."""
    content = np.asarray(result["labelMap"], np.int32).tobytes()
    return result["size"], hashlib.sha256(content).hexdigest()


class Subject(NamedTuple):
    """One pipeline with one model.

    Attributes:
        title: PaddleX's pipeline name.
        submodule: its key under ``SubModules``.
        model: name in the model store; both sides read its files.
        paddlex_name: ``Global.model_name`` of its ``inference.yml``.
        size: (width, height) of every picture, pixels.
        gist: what must not change under load, of a result.
        keys: further keys of the sub-module.
    """

    title: str
    submodule: str
    model: str
    paddlex_name: str
    gist: Callable[[Result], object]
    size: tuple[int, int] = (640, 480)
    keys: Mapping[str, Any] = {}

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
        "object_detection", "ObjectDetection", "detection_nanodet_416", "PicoDet-S", _OBJECTS
    ),
    "small_object_detection": Subject(
        "small_object_detection", "SmallObjectDetection", "small_object_nanodet_832", "PicoDet-S", _OBJECTS,
        keys={"threshold": 0.4},
    ),
    "image_classification": Subject(
        "image_classification", "ImageClassification", "classification_efficientnet_lite0", "PP-LCNet_x1_0",
        _classes("categories", "id"), keys={"topk": 5},
    ),
    "image_multilabel_classification": Subject(
        "image_multilabel_classification", "ImageMultiLabelClassification", "multilabel_nanodet",
        "PP-LCNet_x1_0_ML", _classes("categories", "id"),
    ),
    "semantic_segmentation": Subject(
        "semantic_segmentation", "SemanticSegmentation", "segmentation_selfie", "PP-LiteSeg-T", _label_map
    ),
    "semantic_segmentation_12mp": Subject(
        "semantic_segmentation", "SemanticSegmentation", "segmentation_selfie", "PP-LiteSeg-T", _label_map,
        (4000, 3000),
    ),
    "instance_segmentation": Subject(
        "instance_segmentation", "InstanceSegmentation", "instance_nuclei", "Mask-RT-DETR-S",
        _classes("instances", "categoryId"), keys={"threshold": 0.5},
    ),
    "anomaly_detection": Subject(
        "anomaly_detection", "AnomalyDetection", "anomaly_brick", "STFPM", _label_map
    ),
}  # fmt: skip


@functools.cache
def pictures(size: tuple[int, int]) -> tuple[bytes, ...]:
    """JPEGs of the photographs at ``size`` (width, height), quality 90."""
    found = []
    for name in PHOTOGRAPHS:
        image = cv2.imdecode(np.fromfile(_FOLDER / name, np.uint8), cv2.IMREAD_COLOR)
        scaled = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
        found.append(cv2.imencode(".jpg", scaled, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
    return tuple(found)
