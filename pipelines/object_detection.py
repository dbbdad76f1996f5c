"""Object detection: one network, from picture to boxes."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any, ClassVar, cast

import msgspec
import numpy as np

from pipelines.core.base import Item, Pipeline, Role
from pipelines.core.box_rules import Boxes, BoxRules
from pipelines.core.config import Generation, PipelineConfig
from pipelines.core.detection_api import (
    DetectionForm,
    DetectionForm2024,
    DetectionOptions,
    beta_options,
    v3_options,
)
from pipelines.core.forms import Operation
from pipelines.core.image_api import canary_picture
from pipelines.core.stage import Call, StageFactory
from pipelines.core.yaml_config import own_settings
from pipelines.stages.detection import MS_PER_PIXEL, MS_PER_SOURCE_PIXEL, Detection


class ObjectDetectionPipeline(Pipeline):
    """PaddleX's ``object_detection``."""

    names: ClassVar[tuple[str, ...]] = ("object_detection",)
    operations: ClassVar[tuple[Operation, ...]] = (
        Operation("/object-detection", "infer", "image", Boxes, (DetectionForm(), DetectionForm2024()), True),
    )
    roles: ClassVar[Mapping[str, Role]] = {
        "object_detection": Role(
            "object_detection", "ObjectDetection", "model", "detection_nanodet_416", official="PicoDet-S"
        )
    }
    options = DetectionOptions
    #: side of the default model's input, pixels
    side: ClassVar[int] = 416

    def __init__(self, config: PipelineConfig, stages: StageFactory) -> None:
        (role,) = self.roles
        size = DetectionOptions.of(config).img_size
        self._detection: Detection = stages.get(
            Detection, config.models[role], config.engines[role], img_size=size
        )

    def steps(self, item: Item) -> Generator[Sequence[Call], Sequence[Any], Boxes]:
        """One picture."""
        image, rules = cast("np.ndarray", item.image), cast("BoxRules", item.params)
        (found,) = yield [self._detection.call(image, rules)]
        return cast("Boxes", found)

    @classmethod
    def parse_yaml(cls, document: Mapping[str, Any], generation: Generation) -> dict[str, Any]:
        """Settings of a detector's YAML. Raises ConfigError."""
        own, (role,) = own_settings(document, generation), cls.roles.values()
        options = beta_options(own) if generation == "2024" else v3_options(own, role.submodule)
        return dict(msgspec.to_builtins(options))

    @classmethod
    def cost_ms(cls, params: msgspec.Struct, height: int, width: int) -> float:
        """The network's time does not depend on the picture, that of the resize a little."""
        return cls.side**2 * MS_PER_PIXEL + height * width * MS_PER_SOURCE_PIXEL

    @classmethod
    def result_bytes(cls, params: msgspec.Struct, height: int, width: int) -> int:
        """The largest networks give 1,000 boxes; a box and its label take 70 bytes."""
        return 128 << 10

    def canary(self) -> Item:
        """A small picture."""
        return Item(params=BoxRules(), image=canary_picture())


PIPELINE: type[Pipeline] = ObjectDetectionPipeline
