"""The render child as a process, and the worker's end of it, on real documents and hostile ones."""

import asyncio
import io
import os
import signal
from pathlib import Path

import cv2
import numpy as np
import pypdfium2
import pytest
import uvloop
from PIL import Image

from pipelines.core.errors import BadRequest
from server import wire
from server.config import Limits
from server.documents import Renderer
from server.render import MIN_SCALE, SCALE, Unreadable, fit_scale
from server.wire import Shape

pytestmark = pytest.mark.usefixtures("no_leaks")


def pdf(*sizes):
    """A PDF with a page of each size (points), each with a picture of its own."""
    document = pypdfium2.PdfDocument.new()
    for number, (width, height) in enumerate(sizes):
        page = document.new_page(width, height)
        picture = Image.new("RGB", (20, 10), (40 * number + 10, 120, 200))
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=95)
        image = pypdfium2.PdfImage.new(document)
        image.load_jpeg(io.BytesIO(file.getvalue()))
        image.set_matrix(pypdfium2.PdfMatrix().scale(width / 2, height / 2))
        page.insert_obj(image)
        page.gen_content()
    file = io.BytesIO()
    document.save(file)
    document.close()
    return file.getvalue()


def tiff(*images, **options):
    file = io.BytesIO()
    images[0].save(file, "TIFF", save_all=True, append_images=images[1:], **options)
    return file.getvalue()


def render(data, kind="pdf", max_pages=None, pick=None, **limits):
    """(sizes, pages) of a document; ``pick`` are the pages to draw."""

    async def body():
        async with Renderer(data, kind, max_pages, Limits(**limits)) as renderer:
            pages = []
            for index in range(len(renderer.sizes)) if pick is None else pick:
                await renderer.draw(index)
                width, height = renderer.sizes[index]
                slot = memoryview(bytearray(wire.META + width * height * 3))
                shape = renderer.copy(index, slot)
                assert shape == Shape(height=height, width=width)
                pages.append(wire.pixels(slot, shape).copy())
            return renderer.sizes, pages

    return asyncio.run(body())


def as_paddlex_renders(data):
    document = pypdfium2.PdfDocument(data)
    document.init_forms()
    try:
        return [page.render(scale=2.0).to_numpy().copy() for page in document]
    finally:
        document.close()


# --- documents


def test_pdf_pages_are_those_of_paddlex():
    data = pdf((120, 80), (61.3, 99.9), (120, 80))
    sizes, pages = render(data)
    wanted = as_paddlex_renders(data)
    assert sizes == [(w.shape[1], w.shape[0]) for w in wanted]
    for page, want in zip(pages, wanted, strict=True):
        assert np.array_equal(page, want)
    assert not np.array_equal(pages[0], pages[2])


def test_tiff_frames_are_those_of_paddlex():
    random = np.random.default_rng(1)
    frames = [Image.fromarray(random.integers(0, 256, (20 + i, 30, 3), np.uint8)) for i in range(3)]
    frames[1] = frames[1].convert("L")
    frames[2] = frames[2].convert("CMYK")
    data = tiff(*frames)
    sizes, pages = render(data, "tiff")
    assert sizes == [(30, 20), (30, 21), (30, 22)]
    with Image.open(io.BytesIO(data)) as image:
        for index, page in enumerate(pages):
            image.seek(index)
            wanted = cv2.cvtColor(np.array(image.convert("RGB")), cv2.COLOR_RGB2BGR)
            assert np.array_equal(page, wanted)


def test_further_pages_are_dropped_as_paddlex_drops_them():
    sizes, _ = render(pdf(*[(20, 20)] * 5), max_pages=3, pick=())
    assert len(sizes) == 3


def test_without_paddlex_limit_the_servers_own_refuses():
    def pages(hard_limit):
        async def body():
            async with Renderer(pdf(*[(20, 20)] * 5), "pdf", None, Limits(max_pages=hard_limit)) as renderer:
                return len(renderer.sizes)

        return asyncio.run(body())

    assert pages(5) == 5
    with pytest.raises(BadRequest, match="has 5 pages; this server takes at most 4"):
        pages(4)


def test_a_page_too_large_is_rendered_smaller():
    ((width, height),), _ = render(pdf((200, 100)), max_pixels=10_000, pick=())
    assert width * height <= 10_000
    assert width * height > 9_000


def test_a_page_that_cannot_be_small_enough_is_refused():
    with pytest.raises(BadRequest, match=r"^Page 2: Estimated render size width=20, height=20 .* exceed"):
        render(pdf((20, 20), (200, 200)), max_pixels=100)


