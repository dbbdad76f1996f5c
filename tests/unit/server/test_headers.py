import io
import struct
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipelines.core.errors import BadRequest
from server.headers import _BLOCK_BYTES, _count_scans, exif_orientation, read_header

SIZE = (61, 43)


def encoded(kind, size=SIZE, mode="RGB", **options):
    file = io.BytesIO()
    Image.new(mode, size, 128).save(file, kind, **options)
    return file.getvalue()


SAMPLES = {
    "jpeg": encoded("JPEG"),
    "progressive": encoded("JPEG", progressive=True),
    "cmyk": encoded("JPEG", mode="CMYK"),
    "icc": encoded("JPEG", icc_profile=bytes(200_000)),
    "png": encoded("PNG"),
    "webp": encoded("WEBP"),
    "webp-lossless": encoded("WEBP", lossless=True),
    "webp-extended": encoded("WEBP", mode="RGBA", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0"),
    "bmp": encoded("BMP"),
    "gif": encoded("GIF", mode="P"),
    "tiff": encoded("TIFF"),
    "tiff-lzw": encoded("TIFF", compression="tiff_lzw"),
    "tiff-big": encoded("TIFF", big_tiff=True),
    "jpeg2000": encoded("JPEG2000"),
    "pnm": encoded("PPM"),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_size_without_decoding(name):
    header = read_header(SAMPLES[name])
    assert (header.width, header.height) == SIZE


def test_kinds():
    assert read_header(SAMPLES["progressive"]).progressive
    assert not read_header(SAMPLES["jpeg"]).progressive
    kinds = {read_header(data).kind for data in SAMPLES.values()}
    assert kinds == {"jpeg", "png", "webp", "bmp", "gif", "tiff", "other"}


@pytest.mark.parametrize("orientation", range(10))
def test_jpeg_orientation(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = read_header(encoded("JPEG", exif=exif)).orientation
    assert found == (orientation if 1 <= orientation <= 8 else 1)


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_in_both_byte_orders(order):
    mark = b"II*\0" if order == "<" else b"MM\0*"
    block = mark + struct.pack(order + "IHHHIHH", 8, 1, 0x0112, 3, 1, 6, 0)
    assert exif_orientation(block) == 6
    assert exif_orientation(block[:-4]) == 1
    assert exif_orientation(mark + struct.pack(order + "I", 2**32 - 1)) == 1


def test_a_tiff_of_several_frames_shows():
    frames = [Image.new("L", (10 + i, 20 + i)) for i in range(5)]
    file = io.BytesIO()
    frames[0].save(file, "TIFF", save_all=True, append_images=frames[1:])
    assert read_header(file.getvalue()).sizes == ((10, 20), (11, 21))
    assert len(read_header(SAMPLES["tiff"]).sizes) == 1


def test_a_tiff_whose_directories_loop_ends():
    directory = struct.pack("<HHHIIHHIII", 2, 256, 4, 1, 7, 257, 4, 1, 9, 8)
    header = read_header(b"II*\0" + struct.pack("<I", 8) + directory)
    assert header.sizes == ((7, 9),)


def test_bmp_from_the_top_and_of_os2():
    info = struct.pack("<IiiHH", 40, 7, -9, 1, 24)
    assert read_header(b"BM" + bytes(12) + info)[1:3] == (7, 9)
    assert read_header(b"BM" + bytes(12) + struct.pack("<IHH", 12, 7, 9))[1:3] == (7, 9)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\0", id="zero-byte"),
        pytest.param(b"hello world, this is text", id="text"),
        pytest.param(b"%PDF-1.7", id="pdf"),
        pytest.param(b"\xff\xd8", id="jpeg-start-only"),
        pytest.param(b"\xff\xd8" + b"\xff\xe0\x00\x02" * 10_000, id="jpeg-of-segments"),
        pytest.param(b"\xff\xd8" + b"\xff" * 1_000_000, id="jpeg-of-fill"),
        pytest.param(b"\xff\xd8" + b"\xff\x00" * 100_000, id="jpeg-of-stuffing"),
        pytest.param(b"\x89PNG\r\n\x1a\n", id="png-signature-only"),
        pytest.param(SAMPLES["png"][:16] + bytes(8) + SAMPLES["png"][24:], id="png-0x0"),
        pytest.param(b"RIFF....WAVE", id="riff-but-no-webp"),
        pytest.param(b"RIFF\0\0\0\0WEBP", id="webp-cut"),
        pytest.param(b"BM", id="bmp-cut"),
        pytest.param(b"GIF89a", id="gif-cut"),
        pytest.param(b"II*\0", id="tiff-cut"),
        pytest.param(b"II*\0\0\0\0\0", id="tiff-without-directory"),
        pytest.param(b"II*\0\xff\xff\xff\xff", id="tiff-directory-outside"),
        pytest.param(b"II*\0\x08\0\0\0\0\0\0\0\0\0", id="tiff-without-size"),
        pytest.param(b"P6\n99999999999999999999 5\n255\n", id="pnm-with-an-absurd-size"),
    ],
)
def test_no_image_is_refused(data):
    with pytest.raises(BadRequest, match=r"^Invalid input file"):
        read_header(data)


MIB = 1 << 20


def tiff_of_long_directories(count):
    """``count`` directories of 65,535 entries each, one inside the other."""
    starts = range(8, 8 + 4 * count, 4)
    data = bytearray(8 + 8 * count + 12 * 65_535)
    struct.pack_into("<2sHI", data, 0, b"II", 42, 8)
    for start in starts:
        struct.pack_into("<HH", data, start, 65_535, 1)
        struct.pack_into("<I", data, start + 2 + 12 * 65_535, start + 4)
    return bytes(data)


def scans(count):
    """A progressive JPEG whose last scan comes ``count`` times."""
    data = SAMPLES["progressive"]
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xff\xd8" + b"\xff" * (32 * MIB), id="jpeg-of-fill"),
        pytest.param(b"\xff\xd8" + b"\xff\xe0\x00\x02" * (8 * MIB), id="jpeg-of-segments"),
        pytest.param(b"\xff\xd8" + b"a\xff\x00" * (8 * MIB), id="jpeg-of-garbage"),
        pytest.param(b"P6\n#" + bytes(32 * MIB) + b"\n4 4\n255\n" + bytes(48), id="pnm-comment"),
        pytest.param(SAMPLES["jpeg2000"][:12] + b"\0\0\0\x08free" * (4 * MIB), id="jpeg2000-of-boxes"),
        pytest.param(tiff_of_long_directories(1000), id="tiff-directories"),
        pytest.param(b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**63) + bytes(MIB), id="bigtiff-count"),
        pytest.param(b"II+\0\x08\0\0\0" + struct.pack("<Q", 2**64 - 1), id="bigtiff-offset"),
    ],
)
def test_a_header_costs_no_more_than_its_share(data):
    """Each of these took seconds to minutes of the event loop."""
    read_header(SAMPLES["pnm"])  # Pillow is loaded
    started = time.process_time()
    with pytest.raises(BadRequest, match=r"^Invalid input file"):
        read_header(data)
    assert time.process_time() - started < 0.25


