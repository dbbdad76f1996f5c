"""Instance segmentation: objects of one image with their pixels."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any, ClassVar, cast

import msgspec
import numpy as np

from pipelines.core.base import Item, Pipeline, Role
from pipelines.core.config import Generation, PipelineConfig
from pipelines.core.document_api import Number
from pipelines.core.draw import Pen
from pipelines.core.draw_boxes import RECIPE_2024, RECIPE_V3, Recipe
from pipelines.core.forms import Operation, Reply
from pipelines.core.image_api import ImageForm, ImageForm2024, InferenceParams, canary_picture, picture
from pipelines.core.instances import Instances, check_packed, draw_instances, packed_bytes
from pipelines.core.module_yaml import module_settings
from pipelines.core.stage import Call, StageFactory
from pipelines.stages.instances import InstanceSegmentation, cost_ms

#: The one role of this pipeline.
_ROLE = "instance_segmentation"


class InstanceOptions(msgspec.Struct, frozen=True):
    """``threshold``: score above which objects count where no request says so; None is the model's own."""

    threshold: float | None = None


class InstanceParams(msgspec.Struct, frozen=True):
    """``threshold``: None is the model's own; ``solid``: leave out boxes without an area."""

    threshold: float | None = None
    solid: bool = True


class InstanceRequest(msgspec.Struct):
    """Body of 3.x."""

    image: str
    threshold: Number | None = None
    visualize: bool | None = None


class InstanceRequest2024(msgspec.Struct, rename="camel"):
    """Body of the 2024 generation."""

    image: str
    inference_params: InferenceParams | None = None


def _threshold(config: PipelineConfig) -> float | None:
    return msgspec.convert(config.options, InstanceOptions).threshold


class InstanceForm(ImageForm):
    """3.x."""

    request: ClassVar[type[msgspec.Struct]] = InstanceRequest
    params_type = InstanceParams
    marks: ClassVar[frozenset[str]] = frozenset({"threshold", "visualize"})
    recipe: ClassVar[Recipe] = RECIPE_V3

    def params(self, request: Any, config: PipelineConfig) -> InstanceParams:
        """The request's threshold, else the pipeline's."""
        return InstanceParams(_threshold(config) if request.threshold is None else request.threshold)

    def respond(self, reply: Reply) -> dict[str, Any]:
        """``{instances, image?}``."""
        (page,) = reply.pages
        found = cast("Instances", page.result)
        rows, masks = found.boxes.rows.tolist(), zip(found.masks, found.sizes.tolist(), strict=True)
        instances = [
            {
                "bbox": row[2:],
                "categoryId": int(row[0]),
                "categoryName": label,
                "score": row[1],
                "mask": {"rleResult": runs.decode("ascii"), "size": size},
            }
            for row, label, (runs, size) in zip(rows, found.boxes.labels, masks, strict=True)
        ]
        if page.pixels is None:
            return {"instances": instances}
        drawn = page.pixels.copy()
        draw_instances(drawn, found, Pen(reply.font), self.recipe)
        return {"instances": instances, "image": picture(drawn)}


class InstanceForm2024(ImageForm2024, InstanceForm):
    """2024: the model's threshold, boxes without an area too."""

    request = InstanceRequest2024
    marks: ClassVar[frozenset[str]] = frozenset({"inferenceParams"})
    recipe = RECIPE_2024

    def params(self, request: Any, config: PipelineConfig) -> InstanceParams:
        """The pipeline's threshold."""
        return InstanceParams(_threshold(config), solid=False)


class InstanceSegmentationPipeline(Pipeline):
    """PaddleX's ``instance_segmentation``."""

    names = ("instance_segmentation",)
    operations = (
        Operation(
            "/instance-segmentation", "infer", "image", Instances, (InstanceForm(), InstanceForm2024())
        ),
    )
    roles: ClassVar[Mapping[str, Role]] = {
        _ROLE: Role(
            "instance_segmentation",
            "InstanceSegmentation",
            "model",
            "instance_nuclei",
            official="Mask-RT-DETR-S",
        )
    }
    options = InstanceOptions

    def __init__(self, config: PipelineConfig, stages: StageFactory) -> None:
        model, engine = config.models[_ROLE], config.engines[_ROLE]
        self._stage: InstanceSegmentation = stages.get(InstanceSegmentation, model, engine)

    def steps(self, item: Item) -> Generator[Sequence[Call], Sequence[Any], Instances]:
        """One picture, from pixels to objects."""
        params, image = cast("InstanceParams", item.params), cast("np.ndarray", item.image)
        found: Instances
        (found,) = yield [self._stage.call(image, params.threshold, solid=params.solid)]
        check_packed(found, *image.shape[:2])
        return found

    @classmethod
    def parse_yaml(cls, document: Mapping[str, Any], generation: Generation) -> dict[str, Any]:
        """``threshold`` of the sub-module, which 3.7.2 reads and forgets. Raises ConfigError."""
        module = module_settings(document, generation, "InstanceSegmentation")
        threshold: float | None = module.take("threshold", float | None, None)  # type: ignore[arg-type]
        module.finish()
        return dict(msgspec.to_builtins(InstanceOptions(threshold)))

    @classmethod
    def cost_ms(cls, params: msgspec.Struct, height: int, width: int) -> float:
        """Mostly that of masks at the picture's size."""
        return cost_ms(height, width)

    @classmethod
    def result_bytes(cls, params: msgspec.Struct, height: int, width: int) -> int:
        """See :func:`packed_bytes`."""
        return packed_bytes(height, width)

    def canary(self) -> Item:
        """A picture of shades."""
        return Item(InstanceParams(), canary_picture())


PIPELINE = InstanceSegmentationPipeline
