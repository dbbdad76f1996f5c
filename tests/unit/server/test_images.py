"""Decoding into a slot gives what ``cv2.imdecode(..., IMREAD_COLOR)`` gives, pixel for pixel."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from pipelines.core.errors import BadRequest
from server import wire
from server.headers import read_header
from server.images import check_pixels, decode_into, shape_of, working_bytes


def picture(width=61, height=43):
    noise = np.random.default_rng(3).integers(0, 256, (9, 13, 3), np.uint8)
    return Image.fromarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC))


def encoded(kind, mode="RGB", image=None, **options):
    file = io.BytesIO()
    (image or picture()).convert(mode).save(file, kind, **options)
    return file.getvalue()


def decode(data, truncated="reject", before=b"\0"):
    """The picture that ends up in a slot full of ``before``; nothing behind it may be touched."""
    header = read_header(data)
    size = wire.META + shape_of(header).nbytes
    slot = bytearray(before * size) + b"\xa5" * 64
    shape = decode_into(memoryview(slot), data, header, truncated)
    assert shape.nbytes == shape_of(header).nbytes
    assert slot[size:] == b"\xa5" * 64
    return wire.pixels(memoryview(slot), shape).copy()


def opencv(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("size", [(61, 43), (1, 1), (3, 7), (16, 17)])
def test_jpeg(mode, progressive, subsampling, size):
    data = encoded("JPEG", mode, picture(*size), subsampling=subsampling, progressive=progressive, quality=88)
    assert np.array_equal(decode(data), opencv(data))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(kind, exif=exif)
    assert np.array_equal(decode(data), opencv(data))


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *(("PNG", mode) for mode in ("L", "1", "LA", "RGBA", "P", "I;16")),
        *(("TIFF", mode) for mode in ("L", "1", "RGBA", "CMYK", "I;16")),
        *(("BMP", mode) for mode in ("L", "1", "RGB", "RGBA", "P")),
        *(("WEBP", mode) for mode in ("L", "RGBA")),
        *(("JPEG2000", mode) for mode in ("L", "RGB", "RGBA")),
        *(("PPM", mode) for mode in ("L", "1", "RGB")),
    ],
)
def test_other_formats_and_modes(kind, mode):
    image = picture().convert("L") if mode == "I;16" else None
    data = encoded(kind, mode, image)
    assert np.array_equal(decode(data), opencv(data))


def test_gif_which_opencv_cannot_read():
    data = encoded("GIF", "P")
    assert opencv(data) is None
    wanted = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))[:, :, ::-1]
    assert np.array_equal(decode(data), wanted)


# --- damage


def test_truncated_jpeg_is_refused_or_read_as_far_as_it_goes():
    data = encoded("JPEG", image=picture(200, 160), subsampling=0)
    cut = data[: len(data) // 2]
    with pytest.raises(BadRequest, match="truncated"):
        decode(cut)
    found, whole = decode(cut, "accept"), opencv(data)
    assert np.array_equal(found[:48], whole[:48])
    assert not np.array_equal(found[-48:], whole[-48:])
    assert np.array_equal(found, decode(cut, "accept"))  # nothing of earlier pictures shows through


@pytest.mark.parametrize("progressive", [False, True])
def test_no_truncated_jpeg_shows_what_was_in_its_slot_before(progressive):
    """libjpeg-turbo takes an error for a warning where it has warned before: then nothing is written."""
    data, read = encoded("JPEG", image=picture(24, 20), progressive=progressive), 0
    for length in range(len(data) // 2, len(data)):
        with pytest.raises(BadRequest, match="Invalid input file"):
            decode(data[:length])
        try:
            found = decode(data[:length], "accept")
        except BadRequest:
            continue  # no part of a picture is there
        assert np.array_equal(found, decode(data[:length], "accept", b"\x5a"))
        read += 1
    assert read


@pytest.mark.parametrize("truncated", ["reject", "accept"])
def test_truncated_jpeg_that_only_opencv_reads_is_refused(truncated):
    """OpenCV leaves the missing rows as they were in memory: they could be somebody else's."""
    data = encoded("JPEG", "CMYK", picture(200, 160), subsampling=2)
    with pytest.raises(BadRequest, match="truncated"):
        decode(data[: len(data) // 2], truncated)


def test_harmless_damage_is_accepted_as_opencv_accepts_it():
    """Bytes between the picture and its end marker: libjpeg warns, nothing is missing."""
    data = encoded("JPEG")
    damaged = data[:-2] + b"\0\1\2" + data[-2:]
    assert np.array_equal(decode(damaged), opencv(damaged))
    trailing = data + b"something else" * 100
    assert np.array_equal(decode(trailing), opencv(trailing))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF", "GIF", "JPEG2000", "PPM"])
@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("truncated", ["reject", "accept"])
def test_other_truncated_formats_are_refused(kind, share, truncated):
    data = encoded(kind, "P" if kind == "GIF" else "RGB", picture(160, 120))
    with pytest.raises(BadRequest, match=r"^Invalid input file"):
        decode(data[: int(len(data) * share)], truncated)


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def test_a_header_that_lies_is_refused():
    """Two header chunks: the size limits saw the first, the decoder may believe the second."""
    real = encoded("PNG")
    small = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0))
    lying = real[:8] + small + real[8:]
    header = read_header(lying)
    assert header[1:3] == (4, 4)
    slot = bytearray(wire.META + shape_of(header).nbytes) + b"\xa5" * 64
    with pytest.raises(BadRequest):
        decode_into(memoryview(slot), lying, header, "reject")
    assert slot[-64:] == b"\xa5" * 64


def test_a_jpeg_of_another_size_than_its_first_header_is_refused():
    """The walk over the segments and libjpeg disagree: never a write past the slot."""
    data = encoded("JPEG", image=picture(64, 64))
    header = read_header(data)._replace(width=32)
    slot = bytearray(wire.META + shape_of(header).nbytes) + b"\xa5" * 64
    with pytest.raises(BadRequest, match="not of the size"):
        decode_into(memoryview(slot), data, header, "reject")
    assert slot[-64:] == b"\xa5" * 64
    larger = read_header(data)._replace(width=128)
    with pytest.raises(BadRequest, match="not of the size"):
        decode_into(memoryview(bytearray(wire.META + 128 * 64 * 3)), data, larger, "reject")


# --- limits


def test_pixel_limit_in_paddlex_words():
    check_pixels(10, 10, 100)
    with pytest.raises(BadRequest) as refused:
        check_pixels(20_000, 20_000, 178_956_970)
    assert refused.value.message == (
        "Image pixel count 400000000 (width=20000, height=20000) exceeds maximum allowed 178956970."
    )
    with pytest.raises(BadRequest, match=r"^Page 3: Image pixel count 110 "):
        check_pixels(11, 10, 100, page=3)


def test_working_memory_is_counted():
    assert working_bytes(read_header(encoded("JPEG"))) == 0
    assert working_bytes(read_header(encoded("JPEG", progressive=True))) == 61 * 43 * 6
    assert working_bytes(read_header(encoded("PNG"))) == 61 * 43 * 3
