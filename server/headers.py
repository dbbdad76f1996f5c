"""Sizes of images from their first bytes, before anything is decoded or allocated.

Every format that OpenCV reads is recognised; the sizes decide about limits and slots. A header
may lie: ``server/images.py`` compares with what the decoder really produced.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import numpy as np

from pipelines.core.errors import BadRequest
from server.mapped import FileData

Kind = Literal["jpeg", "png", "webp", "bmp", "gif", "tiff", "other", "pixels"]

INVALID = "Invalid input file"

_TIFF_STARTS = (b"II\x2a\x00", b"MM\x00\x2a")
_BIG_TIFF_STARTS = (b"II\x2b\x00", b"MM\x00\x2b")

#: A real JPEG has a few hundred segments at most (ICC and XMP in 64 KiB parts).
_MAX_SEGMENTS = 4096
#: Fill bytes and garbage between segments, in all: decoders step over them byte by byte.
_MAX_STRAY_BYTES = 65_536
#: Encoders write a dozen scans at most. Every further one costs a pass over all pixels and as little as
#: twenty bytes of file.
_MAX_SCANS = 128
#: More than one frame makes a document; how many there are the render child counts.
_MAX_FRAMES = 2
#: Entries of a TIFF directory that are looked at; the width and height are among the first five.
_MAX_ENTRIES = 1024
#: The rarer formats have their size within this many bytes; Pillow reads PNM's byte by byte.
_RARER_HEAD_BYTES = 65_536
_PNM_HEAD_BYTES = 4096
#: SOF0..SOF15 without DHT (C4), JPG (C8) and DAC (CC): ITU T.81, table B.1.
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
#: TEM and RST0..7 have no length field.
_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD8)})
_START_OF_SCAN = 0xDA
#: Bytes of a JPEG that are looked at together.
_BLOCK_BYTES = 1 << 16
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
#: 0xFF and a code; before it may be fill bytes, behind 0xFF 0x00 is none.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff]")


class Header(NamedTuple):
    """What an image claims about itself.

    Attributes:
        kind: format; ``other`` is one that only Pillow's reader knows, ``pixels`` is none: uint8 BGR.
        width, height: pixels as stored, before EXIF orientation.
        orientation: EXIF 1..8 of a JPEG; other decoders apply theirs themselves.
        sizes: (width, height) of the first two frames of a TIFF; else empty.
        progressive: a JPEG whose coefficients are all kept in memory while decoding.
    """

    kind: Kind
    width: int
    height: int
    orientation: int = 1
    sizes: tuple[tuple[int, int], ...] = ()
    progressive: bool = False


def read_header(data: FileData) -> Header:
    """Recognise ``data`` and read its size. Raises BadRequest when it is no image with a sane header."""
    try:
        header = next(reader for start, reader in _READERS if data.startswith(start))(data)
    except (struct.error, IndexError):
        raise BadRequest(f"{INVALID}: the image ends inside its header") from None
    if header.width <= 0 or header.height <= 0:
        raise BadRequest(f"{INVALID}: the image has no pixels")
    return header


def is_rare(data: FileData) -> bool:
    """Whether the size is Pillow's to read: to be done off the event loop, its import takes 0.2 s."""
    return data.startswith(_RARER)


def is_tiff(data: FileData) -> bool:
    """Whether ``data`` starts like a classic TIFF, the only kind whose frames PaddleX reads."""
    return data.startswith(_TIFF_STARTS)


def _png(data: FileData) -> Header:
    """IHDR is always the first chunk."""
    return Header("png", *struct.unpack_from(">II", data, 16))


def _gif(data: FileData) -> Header:
    return Header("gif", *struct.unpack_from("<HH", data, 6))


def _jpeg(data: FileData) -> Header:
    """Walk the segments up to the first scan; the first Exif segment gives the orientation."""
    orientation, frame = 0, None
    for marker, position, length in _jpeg_segments(data):
        if marker == 0xE1 and not orientation and data[position + 2 : position + 6] == b"Exif":
            orientation = exif_orientation(data[position + 8 : position + length])
        elif marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, position + 3)
            frame = Header("jpeg", width, height, 1, (), marker in _PROGRESSIVE)
    if frame is None:
        raise BadRequest(f"{INVALID}: the JPEG has no frame header")
    return frame._replace(orientation=orientation or 1)


def _jpeg_segments(data: FileData) -> Iterator[tuple[int, int, int]]:
    """Marker, position of the length field and length of each segment before the first scan.

    Raises BadRequest for a file that would keep a decoder busy out of proportion: too many scans, or stray
    bytes between segments.
    """
    position, stray = 2, _MAX_STRAY_BYTES
    for _ in range(_MAX_SEGMENTS):
        found = _JPEG_MARKER.search(data, position, position + stray + 2)
        if found is None:
            break
        stray -= found.start() - position
        position, marker = found.end(), data[found.end() - 1]
        if marker in _BARE_MARKERS:
            continue
        if marker == _START_OF_SCAN:
            if _count_scans(data, position) >= _MAX_SCANS:
                raise BadRequest(f"{INVALID}: the JPEG has more than {_MAX_SCANS} scans")
            return
        (length,) = struct.unpack_from(">H", data, position)
        yield marker, position, length
        position += length
    raise BadRequest(f"{INVALID}: the JPEG has no scan")


def _count_scans(data: FileData, position: int) -> int:
    """Markers of scans from ``position`` on: 0xFF is escaped inside scans, so each is one.

    By blocks that stay in the cache; ``bytes.count`` takes five times as long (65 us on 76 KB).
    """
    found = 0
    for start in range(position, len(data) - 1, _BLOCK_BYTES):
        block = np.frombuffer(data, np.uint8, min(_BLOCK_BYTES + 1, len(data) - start), start)
        found += int(np.count_nonzero((block[:-1] == 0xFF) & (block[1:] == _START_OF_SCAN)))
    return found


