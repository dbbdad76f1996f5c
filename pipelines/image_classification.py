"""Image classification: one label per picture, and how sure."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, cast

import msgspec
import numpy as np

from pipelines.core.base import Item, Pipeline, Role
from pipelines.core.classification_api import Categories, answer
from pipelines.core.config import Generation, PipelineConfig
from pipelines.core.draw_labels import best_label
from pipelines.core.forms import Operation, Reply
from pipelines.core.image_api import ImageForm, ImageForm2024, canary_picture
from pipelines.core.module_yaml import module_settings
from pipelines.core.stage import Call, StageFactory
from pipelines.stages.classification import Classification, best

#: One-thread time of the default model; source as in stages/text_detection.py.
MS_PER_IMAGE = 10.0

Count = Annotated[int, msgspec.Meta(gt=0, le=2**53)]


class Options(msgspec.Struct, frozen=True):
    """``topk`` of 3.x's YAML; 0: the model's own."""

    topk: int = 5


class Params(msgspec.Struct, frozen=True):
    """What one picture needs to know on a device.

    Attributes:
        topk: how many classes; 0: as many as the model itself reports.
        most: and not more than these; 0: no limit.
        linear: resized as the 2024 generation does.
    """

    topk: int = 0
    most: int = 0
    linear: bool = False


class Request(msgspec.Struct, rename="camel"):
    """Body of 3.x."""

    image: str
    topk: Count | None = None
    visualize: bool | None = None


class InferenceParams(msgspec.Struct):
    """``inferenceParams`` of the 2024 generation."""

    top_k: Count | None = msgspec.field(default=None, name="topK")


class Request2024(msgspec.Struct, rename="camel"):
    """Body of the 2024 generation."""

    image: str
    inference_params: InferenceParams | None = None


class ClassificationForm(ImageForm):
    """3.x: ``topk`` replaces the configured number; scores are rounded as float32."""

    request: ClassVar[type[msgspec.Struct]] = Request
    params_type = Params
    marks: ClassVar[frozenset[str]] = frozenset({"topk", "visualize"})
    precision: ClassVar[type[np.floating[Any]]] = np.float32

    def params(self, request: Any, config: PipelineConfig) -> Params:
        """How many classes to report."""
        return Params(topk=request.topk or msgspec.convert(config.options, Options).topk)

    def respond(self, reply: Reply) -> dict[str, Any]:
        """``{categories, image}``."""
        return answer(reply, best_label, self.precision)


class ClassificationForm2024(ImageForm2024, ClassificationForm):
    """2024: ``topK`` cuts the model's own list; scores are rounded as float64."""

    request = Request2024
    marks: ClassVar[frozenset[str]] = frozenset({"inferenceParams"})
    precision = np.float64

    def params(self, request: Any, config: PipelineConfig) -> Params:
        """At most how many classes to report."""
        given = request.inference_params
        return Params(most=(given.top_k if given is not None else None) or 0, linear=True)


class ImageClassification(Pipeline):
    """PaddleX's ``image_classification``."""

    names = ("image_classification",)
    operations = (
        Operation(
            "/image-classification",
            "infer",
            "image",
            Categories,
            (ClassificationForm(), ClassificationForm2024()),
        ),
    )
    roles: ClassVar[Mapping[str, Role]] = {
        "classification": Role(
            "image_classification",
            "ImageClassification",
            "model",
            default="classification_efficientnet_lite0",
            official="PP-LCNet_x0_5",
        )
    }
    options = Options

    def __init__(self, config: PipelineConfig, stages: StageFactory) -> None:
        self._stage: Classification = stages.get(
            Classification, config.models["classification"], config.engines["classification"]
        )

    def steps(self, item: Item) -> Generator[Sequence[Call], Sequence[Any], Categories]:
        """One picture, from pixels to its best classes."""
        params, image = cast("Params", item.params), cast("np.ndarray", item.image)
        (scores,) = yield [self._stage.call(image, MS_PER_IMAGE, linear=params.linear)]
        count = params.topk or self._stage.topk
        chosen = best(scores, min(count, params.most or count))
        return Categories(chosen, self._stage.names(chosen), scores[chosen].tolist())

    @classmethod
    def parse_yaml(cls, document: Mapping[str, Any], generation: Generation) -> dict[str, Any]:
        """``topk``. Raises ConfigError."""
        module = module_settings(document, generation, "ImageClassification")
        topk = module.take("topk", Count, 0)
        module.finish()
        return {"topk": topk}

    @classmethod
    def cost_ms(cls, params: msgspec.Struct, height: int, width: int) -> float:
        """The same for every picture: the network sees one size."""
        return MS_PER_IMAGE

    @classmethod
    def result_bytes(cls, params: msgspec.Struct, height: int, width: int) -> int:
        """100 bytes for a class and its label, of which no model has more than 20,000."""
        return 8192 + 100 * min(cast("Params", params).topk or 20, 20_000)

    def canary(self) -> Item:
        """A picture of shades."""
        return Item(params=Params(), image=canary_picture())


PIPELINE = ImageClassification