@pytest.mark.parametrize("position", [0, 1, 7])
@pytest.mark.parametrize("offset", [-2, -1, 0, 1])
def test_scans_are_counted_wherever_they_lie(position, offset):
    data = bytearray(3 * _BLOCK_BYTES + 5)
    for block in (1, 2):
        place = position + block * _BLOCK_BYTES + offset
        data[place : place + 2] = b"\xff\xda"
    data[-2:] = b"\xff\xda"
    assert _count_scans(bytes(data), position) == bytes(data).count(b"\xff\xda", position) == 3
    assert _count_scans(b"\xff\xda"[:offset], 0) == b"\xff\xda"[:offset].count(b"\xff\xda")


def test_scans_are_bounded():
    """A pass over all pixels for twenty bytes: 10 KB kept a decoder busy for minutes."""
    assert read_header(scans(100)).progressive
    with pytest.raises(BadRequest, match="more than 128 scans"):
        read_header(scans(200))


def test_fill_bytes_before_a_marker():
    data = SAMPLES["jpeg"]
    assert read_header(data[:2] + b"\xff" * 500 + data[2:])[1:3] == SIZE


@given(
    st.sampled_from(sorted(SAMPLES)),
    st.integers(0, 120),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=4),
)
def test_damaged_headers_are_read_or_refused(name, cut, changes):
    data = bytearray(SAMPLES[name][: len(SAMPLES[name]) - cut] if cut < 60 else SAMPLES[name][:cut])
    for place, value in changes:
        if place < len(data):
            data[place] = value
    try:
        header = read_header(bytes(data))
    except BadRequest:
        return
    assert header.width > 0
    assert header.height > 0


def test_headers_are_read_without_looking_at_the_pixels():
    """A 20000 x 20000 PNG is recognised from its first 24 bytes."""
    head = SAMPLES["png"][:16] + struct.pack(">II", 20_000, 20_000)
    assert read_header(head)[:3] == ("png", 20_000, 20_000)
    assert np.prod(read_header(head)[1:3]) == 400_000_000