def test_a_tiff_frame_too_large_is_refused_before_it_is_decoded():
    with pytest.raises(BadRequest, match=r"^Page 2: Image pixel count 400 \(width=20, height=20\) exceeds"):
        render(tiff(Image.new("L", (9, 9)), Image.new("L", (20, 20))), "tiff", max_pixels=100)


# --- damage and hostility


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        pytest.param(b"%PDF-1.7 and nothing else", "pdf", id="pdf-text"),
        pytest.param(pdf((20, 20))[:200], "pdf", id="pdf-cut"),
        pytest.param(b"II*\0" + bytes(40), "tiff", id="tiff-zeros"),
        pytest.param(tiff(Image.new("L", (50, 50)), Image.new("L", (50, 50)))[:-2000], "tiff", id="tiff-cut"),
    ],
)
def test_what_cannot_be_read_is_refused(data, kind):
    with pytest.raises(BadRequest, match=r"^Invalid input file"):
        render(data, kind)


def test_a_document_with_a_password_is_refused():
    locked = (
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Count 0/Kids[]>>endobj\n"
        b"3 0 obj<</Filter/Standard/V 1/R 2/O<" + b"00" * 32 + b">/U<" + b"00" * 32 + b">/P -4>>endobj\n"
        b"trailer<</Root 1 0 R/Encrypt 3 0 R/ID[<00><00>]>>\n%%EOF"
    )
    with pytest.raises(BadRequest, match="Invalid input file"):
        render(locked)


def test_a_slow_document_is_given_up_and_its_child_is_gone():
    with pytest.raises(BadRequest, match="takes more than 1 ms"):
        render(pdf((200, 200)), render_timeout_ms=1)


def test_a_document_that_needs_too_much_memory_costs_itself_only():
    with pytest.raises(BadRequest, match="Invalid input file"):
        render(pdf((5000, 5000)), render_memory_bytes=160 << 20)


@pytest.mark.parametrize("seconds", [0, 0.2], ids=["at once", "when the pipe is known to be closed"])
def test_a_child_that_is_killed_is_a_fault_of_the_document(seconds):
    async def body():
        async with Renderer(pdf((20, 20)), "pdf", None, Limits()) as renderer:
            os.kill(_child_of(os.getpid()), signal.SIGKILL)
            await asyncio.sleep(seconds)
            await renderer.draw(0)

    with pytest.raises(BadRequest, match="could not be rendered"):
        uvloop.run(body())  # as in a worker


def test_the_child_dies_with_a_cancelled_request():
    children = []

    async def request():
        async with Renderer(pdf((20, 20)), "pdf", None, Limits()):
            children.append(_child_of(os.getpid()))
            await asyncio.Event().wait()

    async def body():
        task = asyncio.create_task(request())
        while not children and not task.done():
            await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(body())
    assert not Path(f"/proc/{children[0]}").exists()


def test_the_child_sees_nothing_of_the_server():
    """Two memfds and its pipes: not the segment, not the sockets, not the eventfds of its parent."""
    event, inheritable = os.eventfd(0), os.memfd_create("segment", 0)
    os.set_inheritable(inheritable, True)

    async def body():
        async with Renderer(pdf((20, 20)), "pdf", None, Limits()):
            folder = Path(f"/proc/{_child_of(os.getpid())}/fd")
            return sorted(str(entry.readlink()) for entry in folder.iterdir())

    try:
        seen = asyncio.run(body())
    finally:
        os.close(event)
        os.close(inheritable)
    shared = [name for name in seen if name.startswith(("/memfd:", "anon_inode:"))]
    assert set(shared) == {"/memfd:document (deleted)", "/memfd:pages (deleted)"}


def _child_of(pid):
    """Process id of the one render child of ``pid``; other tests may have left helpers of Python's own."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    (child,) = [c for c in children if "server.render" in Path(f"/proc/{c}/cmdline").read_text()]
    return child


# --- the scale


def test_scale_of_a_normal_page():
    assert fit_scale(595.3, 841.9, 178_956_970, 1) == SCALE


def test_scale_is_the_largest_that_fits():
    scale = fit_scale(1000, 500, 100_000, 1)
    assert MIN_SCALE < scale < SCALE
    assert -(-1000 * scale // 1) * -(-500 * scale // 1) <= 100_000
    assert 1000 * 500 * (1.01 * scale) ** 2 > 100_000


@pytest.mark.parametrize("size", [(0, 10), (10, 0), (-5, 10)])
def test_a_page_without_area_is_refused(size):
    with pytest.raises(Unreadable, match="Invalid PDF page size"):
        fit_scale(*size, 1000, 3)