def exif_orientation(tiff: bytes) -> int:
    """Orientation tag (1..8) of IFD0 in an Exif block, the six bytes of its name left out; 1 if none."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (offset,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, offset)
        for entry in range(offset + 2, offset + 2 + 12 * count, 12):
            tag, _, _, value = struct.unpack_from(order + "HHIH", tiff, entry)
            if tag == 0x0112:
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1


def _webp(data: FileData) -> Header:
    """VP8X canvas, lossless or lossy bitstream header (RFC 9649, sections 2.6, 2.7 and 3.4)."""
    if data[8:12] != b"WEBP":
        return _unknown(data)
    chunk = data[12:16]
    if chunk == b"VP8X":
        low = struct.unpack_from("<HBHB", data, 24)
        return Header("webp", 1 + low[0] + (low[1] << 16), 1 + low[2] + (low[3] << 16))
    if chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return Header("webp", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    width, height = struct.unpack_from("<HH", data, 26)
    return Header("webp", width & 0x3FFF, height & 0x3FFF)


def _bmp(data: FileData) -> Header:
    (size,) = struct.unpack_from("<I", data, 14)
    if size == 12:
        return Header("bmp", *struct.unpack_from("<HH", data, 18))
    width, height = struct.unpack_from("<ii", data, 18)
    return Header("bmp", width, abs(height))  # a negative height means rows from the top


class _Layout(NamedTuple):
    """Where a TIFF's directories are and what they are made of."""

    order: str
    first: int
    offset: str
    number: str
    entry_bytes: int


def _tiff_sizes(data: FileData, layout: _Layout) -> tuple[tuple[int, int], ...]:
    """Sizes in the first directories of the chain (TIFF 6.0, section 2; BigTIFF has wider fields)."""
    sizes: list[tuple[int, int]] = []
    (offset,) = struct.unpack_from(layout.order + layout.offset, data, layout.first)
    seen = set()
    while offset and offset not in seen and len(sizes) < _MAX_FRAMES:
        seen.add(offset)
        try:
            size, offset = _tiff_directory(data, layout, offset)
        except struct.error:
            if not sizes:
                raise
            break
        sizes.append(size)
    if not sizes:
        raise BadRequest(f"{INVALID}: the TIFF has no image")
    return tuple(sizes)


def _tiff_directory(data: FileData, layout: _Layout, offset: int) -> tuple[tuple[int, int], int]:
    """Tags 256 and 257, and where the next directory is."""
    order, step = layout.order, layout.entry_bytes
    if offset > len(data):
        raise struct.error("the directory is outside of the file")
    (count,) = struct.unpack_from(order + layout.number, data, offset)
    first = offset + struct.calcsize(order + layout.number)
    sides = {256: 0, 257: 0}
    for entry in range(first, first + step * min(count, _MAX_ENTRIES), step):
        tag, type_ = struct.unpack_from(order + "HH", data, entry)
        if tag in sides:
            kind = {3: "H", 16: "Q"}.get(type_, "I")
            value = entry + 4 + struct.calcsize(order + layout.offset)
            (sides[tag],) = struct.unpack_from(order + kind, data, value)
        elif tag > 257:  # entries are in ascending order of their tags
            break
    end = min(first + step * count, len(data))
    (following,) = struct.unpack_from(order + layout.offset, data, end)
    return (sides[256], sides[257]), following


def _tiff(data: FileData) -> Header:
    sizes = _tiff_sizes(data, _Layout("<" if data[:2] == b"II" else ">", 4, "I", "H", 12))
    return Header("tiff", *sizes[0], sizes=sizes)


def _big_tiff(data: FileData) -> Header:
    """PaddleX reads no frames of these: a single image."""
    sizes = _tiff_sizes(data, _Layout("<" if data[:2] == b"II" else ">", 8, "Q", "Q", 20))
    return Header("other", *sizes[0])


def _other(data: FileData) -> Header:
    """Rarer formats that OpenCV decodes (JPEG 2000, PNM, Sun raster): size by Pillow's reader."""
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - rarely needed, slow to import

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            head = io.BytesIO(data[: _PNM_HEAD_BYTES if data[:1] == b"P" else _RARER_HEAD_BYTES])
            with Image.open(head, formats=("JPEG2000", "PPM", "SUN")) as image:
                return Header("other", *image.size)
    except Image.DecompressionBombError as fault:
        raise BadRequest(f"{INVALID}: {fault}") from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError):
        raise BadRequest(f"{INVALID}: not an image of a known format") from None


def _unknown(_data: FileData) -> Header:
    raise BadRequest(f"{INVALID}: not an image of a known format")


#: First bytes to reader; the first that fits reads. The rarer ones are JPEG 2000 (boxed and bare), Sun raster
#: and PNM.
_RARER = (
    b"\x00\x00\x00\x0cjP  \r\n\x87\n",
    b"\xff\x4f\xff\x51",
    b"\x59\xa6\x6a\x95",
    *(b"P%d" % kind for kind in range(1, 7)),
)
_READERS: tuple[tuple[bytes | tuple[bytes, ...], Callable[[FileData], Header]], ...] = (
    (b"\xff\xd8", _jpeg),
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"RIFF", _webp),
    (b"BM", _bmp),
    ((b"GIF87a", b"GIF89a"), _gif),
    (_TIFF_STARTS, _tiff),
    (_BIG_TIFF_STARTS, _big_tiff),
    (_RARER, _other),
    (b"", _unknown),
)
