import contextlib

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from kernels.masks import decode_mask, encode_mask
from tests.reference import masks as twin


def disc(height, width, radius):
    y, x = np.ogrid[:height, :width]
    return (y - height // 2) ** 2 + (x - width // 2) ** 2 <= radius**2


def stripes(height, width, period):
    return np.broadcast_to((np.arange(height) // period % 2)[:, np.newaxis], (height, width))


def board(height, width):
    return np.add.outer(np.arange(height), np.arange(width)) % 2


def blobs(height, width, seed, density):
    """Noise that is smooth over a few pixels, and plain noise for every third seed."""
    random = np.random.default_rng(seed)
    if seed % 3 == 0:
        return random.random((height, width)) < density
    small = random.random((height // 5 + 1, width // 5 + 1)) < density
    return small.repeat(5, axis=0).repeat(5, axis=1)[:height, :width]


@pytest.mark.parametrize(
    ("mask", "runs"),
    [
        pytest.param([[1, 1, 0], [0, 1, 0]], b"01111", id="the example of the API reference"),
        pytest.param(np.zeros((3, 4)), b"<", id="nothing"),
        pytest.param(np.ones((3, 4)), b"0<", id="everything"),
        pytest.param([[1]], b"01", id="one pixel"),
        pytest.param(np.zeros((0, 5)), b"0", id="no rows"),
        pytest.param(np.zeros((5, 0)), b"0", id="no columns"),
        pytest.param(disc(20, 30, 8), b"f41`06K4M2O0O2O000O20N10001N101N3L5Ja3", id="disc"),
        pytest.param(
            disc(90, 70, 30) & ~disc(90, 70, 11),
            b"_?1b2>F6J6L2M4L4M2N2N2N2N2N2O0O2O0O2N2O00TOnN0Q1MWO0h0N\\O0d0O^O0a00A0>OD0<0D0<OF0:0F0:0F0:0F090I07"
            b"0G0:0F0:0F0:0F0:1D0<0D0<1B0?0_O0b01\\O0d02XO0i03oN0R1l0001N2N101N101N2N2N2N2N2N3L4L3N4J6J:BR:",
            id="ring in two rows and columns of blocks",
        ),
        pytest.param(stripes(600, 3, 100), b"T3T3T3000000000000000", id="equal runs"),
        pytest.param(board(4, 5), b"11110O10O10O10O0", id="chequerboard"),
        pytest.param(disc(40000, 2, 19990), b";[QW1d02E", id="runs of four groups"),
    ],
)
def test_recorded_from_pycocotools(mask, runs):
    """pycocotools 2.0.8: ``mask.encode`` of the mask as uint8 in Fortran order."""
    assert encode_mask(np.asarray(mask, np.uint8)) == runs
    assert twin.encode_mask(mask) == runs


sides = st.integers(1, 200)


@settings(max_examples=200, deadline=None)
@given(height=sides, width=sides, seed=st.integers(0, 999), density=st.floats(0, 1), wide=st.booleans())
def test_equals_numpy_and_comes_back(height, width, seed, density, wide):
    mask = blobs(height, width, seed, density)
    pixels = mask * np.int32(-(seed + 1)) if wide else mask * np.uint8(seed % 255 + 1)
    runs = encode_mask(pixels)
    assert runs == twin.encode_mask(mask)
    assert len(runs) <= height * width + 2
    ours, theirs = np.full((2, width, height), 9, np.uint8)
    decode_mask(runs, ours, 5)
    twin.decode_mask(runs, theirs, 5)
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(ours.T, mask * 5)


def test_a_chequerboard_takes_a_byte_per_pixel():
    assert len(encode_mask(board(301, 401).astype(np.uint8))) == 301 * 401


def test_many_runs_outgrow_the_first_buffer():
    mask = np.random.default_rng(1).integers(0, 2, (500, 500), dtype=np.uint8)
    assert encode_mask(mask) == twin.encode_mask(mask)


def test_a_crop_is_read_in_place():
    masks = np.random.default_rng(2).integers(0, 2, (3, 90, 130), dtype=np.int32)
    masks.flags.writeable = False
    crop = masks[1, 5:80:2, 7:111]
    assert encode_mask(crop) == twin.encode_mask(crop)


@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(np.zeros((4, 4), np.uint8)[:, ::2], id="pixels apart"),
        pytest.param(np.zeros((4, 4), np.uint8).T, id="columns first"),
        pytest.param(np.zeros((4, 4), np.int64), id="64 bits"),
        pytest.param(np.zeros(4, np.uint8), id="one dimension"),
        pytest.param(np.broadcast_to(np.zeros(1, np.uint8), (1, 1 << 30)), id="too many pixels"),
        pytest.param(
            np.ndarray((2, 2), np.int32, np.zeros(32, np.uint8), 0, (9, 4)), id="rows between the words"
        ),
    ],
)
def test_encode_refuses(mask):
    with pytest.raises((ValueError, TypeError), match=r"."):
        encode_mask(mask)


@pytest.mark.parametrize(
    "runs",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b";", id="too few pixels"),
        pytest.param(b"=", id="too many pixels"),
        pytest.param(b"<\x7f", id="no character of the code"),
        pytest.param(b"<\x00", id="null"),
        pytest.param(b"<P", id="a group that should be followed"),
        pytest.param(b"O=", id="a negative run"),
        pytest.param(b"oooooooooooooo0", id="a number without end"),
        pytest.param(b"PPPPPPP0", id="a number of many groups"),
        pytest.param(b"11O", id="ends early"),
    ],
)
def test_decode_refuses(runs):
    with pytest.raises(ValueError, match="run lengths"):
        decode_mask(runs, np.zeros((4, 3), np.uint8))


@settings(max_examples=300, deadline=None)
@given(runs=st.binary(max_size=30), height=st.integers(0, 9), width=st.integers(0, 9))
def test_decode_stays_inside_whatever_the_text(runs, height, width):
    around = np.full((width + 2, max(height, 1)), 7, np.uint8)
    inside = around[1:-1, :height] if height else np.zeros((width, 0), np.uint8)
    with contextlib.suppress(ValueError):
        decode_mask(runs, inside)
    assert (around[0] == 7).all() and (around[-1] == 7).all()


def test_decode_refuses_memory_it_cannot_write():
    frozen = np.zeros((4, 3), np.uint8)
    frozen.flags.writeable = False
    for columns in (frozen, np.zeros((4, 6), np.uint8)[:, ::2], np.zeros((4, 3), np.int8)):
        with pytest.raises(ValueError, match=r"."):
            decode_mask(b"<", columns)
