"""The ``Preprocess`` list of a detector's ``inference.yml``: pixels to tensors (API reference, 7.1, 9.2).

The family is PaddleDetection's: object, small-object and layout detection, instance segmentation.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from kernels.resize import resize_normalize_chw

from .errors import BadRequest, EngineError
from .inference_yml import IMAGENET_MEAN, IMAGENET_STD, Description, Normalization

#: ``interp`` of a Resize: PaddleDetection's codes (which are OpenCV's) and PaddleX's words for them.
_CODES = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA, cv2.INTER_LANCZOS4)
_WORDS = ("NEAREST", "LINEAR", "BICUBIC", "AREA", "LANCZOS4")
#: Longest side that the resize kernel takes, pixels.
_KERNEL_SIDE = 32767
#: Longest side of a picture that is not resized: a network's input, and OpenCV's warp has 16 bits.
_LONGEST = 32000
#: Largest side of a network's input that is plausible, pixels.
MAX_INPUT_SIDE = 16384
#: Without NormalizeImage the network gets 0 to 255: its exporter has put the rest into the graph.
_RAW = Normalization((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
#: What each entry may hold besides ``type``.
_KEYS: dict[str, tuple[str, ...]] = {
    "Resize": ("target_size", "keep_ratio", "interp"),
    "WarpAffine": ("input_h", "input_w", "keep_res"),
    "Pad": ("size", "fill_value"),
    "NormalizeImage": ("mean", "std", "is_scale", "norm_type"),
    "Permute": (),
    "PadStride": ("stride",),
}
#: Where an entry stands; Pad may also come after NormalizeImage.
_ORDER = {"Resize": 0, "WarpAffine": 0, "Pad": 1, "NormalizeImage": 2, "Permute": 3, "PadStride": 4}


class Fitted(msgspec.Struct, frozen=True):
    """How one picture lies in the network's tensor.

    Attributes:
        rows, columns: of the tensor; what may be run together has them equal.
        height, width: of the resized picture at its top left.
        scale_factor: (down, across), tensor pixels per source pixel.
        im_shape: (height, width) before padding. CenterNet's warp changes neither of the two (as in PaddleX).
    """

    rows: int
    columns: int
    height: int
    width: int
    scale_factor: tuple[float, float]
    im_shape: tuple[int, int]


def feeds_of(
    names: Sequence[str], tensor: NDArray[np.float32], pictures: Sequence[Fitted]
) -> dict[str, NDArray[np.float32]]:
    """What a network with inputs of these names gets.

    Two are the tensor and the scale factors, three have the picture's size in front; in the alphabetical
    order of the names, whatever these are (API reference, 7.2). Raises EngineError for any other number.
    """
    scale_factor = np.array([fitted.scale_factor for fitted in pictures], np.float32)
    im_shape = np.array([fitted.im_shape for fitted in pictures], np.float32)
    by_count = {1: [tensor], 2: [tensor, scale_factor], 3: [im_shape, tensor, scale_factor]}
    if len(names) not in by_count:
        raise EngineError(f"the model has {len(names)} inputs, a detector has one to three")
    return dict(zip(sorted(names), by_count[len(names)], strict=True))


class Resize(msgspec.Struct, frozen=True):
    """``Resize``: (height, width) of the target; ``keep_ratio`` fits both sides into it."""

    target: tuple[int, int]
    keep_ratio: bool
    interpolation: int

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) that a picture gets."""
        if not self.keep_ratio:
            return self.target
        scale = min(max(self.target) / max(height, width), min(self.target) / min(height, width))
        return max(1, round(height * scale)), max(1, round(width * scale))


class WarpAffine(msgspec.Struct, frozen=True):
    """``WarpAffine`` of CenterNet: to a fixed (height, width) or, with ``keep_res``, to the next 32s."""

    target: tuple[int, int]
    keep_res: bool

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) that a picture gets."""
        return ((height | 31) + 1, (width | 31) + 1) if self.keep_res else self.target

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The warped picture: the source's middle on the target's, its longest side as wide as the target."""
        source_height, source_width = image.shape[:2]
        height, width = self.size(source_height, source_width)
        if self.keep_res:
            x, y, span = source_width // 2, source_height // 2, width
        else:
            x, y, span = source_width / 2, source_height / 2, max(source_height, source_width)
        matrix = cv2.getAffineTransform(_corner(x, y, span), _corner(width / 2, height / 2, width))
        return np.asarray(cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR), np.uint8)


