"""Multi-label classification: every label that fits a picture."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any, ClassVar, cast

import msgspec
import numpy as np

from pipelines.core.base import Item, Pipeline, Role
from pipelines.core.classification_api import Categories, answer
from pipelines.core.config import Generation, PipelineConfig
from pipelines.core.draw_labels import all_labels
from pipelines.core.errors import BadRequest, ConfigError
from pipelines.core.forms import Operation, Reply
from pipelines.core.image_api import ImageForm, ImageForm2024, InferenceParams, canary_picture
from pipelines.core.module_yaml import module_settings
from pipelines.core.stage import Call, StageFactory
from pipelines.core.thresholds import Threshold, Thresholds, read_thresholds
from pipelines.stages.classification import MultiLabelClassification, above

#: One-thread time of the default model; source as in stages/text_detection.py.
MS_PER_IMAGE = 20.0


class Options(msgspec.Struct, frozen=True):
    """``threshold`` of 3.x's YAML; None: the model's own."""

    threshold: Thresholds | None = None


class Params(msgspec.Struct, frozen=True):
    """What one picture needs to know on a device.

    Attributes:
        thresholds: None for the configured ones.
        as_2024: the model's own thresholds, which need only be equalled, and a linear resize.
    """

    thresholds: Thresholds | None = None
    as_2024: bool = False


class Request(msgspec.Struct, rename="camel"):
    """Body of 3.x."""

    image: str
    threshold: Threshold | dict[str, Threshold] | list[Threshold] | None = None
    visualize: bool | None = None


class Request2024(msgspec.Struct, rename="camel"):
    """Body of the 2024 generation."""

    image: str
    inference_params: InferenceParams | None = None


class MultiLabelForm(ImageForm):
    """3.x: ``threshold`` replaces the configured one."""

    request: ClassVar[type[msgspec.Struct]] = Request
    params_type = Params
    marks: ClassVar[frozenset[str]] = frozenset({"threshold", "visualize"})

    def params(self, request: Any, config: PipelineConfig) -> Params:
        """What the classes must exceed. Raises BadRequest."""
        if request.threshold is None:
            return Params()
        try:
            return Params(read_thresholds(request.threshold))
        except ValueError as error:
            raise BadRequest(f"threshold: {error}") from error

    def respond(self, reply: Reply) -> dict[str, Any]:
        """``{categories, image}``."""
        return answer(reply, all_labels, np.float64)


class MultiLabelForm2024(ImageForm2024, MultiLabelForm):
    """2024: no parameters."""

    request = Request2024
    marks: ClassVar[frozenset[str]] = frozenset({"inferenceParams"})

    def params(self, request: Any, config: PipelineConfig) -> Params:
        """The model's own thresholds."""
        return Params(as_2024=True)


class ImageMultiLabelClassification(Pipeline):
    """PaddleX's ``image_multilabel_classification``."""

    names = ("image_multilabel_classification", "multi_label_image_classification")
    operations = (
        Operation(
            "/multilabel-image-classification",
            "infer",
            "image",
            Categories,
            (MultiLabelForm(), MultiLabelForm2024()),
        ),
    )
    roles: ClassVar[Mapping[str, Role]] = {
        "classification": Role(
            "image_multilabel_classification",
            "ImageMultiLabelClassification",
            "model",
            default="multilabel_nanodet",
            official="PP-HGNetV2-B6_ML",
        )
    }
    options = Options

    def __init__(self, config: PipelineConfig, stages: StageFactory) -> None:
        self._stage: MultiLabelClassification = stages.get(
            MultiLabelClassification, config.models["classification"], config.engines["classification"]
        )
        own = msgspec.convert(config.options, Options).threshold
        try:
            self._thresholds = self._stage.checked(own or self._stage.thresholds)
        except ValueError as error:
            raise ConfigError(f"threshold: {error}") from error

    def steps(self, item: Item) -> Generator[Sequence[Call], Sequence[Any], Categories]:
        """One picture, from pixels to its classes."""
        params, image = cast("Params", item.params), cast("np.ndarray", item.image)
        (scores,) = yield [self._stage.call(image, MS_PER_IMAGE, linear=params.as_2024)]
        configured = self._stage.thresholds if params.as_2024 else self._thresholds
        try:
            limits = (params.thresholds or configured).limits(len(scores))
        except ValueError as error:
            raise BadRequest(f"threshold: {error}") from error
        chosen = above(scores, limits, inclusive=params.as_2024)
        return Categories(chosen, self._stage.names(chosen), scores[chosen].tolist())

    @classmethod
    def parse_yaml(cls, document: Mapping[str, Any], generation: Generation) -> dict[str, Any]:
        """``threshold``. Raises ConfigError."""
        module = module_settings(document, generation, "ImageMultiLabelClassification")
        threshold = module.take("threshold", Any, None)
        module.finish()
        try:
            options = Options(None if threshold is None else read_thresholds(threshold))
        except ValueError as error:
            raise ConfigError(f"SubModules.ImageMultiLabelClassification.threshold: {error}") from error
        return dict(msgspec.to_builtins(options))

    @classmethod
    def cost_ms(cls, params: msgspec.Struct, height: int, width: int) -> float:
        """The same for every picture: the network sees one size."""
        return MS_PER_IMAGE

    def canary(self) -> Item:
        """A picture of shades, of which every class is reported."""
        return Item(params=Params(Thresholds(default=-1.0)), image=canary_picture())


PIPELINE = ImageMultiLabelClassification
