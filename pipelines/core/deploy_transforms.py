"""``Deploy.transforms`` of an ``inference.yml``: from pixels to the tensor (API reference, 7.1, 9.2, 9.3).

The family is PaddleSeg's: semantic segmentation and image anomaly detection.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from functools import cache
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from kernels.resize import resize_normalize_chw

from .errors import BadRequest
from .inference_yml import Description, Normalization

#: ``interp`` of a Resize to OpenCV's codes.
_WORDS = {
    "NEAREST": cv2.INTER_NEAREST,
    "LINEAR": cv2.INTER_LINEAR,
    "BICUBIC": cv2.INTER_CUBIC,
    "AREA": cv2.INTER_AREA,
    "LANCZOS4": cv2.INTER_LANCZOS4,
}
#: Longest side of a network input, and what the resize kernel takes, pixels.
MAX_SIDE = 32767
#: Largest network input, pixels. A 12-megapixel photo fits at its own size; segmentation networks need
#: one to several hundred bytes per pixel for their activations.
MAX_INPUT_PIXELS = 1 << 24
#: Network inputs above it are not batched, pixels.
_LARGE_INPUT_PIXELS = 1 << 20
#: What each entry may hold besides ``type``.
_KEYS: dict[str, tuple[str, ...]] = {
    "Resize": ("target_size", "keep_ratio", "size_divisor", "interp"),
    "Normalize": ("mean", "std"),
    "Map_to_mask": ("mask_map",),
}
#: ``target_size`` for the picture's own size.
_OWN_SIZE = -1


#: One side of a square, or (width, height); -1 for the picture's own size. Without bounds, because msgspec
#: 0.22 crashes on a union of a bounded number and a tuple; :meth:`SizeRule.to` has them.
TargetSize = int | tuple[int, int]


class SizeRule(msgspec.Struct, frozen=True):
    """Which size a picture has in the network.

    Attributes:
        target: (width, height), or None: the picture's own size, whatever the rest says.
        keep_ratio: fit the picture into the target instead of stretching it.
        size_divisor: then round both sides up to a multiple of it; 0 for none.
        interpolation: OpenCV's code.
    """

    target: tuple[int, int] | None = None
    keep_ratio: bool = True
    size_divisor: int = 32
    interpolation: int = cv2.INTER_LINEAR

    def to(self, target: TargetSize | None) -> SizeRule:
        """The rule with another target and its own flags; None changes nothing. Raises BadRequest."""
        if target is None:
            return self
        width, height = (target, target) if isinstance(target, int) else target
        if width == height == _OWN_SIZE:
            return msgspec.structs.replace(self, target=None)
        if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
            raise BadRequest(f"`targetSize` must be 1 to {MAX_SIDE}, or -1 for the image's own size")
        return msgspec.structs.replace(self, target=(width, height))

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) in the network of a picture of ``height`` x ``width`` pixels."""
        if self.target is None:
            return height, width
        wide, high = self.target
        if self.keep_ratio:
            scale = min(max(self.target) / max(height, width), min(self.target) / min(height, width))
            wide, high = max(1, round(width * scale)), max(1, round(height * scale))
        if self.size_divisor:
            wide, high = (math.ceil(side / self.size_divisor) * self.size_divisor for side in (wide, high))
        return high, wide

    def checked_size(self, height: int, width: int) -> tuple[int, int]:
        """As :meth:`size`. Raises BadRequest for a size that would take too much memory."""
        rows, columns = self.size(height, width)
        if rows * columns > MAX_INPUT_PIXELS or max(rows, columns) > MAX_SIDE:
            raise BadRequest(
                f"The network would get {columns} x {rows} pixels; at most {MAX_INPUT_PIXELS} pixels and "
                f"{MAX_SIDE} per side are allowed, a smaller size can be asked for"
            )
        return rows, columns


def batch_key(rows: int, columns: int, image: NDArray[np.uint8]) -> Hashable:
    """What may run together: inputs of one size, large ones alone, for memory's sake."""
    return (rows, columns) if rows * columns <= _LARGE_INPUT_PIXELS else (rows, columns, id(image))


def check_fixed(shape: Sequence[int], rows: int, columns: int) -> None:
    """Raise BadRequest when a network's input ``[N, 3, H, W]`` (-1: any) is not of this size."""
    wanted = tuple(shape[-2:])
    if any(size not in (-1, given) for size, given in zip(wanted, (rows, columns), strict=True)):
        raise BadRequest(
            f"This model takes pictures of {wanted[1]} x {wanted[0]} pixels, not of {columns} x {rows}"
        )


