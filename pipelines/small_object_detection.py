"""Small-object detection: object detection with a network for larger inputs, on a route of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pipelines.core.base import Role
from pipelines.core.box_rules import Boxes
from pipelines.core.detection_api import DetectionForm2024, SmallDetectionForm
from pipelines.core.forms import Operation
from pipelines.object_detection import ObjectDetectionPipeline

_FORMS = (SmallDetectionForm(), DetectionForm2024())


class SmallObjectDetectionPipeline(ObjectDetectionPipeline):
    """PaddleX's ``small_object_detection``. In 2024 its route was that of the general detector."""

    names: ClassVar[tuple[str, ...]] = ("small_object_detection",)
    operations: ClassVar[tuple[Operation, ...]] = (
        Operation("/small-object-detection", "infer", "image", Boxes, _FORMS),
        Operation("/object-detection", "infer", "image", Boxes, _FORMS, gives_way=True),
    )
    roles: ClassVar[Mapping[str, Role]] = {
        "object_detection": Role(
            "small_object_detection",
            "SmallObjectDetection",
            "model",
            default="small_object_nanodet_832",
            official="PP-YOLOE_plus_SOD-L",
        )
    }
    side: ClassVar[int] = 832


PIPELINE = SmallObjectDetectionPipeline
