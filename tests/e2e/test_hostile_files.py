"""Files and parameters that cost more than they weigh, or are two things at once; and what leaks of them."""

import io
import json
import struct
import time
import zlib

import cv2
import msgspec
import numpy as np
import psutil
import pytest
from PIL import Image

from server.config import Limits
from tests.e2e.conftest import request
from tests.e2e.test_bad_input import one_colour_png
from tests.fakes import RightAnswers, body, fake_config, page, png
from tests.harness import Server, texts_of

pytestmark = pytest.mark.usefixtures("clean")

PAGE = page(5)
#: For what a render child starts on a loaded machine.
SOON_S = 12.0


@pytest.fixture(scope="module")
def options():
    return {"limits": Limits(max_body_bytes=8 << 20, max_pages=20, render_timeout_ms=5000)}


def encoded(image, suffix):
    return cv2.imencode(suffix, image)[1].tobytes()


def gif(width, height):
    """A GIF that claims a screen of this size and holds one of a pixel."""
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + bytes(6) + (
        b",\0\0\0\0\1\0\1\0\0\2\2D\1\0;"
    )  # fmt: skip


def bmp(width, height):
    return b"BM" + bytes(12) + struct.pack("<Iii", 40, width, height) + bytes(40)


# --- images


@pytest.mark.parametrize(("width", "height"), [(65_535, 1), (1, 65_535), (65_535, 20), (20, 65_535)])
@pytest.mark.parametrize("suffix", [".png", ".bmp", ".jpg", ".tiff"])
def test_extreme_shapes_are_answered_or_refused_at_little_cost(server, width, height, suffix):
    if suffix == ".jpg" and max(width, height) > 65_500:
        width, height = min(width, 65_500), min(height, 65_500)  # what the encoder can write
    content = encoded(np.full((height, width, 3), 255, np.uint8), suffix)
    started = time.perf_counter()
    status, answer = server.post(request(content))
    assert status in {200, 422}, answer
    assert time.perf_counter() - started < SOON_S


@pytest.mark.parametrize(
    ("content", "text"),
    [
        pytest.param(one_colour_png(13_000, 13_000), "exceeds maximum allowed 67108864", id="png"),
        pytest.param(bmp(13_000, -13_000), "exceeds", id="bmp"),
        pytest.param(gif(65_535, 65_535), "exceeds", id="gif"),
        pytest.param(b"RIFF\0\0\0\0WEBPVP8X\n\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff", "exceeds", id="webp"),
        pytest.param(b"P6 60000 60000 255\n", "Invalid input file", id="pnm"),
        pytest.param(bmp(5, -(2**31)), "exceeds", id="bmp-min"),
        pytest.param(gif(500, 500), "", id="gif-lies"),
    ],
)
def test_pixels_are_refused_by_the_header(server, content, text):
    worker = psutil.Process(server.pids("worker")[0])
    before, started = worker.memory_info().rss, time.perf_counter()
    status, answer = server.post(request(content))
    assert (status == 422 and text in answer["errorMsg"]) or (text == "" and status == 200), answer
    assert time.perf_counter() - started < SOON_S
    assert worker.memory_info().rss - before < 32 << 20


def test_a_png_whose_data_inflates_to_more_than_its_size(server):
    """The header is honest about 100 x 100; the compressed data holds 200 MB."""
    honest = one_colour_png(100, 100)
    bomb = zlib.compress(bytes(200 << 20), 9)
    start = honest.index(b"IDAT") - 4
    data = honest[:start] + struct.pack(">I", len(bomb)) + b"IDAT" + bomb
    data += struct.pack(">I", zlib.crc32(b"IDAT" + bomb)) + b"\0\0\0\0IEND\xaeB\x60\x82"
    worker = psutil.Process(server.pids("worker")[0])
    before = worker.memory_info().rss
    status, answer = server.post(request(data))
    assert status in {200, 422}, answer
    assert worker.memory_info().rss - before < 64 << 20


@pytest.mark.parametrize(
    "tail", [b"%PDF-1.4 trailer", b"PK\3\4" + bytes(60), png(page(6)), b"<script>"], ids=repr
)
def test_a_polyglot_is_what_its_first_bytes_say(server, tail):
    status, answer = server.post(request(png(PAGE) + tail))
    assert (status, texts_of(answer)) == (200, [RightAnswers(server.config).texts(PAGE)])


def test_an_image_that_is_called_a_pdf_and_the_other_way_round(server):
    assert server.post(request(png(PAGE) + b"%PDF-1.4", fileType=0))[0] == 422
    assert server.post(request(pdf(PAGE_OBJECTS), fileType=1))[0] == 422


# --- documents


def pdf(objects, root=1):
    """A PDF of these objects (bytes each), numbered from 1."""
    out, places = bytearray(b"%PDF-1.7\n"), []
    for number, content in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    return bytes(
        out + b"trailer<</Size %d/Root %d 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, root, start)
    )


def one_page(content, resources=b"", box=b"0 0 200 200", more=()):
    return [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[%s]/Contents 4 0 R/Resources<<%s>>>>" % (box, resources),
        stream(content),
        *more,
    ]


def stream(content, extra=b""):
    packed = zlib.compress(content, 9)
    return b"<</Length %d/Filter/FlateDecode%s>>stream\n%s\nendstream" % (len(packed), extra, packed)


