"""What the routes that take one image have in common, in both generations (API reference, 10.1 to 10.7)."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from .config import Generation, PipelineConfig
from .draw import jpeg
from .forms import Form, Source

#: Longest side that a JPEG can have (ITU T.81 has 16 bits; libjpeg keeps some back).
_MAX_JPEG_SIDE = 65_500


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


def picture(image: NDArray[np.uint8]) -> bytes:
    """An answer's ``image``: quality 75, the default of Pillow, which PaddleX encodes with.

    Shrunk only when no JPEG can be as large.
    """
    return jpeg(image, (_MAX_JPEG_SIDE, _MAX_JPEG_SIDE), quality=75)


def canary_picture(height: int = 120, width: int = 160) -> NDArray[np.uint8]:
    """uint8 BGR shades in both directions: a small picture in which every pixel counts."""
    across = np.linspace(0, 255, width, dtype=np.uint8)[np.newaxis, :, np.newaxis]
    down = np.linspace(0, 255, height, dtype=np.uint8)[:, np.newaxis, np.newaxis]
    shades: NDArray[np.uint8] = np.concatenate(
        [across.repeat(height, 0), down.repeat(width, 1), 255 - across.repeat(height, 0)], axis=2
    )
    return shades
