"""Saving and restoring the thread's floating-point environment."""

import ctypes
import platform

import numpy as np
import pytest

from pipelines.core.float_env import FloatEnv

TOWARD_ZERO = {"x86_64": 0xC00, "aarch64": 0xC00000}


@pytest.mark.skipif(platform.machine() not in TOWARD_ZERO, reason="fenv.h's constants are not known here")
def test_restore_brings_back_what_was():
    libm = ctypes.CDLL("libm.so.6")
    before, mode = FloatEnv(), libm.fegetround()
    try:
        assert libm.fesetround(TOWARD_ZERO[platform.machine()]) == 0
        inside = FloatEnv()
        before.restore()
        assert libm.fegetround() == mode
        inside.restore()
        assert libm.fegetround() == TOWARD_ZERO[platform.machine()]
    finally:
        before.restore()
    assert libm.fegetround() == mode
    assert np.float32(1e-45) * np.float32(1) != 0
