"""The floating-point environment of a thread: rounding, flags, and whether subnormal numbers become zero.

Engines want the last switched on and leave it so; the rest of a process should not notice.
"""

from __future__ import annotations

import ctypes
import functools

#: Larger than any ``fenv_t`` (32 bytes on x86-64, 8 on arm64).
_BYTES = 256


@functools.cache
def _libm() -> ctypes.CDLL:
    return ctypes.CDLL("libm.so.6")


class FloatEnv:
    """A copy of the calling thread's environment."""

    def __init__(self) -> None:
        self._raw = ctypes.create_string_buffer(_BYTES)
        _libm().fegetenv(self._raw)

    def restore(self) -> None:
        """Make the calling thread's environment this one; takes about a microsecond."""
        _libm().fesetenv(self._raw)
