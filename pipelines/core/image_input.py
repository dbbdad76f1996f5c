"""How ``inference.yml`` makes a picture the input of a classifier (API reference, 7.1 and 9.2).

3.x fixes the order, whatever the list says: resize, crop, normalise, planes. Everything here works on uint8
BGR pictures and gives RGB planes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kernels.resize import resize_normalize_chw

from .errors import BadRequest
from .inference_yml import Description, Normalization

#: Names of 3.x to codes of OpenCV and Pillow.
_OPENCV = {
    "NEAREST": cv2.INTER_NEAREST,
    "LINEAR": cv2.INTER_LINEAR,
    "BICUBIC": cv2.INTER_CUBIC,
    "AREA": cv2.INTER_AREA,
    "LANCZOS4": cv2.INTER_LANCZOS4,
}
_PILLOW = {
    "NEAREST": Image.Resampling.NEAREST,
    "BILINEAR": Image.Resampling.BILINEAR,
    "BICUBIC": Image.Resampling.BICUBIC,
    "BOX": Image.Resampling.BOX,
    "LANCZOS4": Image.Resampling.LANCZOS,
}
_KNOWN = frozenset({"DecodeImage", "ResizeImage", "CropImage", "NormalizeImage", "ToCHWImage", "KeepKeys"})
#: Longest side that OpenCV's arithmetic for resized pictures holds.
_MAX_SIDE = 32767
#: Of a picture whose ratio is kept and that is not cropped: bounds the memory of one run.
_MAX_UNCROPPED_PIXELS = 4 << 20


class Resampling(msgspec.Struct, frozen=True):
    """``backend`` and ``interpolation`` of ``ResizeImage``, checked."""

    backend: Literal["cv2", "pil"] = "cv2"
    name: str = "LINEAR"


LINEAR = Resampling()


class Window(msgspec.Struct, frozen=True):
    """Size of the resized picture, and the part of it that is the input: left, top, width and height."""

    width: int
    height: int
    left: int
    top: int
    columns: int
    rows: int


class ImageInput:
    """The pre-processing of one model.

    Args:
        about: its ``inference.yml``.
        crops: whether ``CropImage`` counts; 3.x ignores it for multi-label models.

    Raises:
        ConfigError: the file describes something that 3.x does not run either; names the key.
    """

    def __init__(self, about: Description, *, crops: bool = True) -> None:
        about.only_operations(_KNOWN)
        resize = about.required("ResizeImage")
        self._short = int(about.number(resize.get("resize_short") or 0))
        self._size = None if self._short else _pair(about, resize.get("size"), "ResizeImage.size")
        self._resampling = _resampling(about, resize)
        crop = about.operation("CropImage") if crops else None
        self._crop = None if crop is None else _pair(about, crop.get("size", 224), "CropImage.size")
        narrowest = self._size or (self._short, self._short)
        if not 0 < max(narrowest) <= _MAX_SIDE:
            raise about.error("ResizeImage makes pictures of no size, or too large ones")
        if self._crop and (self._crop[0] > narrowest[0] or self._crop[1] > narrowest[1]):
            raise about.error("CropImage.size is larger than what ResizeImage makes")
        about.required("NormalizeImage")
        self._normalization: Normalization = about.normalization()

    def window(self, height: int, width: int) -> Window:
        """Where a picture of this size goes. Raises BadRequest for one that is too long for its height."""
        if self._size:
            resized = self._size
        else:
            ratio = self._short / min(height, width)
            resized = round(width * ratio), round(height * ratio)
        columns, rows = self._crop or resized
        if not self._crop and (columns * rows > _MAX_UNCROPPED_PIXELS or max(resized) > _MAX_SIDE):
            raise BadRequest(f"An image of {width} x {height} pixels is too long for this model")
        left, top = (resized[0] - columns) // 2, (resized[1] - rows) // 2
        return Window(*resized, left, top, columns, rows)

    def fill(self, image: NDArray[np.uint8], plane: NDArray[np.float32], *, linear: bool = False) -> None:
        """Write the input of one picture.

        Args:
            image: uint8 ``[H, W, 3]`` BGR; may be read-only.
            plane: float32 ``[3, rows, columns]`` of its :meth:`window`.
            linear: resize as the 2024 generation does, whatever ``inference.yml`` says.
        """
        image = self._middle(image)
        to = self.window(*image.shape[:2])
        resampling = LINEAR if linear else self._resampling
        if resampling != LINEAR and image.shape[:2] != (to.height, to.width):
            image = _resized(image, to.width, to.height, resampling)
        norm = self._normalization
        resize_normalize_chw(
            image,
            plane,
            to.width,
            to.height,
            norm.scale,
            norm.shift,
            reverse=True,
            left=to.left,
            top=to.top,
        )

    def _middle(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A strip whose resized picture would be too long is cut to its middle: the crop sees no more."""
        if not (self._short and self._crop):
            return image
        height, width = image.shape[:2]
        most = _MAX_SIDE // self._short * min(height, width)
        if max(height, width) <= most:
            return image
        top, left = max(0, height - most) // 2, max(0, width - most) // 2
        return image[top : top + most, left : left + most]


def _resized(image: NDArray[np.uint8], width: int, height: int, by: Resampling) -> NDArray[np.uint8]:
    if by.backend == "cv2":
        return np.asarray(cv2.resize(image, (width, height), interpolation=_OPENCV[by.name]), dtype=np.uint8)
    # Pillow takes the channels as red, green, blue; each is resized on its own, so the order is no matter.
    picture = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(picture.resize((width, height), _PILLOW[by.name]))


def _resampling(about: Description, resize: Mapping[str, Any]) -> Resampling:
    backend, name = resize.get("backend") or "cv2", str(resize.get("interpolation") or "LINEAR").upper()
    if backend == "cv2" and name in _OPENCV:
        return Resampling("cv2", name)
    if backend == "pil" and name in _PILLOW:
        return Resampling("pil", name)
    if backend not in {"cv2", "pil"}:
        raise about.error(f"ResizeImage.backend must be cv2 or pil, not {backend!r}")
    known = ", ".join(_OPENCV if backend == "cv2" else _PILLOW)
    raise about.error(f"ResizeImage.interpolation of backend {backend} must be one of {known}, not {name!r}")


def _pair(about: Description, value: Any, what: str) -> tuple[int, int]:
    """Width and height from one number or two."""
    if isinstance(value, int):
        value = [value, value]
    width, height = about.shape(value, 2, what)
    return width, height
