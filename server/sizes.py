"""How many slots of which size a worker owns. Memory behind them is touched only when used."""

from __future__ import annotations

from server.config import Limits
from server.wire import Shape, slot_bytes

_MIB = 1 << 20

#: (data bytes, slots per worker). A 4 MiB slot holds a 1.3-megapixel image, 16 MiB an A4 page at
#: 144 dpi (2 MB) up to 5.5 megapixels, 64 MiB a 22-megapixel photo. The counts are more than the
#: admission bound ever lets in together: running out of slots must not be what refuses.
_CLASSES = ((1 * _MIB, 128), (4 * _MIB, 128), (16 * _MIB, 64), (64 * _MIB, 24))
#: Slots that fit the largest image the limits allow.
_FULL_SLOTS = 4
#: Kept behind the largest image for its result.
_FULL_RESULT_BYTES = 16 * _MIB


def slot_classes(limits: Limits) -> list[tuple[int, int]]:
    """Size classes for :meth:`kernels.segment.Segment.create`, ascending.

    The last class holds an image of ``limits.max_pixels`` and its result; smaller
    classes that would exceed it are left out.
    """
    full = slot_bytes(Shape(height=1, width=limits.max_pixels), _FULL_RESULT_BYTES)
    full = -(-full // _MIB) * _MIB
    return [(size, count) for size, count in _CLASSES if size < full] + [(full, _FULL_SLOTS)]
