import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.fingerprint import xxh64
from tests.reference.fingerprint import xxh64 as slow_xxh64


@pytest.mark.parametrize(
    ("data", "wanted"),
    [(b"", 0xEF46DB3751D8E999), (b"a", 0xD24EC4F1A98C6E5B), (b"abc", 0x44BC2CF5AD770999)],
)
def test_published_values(data, wanted):
    assert xxh64(data) == slow_xxh64(data) == wanted


@given(st.binary(max_size=200), st.integers(0, 2**64 - 1))
def test_equals_twin(data, seed):
    assert xxh64(data, seed) == slow_xxh64(data, seed)


@pytest.mark.parametrize("size", [31, 32, 33, 63, 64, 100_003])
def test_every_byte_counts(size):
    data = bytearray(np.random.default_rng(size).integers(0, 256, size, np.uint8).tobytes())
    before = xxh64(data)
    for place in (0, size // 2, size - 1):
        data[place] ^= 1
        assert xxh64(data) != before
        data[place] ^= 1
    assert xxh64(data) == before
    assert xxh64(memoryview(bytes(data))) == before


def test_takes_contiguous_bytes_only():
    with pytest.raises(ValueError, match="contiguous"):
        xxh64(np.zeros(10, np.uint8)[::2])
    with pytest.raises((ValueError, TypeError)):
        xxh64(np.zeros(10, np.int32))
    with pytest.raises(TypeError):
        xxh64("text")
