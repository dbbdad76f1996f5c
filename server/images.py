"""Pixels of an image straight into a slot, equal to ``cv2.imdecode(..., IMREAD_COLOR)``.

JPEG goes through libjpeg-turbo into the slot with no copy; everything else, and every JPEG that
libjpeg-turbo's plain interface does not take (CMYK, odd subsampling), goes through OpenCV and one copy.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
import simplejpeg

from pipelines.core.errors import BadRequest
from server import wire
from server.headers import INVALID, Header
from server.mapped import FileData
from server.wire import Shape

if TYPE_CHECKING:
    from collections.abc import Callable

#: EXIF orientation to what makes the picture upright; 5..8 exchange the sides.
_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: image[::-1].transpose(1, 0, 2),
    7: lambda image: image[::-1, ::-1].transpose(1, 0, 2),
    8: lambda image: image[:, ::-1].transpose(1, 0, 2),
}

#: How libjpeg's warnings begin (jerror.h): the picture is decoded to its end nevertheless.
_WARNINGS = (
    "Premature end of JPEG file", "Corrupt JPEG data", "Inconsistent progression sequence",
    "Invalid SOS parameters", "Unknown Adobe", "Warning: unknown JFIF",
)  # fmt: skip
_TRUNCATED = f"{INVALID}: the image is truncated"


def check_pixels(width: int, height: int, max_pixels: int, page: int | None = None) -> None:
    """Raise BadRequest, in PaddleX's words, for an image or page above ``max_pixels``."""
    if width * height > max_pixels:
        where = "" if page is None else f"Page {page}: "
        raise BadRequest(
            f"{where}Image pixel count {width * height} (width={width}, height={height}) "
            f"exceeds maximum allowed {max_pixels}."
        )


def shape_of(header: Header) -> Shape:
    """Shape that the slot is taken for: the stored size; turning it upright keeps the byte count."""
    return Shape(height=header.height, width=header.width)


def working_bytes(header: Header) -> int:
    """Memory that decoding takes beside the slot, at most: a whole second picture, or coefficients."""
    pixels = header.width * header.height
    if header.kind == "pixels":
        return 0
    if header.kind != "jpeg":
        return 3 * pixels
    if header.progressive:
        return 6 * pixels  # two bytes per coefficient of three components
    return 3 * pixels if header.orientation > 1 else 0


def decode_into(
    view: memoryview, data: FileData, header: Header, truncated: Literal["reject", "accept"]
) -> Shape:
    """Decode ``data`` to uint8 BGR behind the request record of the slot ``view``.

    EXIF orientation is applied, alpha dropped, grey replicated, 16 bit reduced. Runs without the GIL
    for its long parts.

    Returns:
        The shape of the upright picture; its byte count is that of :func:`shape_of`.

    Raises:
        BadRequest: the data is damaged, truncated (with ``reject``), or not as large as it claims.
    """
    if header.kind == "jpeg":
        jpeg = _decode_jpeg(view, data, header, truncated)
        if jpeg is not None:
            return jpeg
    if header.kind == "pixels":
        image = np.frombuffer(data, np.uint8).reshape(header.height, header.width, 3)
    else:
        image = _decode_gif(data) if header.kind == "gif" else _decode_any(data)
    if image.shape[0] * image.shape[1] != header.width * header.height:
        raise BadRequest(f"{INVALID}: the image is not of the size that its header claims")
    shape = Shape(height=image.shape[0], width=image.shape[1])
    np.copyto(wire.pixels(view, shape), image)
    return shape


def _decode_jpeg(
    view: memoryview, data: FileData, header: Header, truncated: Literal["reject", "accept"]
) -> Shape | None:
    """Through libjpeg-turbo; None when OpenCV has to do it."""
    shape = shape_of(header)
    turned = _UPRIGHT.get(header.orientation)
    target = (
        wire.pixels(view, shape) if turned is None else np.empty((shape.height, shape.width, 3), np.uint8)
    )
    try:
        image = _libjpeg(data, target, truncated)
    except ValueError:
        _check_complete(data)
        return None
    if image.shape != target.shape:
        raise BadRequest(f"{INVALID}: the image is not of the size that its header claims")
    if turned is None:
        return shape
    upright = turned(target)
    shape = Shape(height=upright.shape[0], width=upright.shape[1])
    np.copyto(wire.pixels(view, shape), upright)
    return shape


def _libjpeg(data: FileData, target: np.ndarray, truncated: Literal["reject", "accept"]) -> np.ndarray:
    """Decode into ``target``. Raises ValueError when libjpeg-turbo's plain interface cannot."""
    image: np.ndarray
    try:
        image = simplejpeg.decode_jpeg(data, colorspace="BGR", buffer=target, strict=True)
    except ValueError as fault:
        # After a warning an error counts as one, although nothing has been decoded: its words tell.
        if not str(fault).startswith(_WARNINGS):
            raise
        # libjpeg's words for data that ended early. Its other warnings are harmless, OpenCV ignores them too.
        if "Premature end of JPEG file" in str(fault) and truncated == "reject":
            raise BadRequest(f"{_TRUNCATED}; --truncated_images accept reads what is there") from None
        image = simplejpeg.decode_jpeg(data, colorspace="BGR", buffer=target, strict=False)
    return image


def _check_complete(data: FileData) -> None:
    """Raise BadRequest for a JPEG that ends early: OpenCV would leave what is missing uninitialised."""
    from PIL import Image  # noqa: PLC0415 - rarely needed, slow to import

    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            image.load()
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
        raise BadRequest(f"{INVALID}: the image is damaged or truncated") from None


def _decode_any(data: FileData) -> np.ndarray:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # OpenCV's own limits on width, height and pixels
        image = None
    if image is None:
        raise BadRequest(f"{INVALID}: the image is damaged, truncated or of an unknown format")
    return image


def _decode_gif(data: FileData) -> np.ndarray:
    """First frame; OpenCV 4.10 has no GIF decoder."""
    from PIL import Image  # noqa: PLC0415 - rarely needed, slow to import

    try:
        with Image.open(io.BytesIO(data), formats=("GIF",)) as image:
            return np.asarray(image.convert("RGB"))[:, :, ::-1]
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
        raise BadRequest(f"{INVALID}: the GIF is damaged or truncated") from None
