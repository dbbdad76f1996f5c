"""Image anomaly detection: which pixels of one image are not as they should be."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any, ClassVar, cast

import msgspec
import numpy as np

from pipelines.core.base import Item, Role
from pipelines.core.config import Generation, PipelineConfig
from pipelines.core.deploy_transforms import SizeRule, anomaly_input
from pipelines.core.forms import Operation, Reply
from pipelines.core.image_api import ImageForm, ImageForm2024, InferenceParams
from pipelines.core.label_maps import LabelMap, LabelMapPipeline, MapParams, answer, answer_bytes
from pipelines.core.module_yaml import module_settings
from pipelines.core.stage import Call, StageFactory
from pipelines.stages.anomaly import MS_PER_PIXEL, Anomaly

#: The one role of this pipeline.
_ROLE = "anomaly"


class AnomalyOptions(msgspec.Struct, frozen=True):
    """It has no settings of its own."""


class AnomalyRequest(msgspec.Struct):
    """Body of 3.x."""

    image: str
    visualize: bool | None = None


class AnomalyRequest2024(msgspec.Struct, rename="camel"):
    """Body of the 2024 generation."""

    image: str
    inference_params: InferenceParams | None = None


class AnomalyForm(ImageForm):
    """3.x."""

    request: ClassVar[type[msgspec.Struct]] = AnomalyRequest
    params_type = MapParams
    marks: ClassVar[frozenset[str]] = frozenset({"visualize"})

    def params(self, request: msgspec.Struct, config: PipelineConfig) -> MapParams:
        """The model's own size."""
        return MapParams(AnomalyDetectionPipeline.own_size(config))

    def answer_bytes(self, params: msgspec.Struct, height: int, width: int) -> int:
        """A few bytes per label."""
        return answer_bytes(*cast("MapParams", params).size.size(height, width))

    def respond(self, reply: Reply) -> dict[str, Any]:
        """``{labelMap, size, image?}``; 0 is normal, 255 is not."""
        labels = cast("LabelMap", reply.pages[0].result).labels
        return answer(labels, *labels.shape, visualize=reply.visualize)


class AnomalyForm2024(ImageForm2024, AnomalyForm):
    """2024: the same, always with a picture."""

    request = AnomalyRequest2024
    marks: ClassVar[frozenset[str]] = frozenset({"inferenceParams"})


class AnomalyDetectionPipeline(LabelMapPipeline):
    """PaddleX's ``anomaly_detection``."""

    names = ("anomaly_detection",)
    operations = (
        Operation("/image-anomaly-detection", "infer", "image", LabelMap, (AnomalyForm(), AnomalyForm2024())),
    )
    roles: ClassVar[Mapping[str, Role]] = {
        _ROLE: Role("anomaly_detection", "AnomalyDetection", "model", "anomaly_brick", official="STFPM")
    }
    options = AnomalyOptions
    ms_per_pixel = MS_PER_PIXEL

    def __init__(self, config: PipelineConfig, stages: StageFactory) -> None:
        super().__init__(config)
        self._stage: Anomaly = stages.get(Anomaly, config.models[_ROLE], config.engines[_ROLE])

    def steps(self, item: Item) -> Generator[Sequence[Call], Sequence[Any], LabelMap]:
        """One picture, from pixels to a mask."""
        (mask,) = yield [self._stage.call(cast("np.ndarray", item.image))]
        return LabelMap(mask)

    @classmethod
    def parse_yaml(cls, document: Mapping[str, Any], generation: Generation) -> dict[str, Any]:
        """Nothing but the model. Raises ConfigError."""
        module_settings(document, generation, "AnomalyDetection").finish()
        return {}

    @classmethod
    def own_size(cls, config: PipelineConfig) -> SizeRule:
        """The model's rule."""
        return anomaly_input(config.models[_ROLE].directory).size_rule


PIPELINE = AnomalyDetectionPipeline