class DeployTransforms:
    """What a model's ``Deploy.transforms`` do. 3.x fixes their order: Resize, Normalize, to planes.

    Args:
        about: the model's ``inference.yml``.
        absent: the rule when there is no Resize; its flags are those that a Resize leaves out. None
            when there must be one, which then stretches.
        extra: entries besides Resize and Normalize that are known and say nothing.

    Raises:
        ConfigError: an entry or argument that is not known or missing; names it.
    """

    def __init__(self, about: Description, absent: SizeRule | None, extra: Sequence[str] = ()) -> None:
        self._about = about
        entries = {
            name: self._checked(name, entry) for name, entry in self._listed(("Resize", "Normalize", *extra))
        }
        for name in ("Normalize",) if absent else ("Resize", "Normalize"):
            if name not in entries:
                raise about.error(f"Deploy.transforms has no {name}")
        self._norm = self._normalization(entries["Normalize"])
        #: the model's own size rule
        self.size_rule = absent or SizeRule(keep_ratio=False, size_divisor=0)
        if "Resize" in entries:
            self.size_rule = self._resize(entries["Resize"], self.size_rule, optional=absent is not None)

    def fill(
        self, image: NDArray[np.uint8], height: int, width: int, interpolation: int, out: NDArray[np.float32]
    ) -> None:
        """Write a picture into its place in a batch.

        Args:
            image: uint8 ``[H, W, 3]`` BGR, may be read-only.
            height: rows of ``out``.
            width: columns of ``out``.
            interpolation: OpenCV's code.
            out: float32 ``[3, height, width]``, RGB.
        """
        if image.shape[:2] != (height, width) and (
            interpolation != cv2.INTER_LINEAR or max(image.shape[:2]) > MAX_SIDE
        ):
            image = np.asarray(cv2.resize(image, (width, height), interpolation=interpolation), np.uint8)
        norm = self._norm
        resize_normalize_chw(image, out, width, height, norm.scale, norm.shift, reverse=True)

    # --- reading the list

    def _listed(self, known: Sequence[str]) -> list[tuple[str, Mapping[str, Any]]]:
        deploy = self._about.top("Deploy")
        entries = deploy.get("transforms") if isinstance(deploy, Mapping) else None
        if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
            raise self._about.error("Deploy.transforms must be a list of operations")
        found = [(str(entry.get("type")), entry) for entry in entries]
        for name, _ in found:
            if name not in known:
                raise self._about.error(
                    f"Deploy.transforms.{name} is not supported; known: {', '.join(known)}"
                )
        return found

    def _checked(self, name: str, entry: Mapping[str, Any]) -> Mapping[str, Any]:
        for key in entry:
            if key != "type" and key not in _KEYS[name]:
                raise self._about.error(f"Deploy.transforms.{name}.{key} is not supported")
        return entry

    def _normalization(self, entry: Mapping[str, Any]) -> Normalization:
        """Mean and std are 0.5 when they are left out, and one number counts for all channels."""
        values = [entry.get(key, 0.5) for key in ("mean", "std")]
        mean, std = ([value] * 3 if isinstance(value, (int, float)) else value for value in values)
        return self._about.constants(1.0 / 255.0, mean, std, "Deploy.transforms.Normalize")

    def _resize(self, entry: Mapping[str, Any], absent: SizeRule, *, optional: bool) -> SizeRule:
        word = str(entry.get("interp", "LINEAR")).upper()
        if word not in _WORDS:
            raise self._about.error(f"Deploy.transforms.Resize.interp must be one of {', '.join(_WORDS)}")
        divisor = entry.get("size_divisor", absent.size_divisor) or 0
        if not isinstance(divisor, int) or not 0 <= divisor <= MAX_SIDE:
            raise self._about.error(f"Deploy.transforms.Resize.size_divisor must be 0 to {MAX_SIDE}")
        return SizeRule(
            self._target(entry.get("target_size", _OWN_SIZE if optional else None), optional),
            bool(entry.get("keep_ratio", absent.keep_ratio)),
            divisor,
            _WORDS[word],
        )

    def _target(self, value: Any, optional: bool) -> tuple[int, int] | None:
        if optional and value in (_OWN_SIZE, [_OWN_SIZE, _OWN_SIZE]):
            return None
        what = "Deploy.transforms.Resize.target_size"
        size = [value, value] if isinstance(value, int) else value
        width, height = self._about.shape(size, 2, what)
        if width * height > MAX_INPUT_PIXELS or max(width, height) > MAX_SIDE:
            raise self._about.error(f"{what} must be at most {MAX_SIDE} a side and {MAX_INPUT_PIXELS} pixels")
        return width, height


@cache
def segmentation_input(directory: str) -> DeployTransforms:
    """Of the semantic segmentation model in a folder; without a Resize pictures keep their size.

    Raises ConfigError.
    """
    return DeployTransforms(Description(directory), SizeRule())


@cache
def anomaly_input(directory: str) -> DeployTransforms:
    """Of the anomaly detection model in a folder. Raises ConfigError."""
    return DeployTransforms(Description(directory), None, extra=("Map_to_mask",))