def _corner(x: float, y: float, span: float) -> NDArray[np.float32]:
    """Three points that fix a shift and a scale: a middle, half a span above it, half a span left of that."""
    return np.array([[x, y], [x, y - span / 2], [x - span / 2, y - span / 2]], np.float32)


class DetectionInput:
    """What a detector's ``Preprocess`` list does.

    Args:
        about: the model's ``inference.yml``.
        img_size: replaces the model's Resize: (height, width), not keeping the ratio, cubic.

    Raises:
        ConfigError: an entry, an argument or an order that is not known; names it.
    """

    def __init__(self, about: Description, img_size: tuple[int, int] | None = None) -> None:
        self._about = about
        self._geometry: Resize | WarpAffine | None = None
        self._norm = _RAW
        self._pad: tuple[int, int] | None = None
        self._fill = (0.0, 0.0, 0.0)
        self._stride = 0
        seen = [self._entry(entry) for entry in self._listed()]
        if "Permute" not in seen:
            raise about.error("Preprocess has no Permute")
        if img_size is not None:
            self._geometry = Resize(img_size, keep_ratio=False, interpolation=cv2.INTER_CUBIC)
        self._check_pad()

    def fitted(self, height: int, width: int) -> Fitted:
        """Sizes for a picture of ``height`` x ``width`` pixels. Raises BadRequest when it is too long."""
        if not isinstance(self._geometry, Resize) and max(height, width) > _LONGEST:
            raise BadRequest(f"The image has a side of more than {_LONGEST} pixels")
        h, w = self._geometry.size(height, width) if self._geometry else (height, width)
        rows, columns = self._pad or (h, w)
        if self._stride:
            rows, columns = (math.ceil(side / self._stride) * self._stride for side in (rows, columns))
        if isinstance(self._geometry, Resize):
            return Fitted(rows, columns, h, w, (h / height, w / width), (h, w))
        return Fitted(rows, columns, h, w, (1.0, 1.0), (height, width))

    def fill(self, image: NDArray[np.uint8], fitted: Fitted, out: NDArray[np.float32]) -> None:
        """Write a picture into its place in a batch.

        Args:
            image: uint8 ``[H, W, 3]`` BGR, may be read-only.
            fitted: its sizes, from :meth:`fitted`.
            out: float32 ``[3, rows, columns]``, C-contiguous rows.
        """
        height, width = fitted.height, fitted.width
        # PaddleX's WarpAffine gives BGR, everything else RGB.
        picture, reverse = self._resized(image, height, width), not isinstance(self._geometry, WarpAffine)
        inner = out[:, :height, :width]
        norm = self._norm
        resize_normalize_chw(picture, inner, width, height, norm.scale, norm.shift, reverse=reverse)
        if (fitted.rows, fitted.columns) == (height, width):
            return
        padded_rows, padded_columns = self._pad or (height, width)
        for plane, value in zip(out, self._fill, strict=True):
            plane[height:padded_rows, :padded_columns] = value
            plane[:height, width:padded_columns] = value
            plane[padded_rows:] = 0.0
            plane[:padded_rows, padded_columns:] = 0.0

    def _resized(self, image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
        """The picture at its size, or as it is where the kernel resizes it on the way."""
        if isinstance(self._geometry, WarpAffine):
            return self._geometry.apply(image)
        if self._geometry is None or image.shape[:2] == (height, width):
            return image
        interpolation = self._geometry.interpolation
        if interpolation == cv2.INTER_LINEAR and max(image.shape[:2]) <= _KERNEL_SIDE:
            return image
        # Cubic is IPP's here, in AVX-512: faster than any body of our own, and the bits that PaddleX gets.
        return np.asarray(cv2.resize(image, (width, height), interpolation=interpolation), np.uint8)

    # --- reading the list

    def _listed(self) -> Sequence[Mapping[str, Any]]:
        entries = self._about.top("Preprocess")
        if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
            raise self._about.error("Preprocess must be a list of operations")
        names = [str(entry.get("type")) for entry in entries]
        for name, entry in zip(names, entries, strict=True):
            if name not in _KEYS:
                raise self._about.error(f"Preprocess.{name} is not supported; known: {', '.join(_KEYS)}")
            for key in entry:
                if key != "type" and key not in _KEYS[name]:
                    raise self._about.error(f"Preprocess.{name}.{key} is not supported")
        places = [_ORDER[name] for name in names if name != "Pad"]
        pads = [index for index, name in enumerate(names) if name == "Pad"]
        late = pads and ("Permute" in names[: pads[0]] or not pads[0] or len(pads) > 1)
        if late or any(first >= second for first, second in itertools.pairwise(places)):
            raise self._about.error(f"Preprocess in the order {', '.join(names)} is not supported")
        return entries

    def _entry(self, entry: Mapping[str, Any]) -> str:
        name = str(entry["type"])
        if name == "Resize":
            self._geometry = self._read_resize(entry)
        elif name == "WarpAffine":
            sides = [entry.get("input_h", 512), entry.get("input_w", 512)]
            target = self._size(sides, "WarpAffine.input_h and input_w")
            self._geometry = WarpAffine(target, bool(entry.get("keep_res", True)))
        elif name == "NormalizeImage":
            self._norm = self._read_norm(entry)
            self._fill = self._normalized(self._fill)
        elif name == "Pad":
            self._pad = self._size(entry.get("size"), "Pad.size")
            fill = entry.get("fill_value")
            self._fill = self._about.triple((127.5, 127.5, 127.5) if fill is None else fill, "Pad.fill_value")
        elif name == "PadStride":
            self._stride = int(self._about.number(entry.get("stride", 32)))
            if not 0 <= self._stride <= MAX_INPUT_SIDE:
                raise self._about.error(f"Preprocess.PadStride.stride must be 0 to {MAX_INPUT_SIDE}")
        return name

    def _read_resize(self, entry: Mapping[str, Any]) -> Resize:
        interp = entry.get("interp", 2)
        known: dict[object, int] = dict(zip((*range(5), *_WORDS), 2 * _CODES, strict=True))
        code = known.get(interp.upper() if isinstance(interp, str) else interp)
        if code is None:
            raise self._about.error(f"Preprocess.Resize.interp {interp!r} is not supported; known: 0 to 4")
        target = self._size(entry.get("target_size"), "Resize.target_size")
        return Resize(target, bool(entry.get("keep_ratio", False)), code)

    def _read_norm(self, entry: Mapping[str, Any]) -> Normalization:
        kind = entry.get("norm_type") or "none"
        if kind not in ("none", "mean_std"):
            raise self._about.error(f"Preprocess.NormalizeImage.norm_type {kind!r} is not supported")
        factor = 1.0 / 255.0 if entry.get("is_scale", True) else 1.0
        mean, std = entry.get("mean", IMAGENET_MEAN), entry.get("std", IMAGENET_STD)
        return self._about.constants(factor, mean, std)

    def _normalized(self, values: tuple[float, float, float]) -> tuple[float, float, float]:
        """Values of a Pad that stands in front of NormalizeImage, in float32 as everything there."""
        value, scale, shift = np.array([values, self._norm.scale, self._norm.shift], np.float32)
        first, second, third = (value * scale + shift).tolist()
        return first, second, third

    def _size(self, value: Any, what: str) -> tuple[int, int]:
        height, width = self._about.shape(value, 2, f"Preprocess.{what}")
        if max(height, width) > MAX_INPUT_SIDE:
            raise self._about.error(f"Preprocess.{what} must be at most {MAX_INPUT_SIDE}")
        return height, width

    def _check_pad(self) -> None:
        """The canvas of a Pad must hold whatever comes to it."""
        if self._pad is None:
            return
        fits = False
        if isinstance(self._geometry, Resize):
            height, width = self._geometry.target
            if self._geometry.keep_ratio:  # then the long side lies as the picture's does
                height = width = max(height, width)
            fits = height <= self._pad[0] and width <= self._pad[1]
        if not fits:
            raise self._about.error("Preprocess.Pad.size is smaller than what Resize gives")
