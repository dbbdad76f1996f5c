"""PDF and multi-frame TIFF over HTTP: pages side by side through a window of slots."""

import contextlib
import io
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from server.config import Limits
from tests.conditions import wait_for
from tests.e2e.conftest import request
from tests.fakes import RightAnswers, page, png
from tests.harness import texts_of

pytestmark = pytest.mark.usefixtures("clean")


@pytest.fixture(scope="module")
def options():
    return {"limits": Limits(document_slots=3, max_pages=40, max_decoded_bytes=64 << 20)}


def tiff(*images):
    """A lossless multi-frame TIFF of BGR arrays."""
    frames = [Image.fromarray(np.ascontiguousarray(image[:, :, ::-1])) for image in images]
    file = io.BytesIO()
    frames[0].save(file, "TIFF", save_all=True, append_images=frames[1:], compression="tiff_lzw")
    return file.getvalue()


def pdf(*images):
    """A PDF whose pages are these BGR arrays, half a point to a pixel: rendered at scale 2 they return."""
    frames = [Image.fromarray(np.ascontiguousarray(image[:, :, ::-1])) for image in images]
    file = io.BytesIO()
    frames[0].save(file, "PDF", save_all=True, append_images=frames[1:], resolution=144.0, quality=95)
    return file.getvalue()


def test_every_frame_of_a_tiff_is_a_page_in_order(server):
    pages = [page(seed, lines=1 + seed % 4) for seed in range(8)]
    right = RightAnswers(server.config)
    status, answer = server.post(request(tiff(*pages)))
    assert status == 200, answer
    assert texts_of(answer) == [right.texts(image) for image in pages]
    assert answer["result"]["dataInfo"] == {
        "numPages": 8,
        "pages": [{"width": 320, "height": image.shape[0]} for image in pages],
        "type": "tiff",
    }


def test_a_tiff_with_one_frame_is_an_image(server):
    status, answer = server.post(request(tiff(page(3))))
    assert status == 200, answer
    assert answer["result"]["dataInfo"] == {"width": 320, "height": 192, "type": "image"}


def test_a_pdf(server):
    pages = [page(seed) for seed in range(3)]
    status, answer = server.post(request(pdf(*pages), fileType=0))
    assert status == 200, answer
    info = answer["result"]["dataInfo"]
    assert (info["type"], info["numPages"]) == ("pdf", 3)
    assert info["pages"] == [{"width": 320, "height": 192}] * 3
    assert [len(texts) for texts in texts_of(answer)] == [3, 3, 3]


def test_pages_above_paddlex_limit_are_dropped_silently(server):
    status, answer = server.post(request(tiff(*[page(seed, lines=1) for seed in range(13)])))
    assert status == 200, answer
    assert answer["result"]["dataInfo"]["numPages"] == len(answer["result"]["ocrResults"]) == 10


def test_pictures_of_every_page(server):
    pages = [page(seed) for seed in range(5)]  # more than the window has slots
    status, answer = server.post(request(tiff(*pages), visualize=True))
    assert status == 200, answer
    assert all({"ocrImage", "inputImage"} <= set(found) for found in answer["result"]["ocrResults"])
    pictures = {found["inputImage"] for found in answer["result"]["ocrResults"]}
    assert len(pictures) == 5


def test_one_bad_page_fails_the_document_and_frees_the_rest(server):
    pages = [page(1), page(2, fault="error"), page(3), page(4), page(5)]
    status, answer = server.post(request(tiff(*pages)))
    assert (status, answer["errorCode"]) == (500, 500)
    assert "result" not in answer


def test_a_document_that_never_fits_is_refused_as_such(server):
    large = np.full((3000, 4000, 3), 255, np.uint8)
    status, answer = server.post(request(tiff(*[large] * 3)))
    assert status == 422, answer["errorMsg"]
    assert "holds at most" in answer["errorMsg"]


def test_a_document_whose_deadline_passes_is_given_up(server):
    pages = [page(seed, fault="slow") for seed in range(4)]
    status, answer = server.post(request(tiff(*pages)), headers={"X-Request-Timeout-Ms": "1500"})
    assert (status, answer["errorMsg"]) == (504, "The deadline of the request passed")
    wait_for(lambda: not render_children(server), what="the render child ends")


def test_a_page_that_takes_long_to_draw_does_not_outlast_the_deadline(server):
    """One path of many crossing lines: seconds of drawing, and the child's own limit is half a minute."""
    path = b"0 0 m\n" + b"".join(b"%d %d l\n" % (i * 7919 % 100, i * 104729 % 100) for i in range(300_000))
    data = b"%PDF-1.4\n" + b"\n".join(
        [
            b"1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj",
            b"2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj",
            b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 100 100]/Contents 4 0 R>>endobj",
            b"4 0 obj<</Length %d>>stream\n%sB*\nendstream endobj" % (len(path) + 3, path),
            b"trailer<</Root 1 0 R>>",
        ]
    )
    started = time.perf_counter()
    status, answer = server.post(request(data, fileType=0), headers={"X-Request-Timeout-Ms": "700"})
    assert (status, answer["errorCode"]) == (504, 504)
    assert time.perf_counter() - started < 2.0
    wait_for(lambda: not render_children(server), what="the render child is left")


def test_a_client_that_hangs_up_takes_its_render_child_along(server):
    connection = server.connect()
    connection.request("POST", "/ocr", request(tiff(*[page(seed, fault="slow") for seed in range(6)])))
    wait_for(lambda: render_children(server), what="the render child starts")
    connection.close()
    wait_for(lambda: not render_children(server), what="the render child ends")
    assert server.post(request(png(page(1))))[0] == 200


def test_a_render_child_has_its_file_and_its_pixels_and_nothing_of_the_server(server):
    """No shared memory, no port, no wake-ups: what takes it over gets no further."""
    connection = server.connect()
    connection.request("POST", "/ocr", request(tiff(*[page(seed, fault="slow") for seed in range(6)])))
    (child,) = wait_for(lambda: render_children(server), what="the render child starts")
    wait_for(lambda: "server.render" in child.cmdline(), what="it is itself")
    expected = {"/memfd:document (deleted)", "/memfd:pages (deleted)"}
    # Python itself opens a folder of its library for a moment while the child imports.
    wait_for(lambda: opened(child) == expected, what="only its two files are open")
    connection.close()
    wait_for(lambda: not render_children(server), what="the render child ends")


def opened(process):
    """What a process has open besides its standard streams; a descriptor closed meanwhile is left out."""
    links = {}
    for fd in Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            links[int(fd.name)] = str(fd.readlink())
    return set(links.values()) - {links[number] for number in range(3)}


def render_children(server):
    (worker,) = server.pids("worker")
    return psutil.Process(worker).children()
