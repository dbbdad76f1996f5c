"""The render child: one document, PDF or TIFF, page by page into a memfd, then it ends.

Started by ``server/documents.py`` for one request. It sees the file and one memfd for pixels, nothing of the
server; limits on memory, processor time and its parent's life are set before the file is opened, so
whatever a document does to its library costs one request.

It speaks lines on stdin and stdout. First it writes ``{"sizes": [[w, h], ...], "total": n}``; then for each
page number that it reads it draws that page as uint8 BGR at the start of the memfd and writes
``{"page": n}``. A document that cannot be read is ``{"error": "..."}``.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import mmap
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: PaddleX's PDF_RENDER_SCALE and PDF_MIN_RENDER_SCALE: 144 dpi, and where it gives up.
SCALE = 2.0
MIN_SCALE = 0.1

#: Writes page ``index`` (from 0) to the start of the mapping.
Draw = Callable[[int, mmap.mmap], None]


class Unreadable(Exception):
    """The document is refused; the text is for the client."""


def fit_scale(width: float, height: float, max_pixels: int, page: int) -> float:
    """Scale at which a page of ``width`` x ``height`` points stays within ``max_pixels``.

    PaddleX's bisection (``pdf_rendering.py`` of 3.7.2). Raises Unreadable, in its words.
    """

    def pixels(scale: float) -> int:
        return math.ceil(width * scale) * math.ceil(height * scale)

    if width <= 0 or height <= 0:
        raise Unreadable(f"Page {page}: Invalid PDF page size width={width}, height={height}.")
    if pixels(SCALE) <= max_pixels:
        return SCALE
    if pixels(MIN_SCALE) > max_pixels:
        raise Unreadable(
            f"Page {page}: Estimated render size width={math.ceil(width * MIN_SCALE)}, "
            f"height={math.ceil(height * MIN_SCALE)} (pixel count {pixels(MIN_SCALE)}) at minimum PDF "
            f"render scale {MIN_SCALE} would exceed maximum allowed {max_pixels}."
        )
    lower, upper = MIN_SCALE, min(SCALE, math.sqrt(max_pixels / (width * height)))
    for _ in range(32):
        scale = (lower + upper) / 2
        if pixels(scale) <= max_pixels:
            lower = scale
        else:
            upper = scale
    return lower


def open_pdf(path: str, limit: int, max_pixels: int) -> tuple[int, list[tuple[int, int]], Draw]:
    """Pages in the file, (width, height) in pixels of the first ``limit``, and how one is drawn."""
    import pypdfium2  # noqa: PLC0415 - only for PDFs

    try:
        document = pypdfium2.PdfDocument(Path(path).read_bytes())  # by name it would resolve the link
        document.init_forms()
        total = len(document)
        points = [document.get_page_size(index) for index in range(min(total, limit))]
    except pypdfium2.PdfiumError as fault:
        raise Unreadable(f"Invalid input file: {fault}") from None
    scales = [fit_scale(w, h, max_pixels, index + 1) for index, (w, h) in enumerate(points)]
    sizes = [(math.ceil(w * s), math.ceil(h * s)) for (w, h), s in zip(points, scales, strict=True)]

    def draw(index: int, target: mmap.mmap) -> None:
        def bitmap(width: int, height: int, format: int, rev_byteorder: bool = False) -> Any:
            if (width, height) != sizes[index]:
                raise Unreadable(f"Invalid input file: page {index + 1} changes its size")
            buffer = (ctypes.c_ubyte * (width * height * 3)).from_buffer(target)
            return pypdfium2.PdfBitmap.new_native(width, height, format, rev_byteorder, buffer)

        try:
            page = document[index]
            page.render(scale=scales[index], bitmap_maker=bitmap).close()
        except pypdfium2.PdfiumError as fault:
            raise Unreadable(f"Invalid input file: page {index + 1}: {fault}") from None
        page.close()

    return total, sizes, draw


def open_tiff(path: str, limit: int, max_pixels: int) -> tuple[int, list[tuple[int, int]], Draw]:
    """As :func:`open_pdf`, for the frames of a TIFF."""
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - only for TIFFs

    Image.MAX_IMAGE_PIXELS = None  # the server's own limit is checked below, before anything is decoded
    broken = (OSError, ValueError, SyntaxError, EOFError, KeyError, TypeError, UnidentifiedImageError)

    def guarded(work: Callable[[], Any]) -> Any:
        try:
            return work()
        except broken:
            raise Unreadable("Invalid input file: the TIFF is damaged or truncated") from None

    def look() -> tuple[Any, int, list[tuple[int, int]]]:
        image: Any = Image.open(path, formats=("TIFF",))
        found = []
        for index in range(min(image.n_frames, limit)):
            image.seek(index)
            found.append(image.size)
        return image, image.n_frames, found

    image, total, sizes = guarded(look)
    for number, (width, height) in enumerate(sizes, start=1):
        if not 0 < width * height <= max_pixels:
            raise Unreadable(
                f"Page {number}: Image pixel count {width * height} (width={width}, height={height}) "
                f"exceeds maximum allowed {max_pixels}."
            )

    def draw(index: int, target: mmap.mmap) -> None:
        def convert() -> bytes:
            image.seek(index)
            frame = image.convert("RGB")
            if frame.size != sizes[index]:
                raise ValueError("the frame is not of the size that it claims")
            return bytes(frame.tobytes("raw", "BGR"))

        pixels = guarded(convert)
        target[: len(pixels)] = pixels

    return total, sizes, draw


def _limit(memory_bytes: int, cpu_s: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def main(argv: list[str]) -> int:
    """Serve one document; returns the exit code."""
    from kernels.segment import set_parent_death_signal, set_process_name  # noqa: PLC0415
    from server.turns import take_long_turns  # noqa: PLC0415

    parser = argparse.ArgumentParser(description="Renders one document; started by a worker only.")
    for option in ("parent-pid", "file-fd", "pixel-fd", "limit", "max-pixels", "memory-bytes", "cpu-s"):
        parser.add_argument(f"--{option}", type=int, required=True)
    parser.add_argument("--kind", choices=("pdf", "tiff"), required=True)
    options = parser.parse_args(argv)
    set_process_name("render")
    if not set_parent_death_signal(signal.SIGKILL, options.parent_pid):
        return 1
    take_long_turns()
    _limit(options.memory_bytes, options.cpu_s)
    try:
        opener = open_pdf if options.kind == "pdf" else open_tiff
        total, sizes, draw = opener(f"/proc/self/fd/{options.file_fd}", options.limit, options.max_pixels)
        _say({"sizes": sizes, "total": total})
        target = None
        for line in sys.stdin:
            # The worker has made the memfd large enough by the time it asks for the first page.
            target = target or mmap.mmap(options.pixel_fd, max(w * h * 3 for w, h in sizes))
            draw(int(line), target)
            _say({"page": int(line)})
    except Unreadable as fault:
        _say({"error": str(fault)})
    except MemoryError:
        _say({"error": "Invalid input file: the document needs too much memory"})
    except BrokenPipeError:
        return 1
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)  # nothing to tidy: the libraries' own teardown has crashed on damaged documents
