"""What a request may change about text detection, and the size a page gets for it (API reference, 9.5)."""

from __future__ import annotations

import msgspec

#: The network halves its input five times.
_STRIDE = 32
#: A ``limit_type`` for models of the 2024 generation that find the text of seals: like ``resize_long``, but
#: sides are rounded up, to multiples of the second number. No request and no YAML names it.
SEAL_2024, _SEAL_STRIDE = "seal_2024", 128


class DetectionParams(msgspec.Struct, frozen=True, array_like=True):
    """What a request may change. A value of 0 or "" stands for the model's own.

    Attributes:
        limit_side_len: pixels; ``limit_type``: ``min``, ``max``, ``resize_long`` or SEAL_2024.
        max_side_limit: longest side after that, pixels.
        thresh: probability above which a pixel is text.
        box_thresh: mean probability below which a box is dropped.
        unclip_ratio: how far a box grows.
    """

    limit_side_len: int = 0
    limit_type: str = ""
    max_side_limit: int = 4000
    thresh: float = 0.0
    box_thresh: float = 0.0
    unclip_ratio: float = 0.0


def padded_size(height: int, width: int) -> tuple[int, int]:
    """A tiny page (sides that sum to less than 64 px) is filled up to 32 x 32."""
    if height + width < 64:
        return max(height, _STRIDE), max(width, _STRIDE)
    return height, width


def input_size(height: int, width: int, params: DetectionParams) -> tuple[int, int]:
    """Height and width that a page has in the network: limited, then rounded to multiples of 32.

    Truncation comes before the rounding, which is half to even but for SEAL_2024.
    """
    height, width = padded_size(height, width)
    longest, shortest, limit = max(height, width), min(height, width), params.limit_side_len
    ratio = 1.0
    if params.limit_type in {"resize_long", SEAL_2024} or (params.limit_type == "max" and longest > limit):
        ratio = limit / longest
    elif params.limit_type == "min" and shortest < limit:
        ratio = limit / shortest
    height, width = int(height * ratio), int(width * ratio)
    if max(height, width) > params.max_side_limit:
        ratio = params.max_side_limit / max(height, width)
        height, width = int(height * ratio), int(width * ratio)
    if params.limit_type == SEAL_2024:
        return _rounded_up(height), _rounded_up(width)
    return _rounded(height), _rounded(width)


def _rounded(side: int) -> int:
    return max(_STRIDE, round(side / _STRIDE) * _STRIDE)


def _rounded_up(side: int) -> int:
    return max(1, -(-side // _SEAL_STRIDE)) * _SEAL_STRIDE