PAGE_OBJECTS = one_page(b"0 0 100 100 re f")
LOOP = stream(b"/X Do " * 50, b"/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</X 5 0 R>>>>")
BOMB_IMAGE = b"/Type/XObject/Subtype/Image/Width 30000/Height 30000/ColorSpace/DeviceGray/BitsPerComponent 8"
DOCUMENTS = {
    "stream": one_page(b"0 0 1 1 re f\n" * 3_000_000),
    "image": one_page(b"/I Do", b"/XObject<</I 5 0 R>>", more=[stream(bytes(50 << 20), BOMB_IMAGE)]),
    "form-calls-itself": one_page(b"/X Do", b"/XObject<</X 5 0 R>>", more=[LOOP]),
    "pages-contain-themselves": [
        PAGE_OBJECTS[0],
        b"<</Type/Pages/Kids[2 0 R 2 0 R]/Count 999999>>",
    ],
    "huge-page": one_page(b"0 0 9 9 re f", box=b"0 0 9000000 9000000"),
    "negative-page": one_page(b"", box=b"0 0 -5 nan"),
    "deep-array": one_page(b"", b"/A " + b"[" * 100_000 + b"]" * 100_000),
    "many-objects": [*PAGE_OBJECTS, *[b"<</A[1 2 3]>>"] * 60_000],
    "too-many-pages": [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[" + b"3 0 R " * 500 + b"]/Count 500>>",
        *PAGE_OBJECTS[2:],
    ],
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_hostile_pdf_costs_one_request(server, name):
    workers, started = server.pids("worker"), time.perf_counter()
    before = psutil.Process(workers[0]).memory_info().rss
    status, answer = server.post(request(pdf(DOCUMENTS[name]), fileType=0))
    assert status in {200, 422}, answer
    assert time.perf_counter() - started < SOON_S
    assert psutil.Process(workers[0]).memory_info().rss - before < 64 << 20
    assert server.post(body(PAGE))[0] == 200
    assert server.pids("worker") == workers


def test_a_tiff_whose_frames_never_end(server):
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "TIFF", save_all=True, append_images=[Image.new("L", (8, 8))])
    data = bytearray(file.getvalue())
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    (second,) = struct.unpack_from("<I", data, first + 2 + 12 * count)
    (count,) = struct.unpack_from("<H", data, second)
    struct.pack_into("<I", data, second + 2 + 12 * count, first)
    started = time.perf_counter()
    status, answer = server.post(request(bytes(data)))
    assert status in {200, 422}, answer
    assert time.perf_counter() - started < SOON_S


# --- JSON and parameters


def test_of_two_equal_keys_the_last_counts(server):
    twice = b'{"file":"AAAA",' + body(PAGE)[1:]
    status, answer = server.post(twice)
    assert (status, texts_of(answer)) == (200, [RightAnswers(server.config).texts(PAGE)])


NUMBERS = [
    *["NaN", "Infinity", "-Infinity", "1e999", "-1e999"],
    '"nan"',
    '"inf"',
    "1" * 5000,
    f'"{"9" * 5000}"',
]
FIELDS = ["textDetThresh", "textDetBoxThresh", "textDetUnclipRatio", "textRecScoreThresh"]


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("number", NUMBERS, ids=lambda text: text[:12])
def test_what_is_no_finite_number_is_refused(server, field, number):
    content = body(PAGE)[:-1] + b',"%s":%s}' % (field.encode(), number.encode())
    status, answer = server.post(content)
    assert status == 422, answer


@pytest.mark.parametrize("value", [-1e308, -1, 0, 1e-308, 2, 1001, 1e308, 2**31, 2**63, -(2**63)])
@pytest.mark.parametrize("field", [*FIELDS, "textDetLimitSideLen"])
def test_values_out_of_any_range_never_break_anything(server, field, value):
    status, answer = server.post(request(png(PAGE), **{field: value}))
    assert status in {200, 422} or (status == 500 and "Internal" not in answer["errorMsg"]), answer


# --- what leaks


def test_neither_answers_nor_the_log_show_paths_or_the_document(tmp_path):
    """At the level ``info``: whatever is sent, and when an engine fails."""
    secret = "SECRETWORDS"
    config = msgspec.structs.replace(fake_config(tmp_path / "models"), log_level="info")
    with Server(config, tmp_path) as server:
        contents = [
            json.dumps({"file": secret, "fileType": 1}).encode(),
            json.dumps({"file": secret * 900, "fileType": 1, secret: secret}).encode(),
            json.dumps({"file": f"/etc/{secret}", "fileType": secret}).encode(),
            json.dumps({"file": f"http://{secret}.test/{secret}", "fileType": 1}).encode(),
            f'{{"file":"{secret}'.encode(),
            secret.encode(),
            request(secret.encode() * 99),
            request(b"%PDF-1.4 " + secret.encode(), fileType=0),
            request(png(page(1, fault="raise"))),
            request(png(page(1, fault="error"))),
        ]
        for content in contents:
            status, answer = server.post(
                content, headers={"X-API-Key": secret, "Authorization": f"Bearer {secret}"}
            )
            assert status in {422, 500}
            said = json.dumps(answer)
            assert secret not in said
            for word in (str(tmp_path), "site-packages", ".py", "Traceback", "/proc/", "/home", "/root"):
                assert word not in said
        assert secret not in server.log()
