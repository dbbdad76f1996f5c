"""The two detectors in both generations: requests, settings, answers (API reference, 10.2 and 10.6)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, cast

import msgspec

from .box_rules import Boxes, BoxRules
from .box_yaml import module_rules
from .config import PipelineConfig
from .detection_input import MAX_INPUT_SIDE
from .document_api import Number
from .draw import Pen
from .draw_boxes import RECIPE_2024, RECIPE_V3, Recipe, draw_boxes
from .errors import ConfigError
from .forms import Page, Reply
from .image_api import ImageForm, ImageForm2024, InferenceParams, picture
from .yaml_config import MODULE_KEYS, Section

Side = Annotated[int, msgspec.Meta(ge=1, le=MAX_INPUT_SIDE)]


class DetectionOptions(msgspec.Struct, frozen=True):
    """Settings of a detector.

    Attributes:
        rules: what a request may not say; what they leave open, the model says.
        img_size: (height, width) that replaces the model's Resize, or None.
    """

    rules: BoxRules = BoxRules()
    img_size: tuple[int, int] | None = None

    @classmethod
    def of(cls, config: PipelineConfig) -> DetectionOptions:
        """From the builtins that a configuration holds: after a trip through JSON, class ids are text."""
        return msgspec.convert(config.options, cls, str_keys=True)


class SmallDetectionRequest(msgspec.Struct, rename="camel"):
    """Body of 3.x for the small-object detector."""

    image: str
    threshold: Number | dict[int, Number] | None = None
    visualize: bool | None = None


class DetectionRequest(SmallDetectionRequest, rename="camel"):
    """Body of 3.x for the general detector."""

    log_id: str | None = None


class DetectionRequest2024(msgspec.Struct, rename="camel"):
    """Body of the 2024 generation."""

    image: str
    inference_params: InferenceParams | None = None


class SmallDetectionForm(ImageForm):
    """3.x: a threshold by the request, else by the pipeline's YAML, else by the model."""

    request: ClassVar[type[msgspec.Struct]] = SmallDetectionRequest
    params_type = BoxRules
    marks = frozenset({"threshold", "visualize"})

    def params(self, request: SmallDetectionRequest, config: PipelineConfig) -> BoxRules:
        """Device-side parameters."""
        return BoxRules(threshold=request.threshold).over(DetectionOptions.of(config).rules)

    def respond(self, reply: Reply) -> dict[str, Any]:
        """``{detectedObjects, image}``."""
        return _answer(reply.pages[0], reply, RECIPE_V3)


class DetectionForm(SmallDetectionForm):
    """3.x of the general detector, which repeats a ``logId``."""

    request = DetectionRequest
    marks = frozenset({"threshold", "visualize", "logId"})


class DetectionForm2024(ImageForm2024):
    """2024: the model's own threshold, no layout rules; boxes without an area are sent."""

    request = DetectionRequest2024
    params_type = BoxRules
    marks = frozenset({"inferenceParams"})

    def params(self, request: DetectionRequest2024, config: PipelineConfig) -> BoxRules:
        """Device-side parameters."""
        return BoxRules(v3=False).over(DetectionOptions.of(config).rules)

    def respond(self, reply: Reply) -> dict[str, Any]:
        """``{detectedObjects, image}``, with names, which that generation did not send."""
        return _answer(reply.pages[0], reply, RECIPE_2024)


def _answer(page: Page, reply: Reply, recipe: Recipe) -> dict[str, Any]:
    found = cast("Boxes", page.result)
    boxes, scores = found.rows[:, 2:6], found.rows[:, 1].tolist()
    classes = found.rows[:, 0].astype(int).tolist()
    objects = [
        {"bbox": box, "categoryId": number, "categoryName": label, "score": score}
        for box, number, label, score in zip(boxes.tolist(), classes, found.labels, scores, strict=True)
    ]
    result: dict[str, Any] = {"detectedObjects": objects}
    if reply.visualize and page.pixels is not None:
        drawn = page.pixels.copy()
        draw_boxes(drawn, boxes, found.labels, scores, Pen(reply.font), recipe)
        result["image"] = picture(drawn)
    return result


def v3_options(own: Section, submodule: str) -> DetectionOptions:
    """Settings from a 3.x YAML. Raises ConfigError."""
    modules, path = own.section("SubModules"), f"SubModules.{submodule}"
    module = modules.section(submodule)
    rules, size = module_rules(module, path), module.take("img_size", object, None)
    module.skip(*MODULE_KEYS, "batch_size").finish()
    modules.finish()
    own.finish()
    return DetectionOptions(rules, None if size is None else _img_size(size, path))


def _img_size(value: object, path: str) -> tuple[int, int]:
    """One side for both, or (height, width)."""
    try:
        height, width = msgspec.convert(
            [value, value] if isinstance(value, int) else value, tuple[Side, Side]
        )
    except msgspec.ValidationError:
        raise ConfigError(f"{path}.img_size must be one or two numbers from 1 to {MAX_INPUT_SIDE}") from None
    return height, width


def beta_options(own: Section) -> DetectionOptions:
    """A 2024 YAML names a model and nothing else that has an effect. Raises ConfigError."""
    own.skip("model", "batch_size", "device").finish()
    return DetectionOptions()
