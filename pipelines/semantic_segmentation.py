"""Semantic segmentation: a class for every pixel of one image."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any, ClassVar, cast

import msgspec
import numpy as np

from pipelines.core.base import Item, Role
from pipelines.core.config import Generation, PipelineConfig
from pipelines.core.deploy_transforms import SizeRule, TargetSize, segmentation_input
from pipelines.core.errors import BadRequest, ConfigError
from pipelines.core.forms import Operation, Reply
from pipelines.core.image_api import ImageForm, ImageForm2024, InferenceParams
from pipelines.core.label_maps import LabelMap, LabelMapPipeline, MapParams, answer, answer_bytes
from pipelines.core.module_yaml import module_settings
from pipelines.core.stage import Call, StageFactory
from pipelines.stages.segmentation import MS_PER_PIXEL, Segmentation

#: The one role of this pipeline.
_ROLE = "segmentation"


class SegmentationOptions(msgspec.Struct, frozen=True):
    """``target_size``: size in the network where a request names none; None is the model's own rule."""

    target_size: TargetSize | None = None


class SegmentationRequest(msgspec.Struct, rename="camel"):
    """Body of 3.x."""

    image: str
    target_size: TargetSize | None = None
    visualize: bool | None = None


class SegmentationRequest2024(msgspec.Struct, rename="camel"):
    """Body of the 2024 generation."""

    image: str
    inference_params: InferenceParams | None = None


class SegmentationForm(ImageForm):
    """3.x: labels at the picture's size."""

    request = SegmentationRequest
    params_type = MapParams
    marks: ClassVar[frozenset[str]] = frozenset({"targetSize", "visualize"})

    def params(self, request: SegmentationRequest, config: PipelineConfig) -> MapParams:
        """Raises BadRequest for a size that cannot be."""
        return MapParams(SemanticSegmentationPipeline.own_size(config).to(request.target_size))

    def answer_bytes(self, params: msgspec.Struct, height: int, width: int) -> int:
        """A few bytes per label."""
        return answer_bytes(height, width)

    def respond(self, reply: Reply) -> dict[str, Any]:
        """``{labelMap, size, image?}``."""
        (page,) = reply.pages
        labels = cast("LabelMap", page.result).labels
        return answer(labels, page.height, page.width, visualize=reply.visualize)


class SegmentationForm2024(ImageForm2024):
    """2024: labels at the network's size."""

    request = SegmentationRequest2024
    params_type = MapParams
    marks: ClassVar[frozenset[str]] = frozenset({"inferenceParams"})

    def params(self, request: SegmentationRequest2024, config: PipelineConfig) -> MapParams:
        """The model's own size."""
        return MapParams(SemanticSegmentationPipeline.own_size(config))

    def answer_bytes(self, params: msgspec.Struct, height: int, width: int) -> int:
        """A few bytes per label."""
        return answer_bytes(*cast("MapParams", params).size.size(height, width))

    def respond(self, reply: Reply) -> dict[str, Any]:
        """``{labelMap, size, image}``."""
        labels = cast("LabelMap", reply.pages[0].result).labels
        return answer(labels, *labels.shape, visualize=reply.visualize)


class SemanticSegmentationPipeline(LabelMapPipeline):
    """PaddleX's ``semantic_segmentation``."""

    names = ("semantic_segmentation",)
    operations = (
        Operation(
            "/semantic-segmentation",
            "infer",
            "image",
            LabelMap,
            (SegmentationForm(), SegmentationForm2024()),
        ),
    )
    roles: ClassVar[Mapping[str, Role]] = {
        _ROLE: Role(
            "semantic_segmentation",
            "SemanticSegmentation",
            "model",
            "segmentation_selfie",
            official="PP-LiteSeg-T",
        )
    }
    options = SegmentationOptions
    ms_per_pixel = MS_PER_PIXEL

    def __init__(self, config: PipelineConfig, stages: StageFactory) -> None:
        super().__init__(config)
        self._stage: Segmentation = stages.get(Segmentation, config.models[_ROLE], config.engines[_ROLE])

    def steps(self, item: Item) -> Generator[Sequence[Call], Sequence[Any], LabelMap]:
        """One picture, from pixels to labels."""
        params, image = cast("MapParams", item.params), cast("np.ndarray", item.image)
        (labels,) = yield [self._stage.call(image, params.size)]
        return LabelMap(labels)

    @classmethod
    def parse_yaml(cls, document: Mapping[str, Any], generation: Generation) -> dict[str, Any]:
        """``target_size`` of the sub-module, which 3.7.2 reads and forgets. Raises ConfigError."""
        module = module_settings(document, generation, "SemanticSegmentation")
        target: TargetSize | None = module.take("target_size", TargetSize | None, None)  # type: ignore[arg-type]
        module.finish()
        try:
            SizeRule().to(target)
        except BadRequest as error:
            raise ConfigError(f"SubModules.SemanticSegmentation.target_size: {error.message}") from None
        return dict(msgspec.to_builtins(SegmentationOptions(target)))

    @classmethod
    def own_size(cls, config: PipelineConfig) -> SizeRule:
        """The model's rule with the pipeline's ``target_size``. Raises BadRequest."""
        own = msgspec.convert(config.options, SegmentationOptions).target_size
        return segmentation_input(config.models[_ROLE].directory).size_rule.to(own)


PIPELINE = SemanticSegmentationPipeline
