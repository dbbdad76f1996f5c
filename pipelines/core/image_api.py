"""What the routes that take one image have in common, in both generations (API reference, 10.1 to 10.7)."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from .base import Form, Generation, PipelineConfig, Source


class InferenceParams(msgspec.Struct, rename="camel"):
    """``inferenceParams`` of the 2024 generation where it holds nothing that this route reads."""


class ImageForm(Form):
    """3.x: ``image``, URL or base64; ``visualize`` by the request, else by the ``Serving`` section."""

    generation: ClassVar[Generation] = "v3"

    def source(self, request: Any) -> Source:
        """``image``, which is never a PDF."""
        return Source("image", request.image, 1)


class ImageForm2024(ImageForm):
    """2024: the same ``image``; a picture is always sent."""

    generation: ClassVar[Generation] = "2024"

    def visualize(self, request: Any, config: PipelineConfig) -> bool:
        """That generation has no switch."""
        return True
