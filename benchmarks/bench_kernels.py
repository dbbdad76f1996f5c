"""Each image kernel against the OpenCV, NumPy and pyclipper calls that PaddleX 3.7.2 makes for the same step.

    python -m benchmarks.bench_kernels [--quick] [--json FILE]

Both sides run on one thread and must give the same answer on the same data before they are timed. Their calls
alternate, so that a disturbed moment hits both.
"""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np

from benchmarks import series_steps
from benchmarks.common import parser, percentile, report, table, time_each
from benchmarks.paddlex_steps import (
    ALPHA,
    BETA,
    CUBIC,
    numpy_nms,
    paddlex_argmax,
    paddlex_classification_input,
    paddlex_detection_input,
    paddlex_objects_input,
    paddlex_recognition_input,
)
from kernels.boxes import db_boxes, sort_boxes
from kernels.labels import label_map_json
from kernels.masks import encode_mask
from kernels.nms import nms
from kernels.resize import resize_normalize_chw
from kernels.text import ctc_argmax, ctc_collapse
from kernels.warp import crop_line, crop_line_normalize_chw, crop_size
from pipelines.core.label_maps import nearest
from tests.reference import boxes as boxes_twin
from tests.reference import nms as nms_twin
from tests.reference import text as text_twin
from tests.reference.warp import line_picture


class Case(NamedTuple):
    """One row: two calls that must give equal lists of arrays; floats to within ``tolerance``."""

    name: str
    ours: Callable[[], list[np.ndarray]]
    theirs: Callable[[], list[np.ndarray]]
    tolerance: float = 0.0


# --- data ------------------------------------------------------------------------


def page_of(random, height, width):
    """Noise that is smooth at the scale of strokes."""
    small = random.integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def probabilities(random, height, width, lines):
    """A detector's map of a page with `lines` text lines, slightly tilted."""
    made = np.zeros((height, width), np.float32)
    for row in range(lines):
        centre = (width * (0.3 + 0.4 * random.random()), height * (row + 0.5) / lines)
        shape = (width * (0.2 + 0.3 * random.random()), 0.5 * height / lines)
        corners = cv2.boxPoints((centre, shape, float(random.normal() * 0.5)))
        cv2.fillPoly(made, [np.rint(corners).astype(np.int32)], 0.9)
    return cv2.GaussianBlur(made, (7, 7), 1.5)


# --- cases -----------------------------------------------------------------------


def resize_cases(random) -> Iterator[Case]:
    for (height, width), (to_height, to_width) in (
        ((1000, 1414), (992, 1408)),
        ((1754, 1240), (960, 672)),
        ((960, 960), (960, 960)),
    ):
        page, out = page_of(random, height, width), np.empty((1, 3, to_height, to_width), np.float32)

        def ours(page=page, out=out, size=(to_width, to_height)):
            resize_normalize_chw(page, out[0], *size, ALPHA, BETA)
            return [out]

        def theirs(page=page, size=(to_width, to_height)):
            return [paddlex_detection_input(page, *size)]

        yield Case(f"detection input {width}x{height} to {to_width}x{to_height}", ours, theirs)


def crop_cases(random) -> Iterator[Case]:
    """Classification: short side 256, centre crop 224."""
    for height, width in ((480, 640), (1080, 1920), (3000, 4000)):
        picture, out = page_of(random, height, width), np.empty((1, 3, 224, 224), np.float32)
        to = round(width * 256 / height), 256

        def ours(picture=picture, out=out, to=to):
            left, top = (to[0] - 224) // 2, (to[1] - 224) // 2
            resize_normalize_chw(picture, out[0], *to, ALPHA, BETA, reverse=True, left=left, top=top)
            return [out]

        def theirs(picture=picture):
            return [paddlex_classification_input(picture, 256, 224)]

        yield Case(f"classification input {width}x{height} to 256, crop 224", ours, theirs)


def line_cases(random) -> Iterator[Case]:
    page = page_of(random, 1000, 1414)
    for name, corners in (
        ("upright", [[100, 100], [500, 100], [500, 130], [100, 130]]),
        ("tilted", [[100, 100], [500, 108], [499, 138], [99, 130]]),
        ("large", [[100, 100], [800, 112], [798, 202], [98, 190]]),
        ("vertical", [[100, 100], [130, 100], [130, 500], [100, 500]]),
    ):
        quad = np.array(corners, np.int16)
        width, height, _ = crop_size(quad)
        canvas = max(320, math.ceil(48 * width / height))
        picture, out = np.empty((height, width, 3), np.uint8), np.empty((1, 3, 48, canvas), np.float32)

        def crop(quad=quad, picture=picture):
            crop_line(page, quad, picture)
            return [picture]

        def fused(quad=quad, out=out, canvas=canvas):
            crop_line_normalize_chw(page, quad, out[0], canvas, (2, 2, 2), (-1, -1, -1), divisor=255)
            return [out]

        def crop_theirs(quad=quad):
            return [line_picture(page, quad)]

        def fused_theirs(quad=quad, canvas=canvas):
            return [paddlex_recognition_input(line_picture(page, quad), canvas)]

        yield Case(f"crop of a line, {name}, {width}x{height}", crop, crop_theirs)
        yield Case(f"line to recognition input, {name}, {width}x{height} to {canvas}x48", fused, fused_theirs)


def box_cases(random) -> Iterator[Case]:
    for name, lines in (("a page of 40 lines", 40), ("a page of 8 lines", 8)):
        prob = probabilities(random, 992, 1408, lines)
        arguments = (prob, 1414, 1000, 0.3, 0.6, 1.5)
        found = db_boxes(*arguments)[0]
        yield Case(
            f"DB boxes, {name}, {len(found)} boxes",
            lambda arguments=arguments: list(db_boxes(*arguments)),
            lambda arguments=arguments: list(boxes_twin.db_boxes(*arguments)),
            1e-12,
        )
        if lines == 40:
            yield Case(
                f"reading order of {len(found)} boxes",
                lambda found=found: [sort_boxes(found)],
                lambda found=found: [boxes_twin.sort_boxes(found)],
            )


def text_cases(random) -> Iterator[Case]:
    for shape in ((1, 80, 6625), (6, 40, 6625), (1, 80, 18710), (6, 40, 18710)):
        logits = random.random(shape, dtype=np.float32)
        indices, scores = np.empty(shape[:2], np.int32), np.empty(shape[:2], np.float32)

        def ours(logits=logits, indices=indices, scores=scores):
            ctc_argmax(logits, indices, scores)
            return [indices, scores]

        def theirs(logits=logits):
            return paddlex_argmax(logits)

        yield Case("CTC argmax and max {} x {} x {}".format(*shape), ours, theirs)
    indices = random.integers(0, 3, (6, 80)).astype(np.int32)
    scores = random.random((6, 80), dtype=np.float32)
    yield Case(
        "CTC collapse 6 x 80",
        lambda: [np.asarray(part) for line in ctc_collapse(indices, scores) for part in line],
        lambda: [np.asarray(part) for line in text_twin.ctc_collapse(indices, scores) for part in line],
    )


def object_cases(random) -> Iterator[Case]:
    for size, target in (((480, 640), 416), ((1080, 1920), 416), ((720, 960), 832)):
        picture, out = page_of(random, *size), np.empty((3, target, target), np.float32)

        def ours(picture=picture, out=out, target=target):
            resized = cv2.resize(picture, (target, target), interpolation=CUBIC)
            resize_normalize_chw(resized, out, target, target, ALPHA, BETA, reverse=True)
            return [out]

        def theirs(picture=picture, target=target):
            return [paddlex_objects_input(picture, target, target)[0]]

        yield Case("detector input {1}x{0} cubic to {2}x{2}".format(*size, target), ours, theirs)
    for count in (30, 300, 3000):
        rows = scattered(random, count)

        def kernel(rows=rows):
            return [rows[nms(rows, 0.6, 0.98, plus=1.0)]]

        yield Case(
            f"NMS of {count} boxes, NumPy", kernel, lambda rows=rows: [numpy_nms(rows, 0.6, 0.98, 1.0)]
        )
        if count < 3000:
            yield Case(
                f"NMS of {count} boxes, one pair at a time as PaddleX", kernel,
                lambda rows=rows: [rows[nms_twin.nms(rows, 0.6, 0.98, plus=1.0)]],
            )  # fmt: skip


def pixel_cases(random) -> Iterator[Case]:
    """Masks against pycocotools, where that is installed: PaddleX uses it, this project does not need it."""
    rows, columns = nearest(256, 480), nearest(256, 640)
    for most in (2, 150):
        labels = random.integers(0, most, (256, 256), dtype=np.uint8)

        def theirs(labels=labels):
            nested = cv2.resize(labels, (640, 480), interpolation=cv2.INTER_NEAREST).tolist()
            flat = [label for row in nested for label in row]
            return [np.frombuffer(json.dumps(flat, separators=(",", ":")).encode(), np.uint8)]

        yield Case(
            f"label map 256x256 of {most} classes to 640x480 as JSON",
            lambda labels=labels: [np.frombuffer(label_map_json(labels, rows, columns), np.uint8)],
            theirs,
        )
    if importlib.util.find_spec("pycocotools") is None:
        return
    from pycocotools.mask import encode

    whole = (cv2.resize(random.random((20, 30)), (1920, 1080)) > 0.5).astype(np.int32)
    for name, mask in (("1920x1080", whole), ("120x100", whole[200:300, 300:420])):
        yield Case(
            f"mask {name} to run lengths",
            lambda mask=mask: [np.frombuffer(encode_mask(mask), np.uint8)],
            lambda mask=mask: [np.frombuffer(encode(np.asarray(mask, "uint8", "F"))["counts"], np.uint8)],
        )


def scattered(random, count):
    """Boxes around a tenth as many places, of three classes."""
    places = random.random((max(1, count // 10), 2)) * 900
    corner = places[random.integers(0, len(places), count)] + random.normal(0, 6, (count, 2))
    size = 60 + random.random((count, 2)) * 30
    columns = (random.integers(0, 3, (count, 1)), random.random((count, 1)), corner, corner + size)
    return np.concatenate(columns, axis=1).astype(np.float32)


# --- run -------------------------------------------------------------------------


def check(case: Case) -> None:
    """Raises AssertionError when the two sides differ."""
    ours, theirs = case.ours(), case.theirs()
    assert len(ours) == len(theirs), case.name
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=case.tolerance, err_msg=case.name)


def measure(case: Case, repeats: int) -> dict[str, Any]:
    """Milliseconds of both sides; each pass times a tenth of the repeats of one, then of the other."""
    mine: list[float] = []
    other: list[float] = []
    for _ in range(10):
        mine += time_each(case.ours, repeats=max(1, repeats // 10))
        other += time_each(case.theirs, repeats=max(1, repeats // 10))
    return {
        "kernel": case.name,
        "p50_ms": percentile(mine, 50) * 1e3,
        "p99_ms": percentile(mine, 99) * 1e3,
        "paddlex_p50_ms": percentile(other, 50) * 1e3,
        "paddlex_p99_ms": percentile(other, 99) * 1e3,
        "ratio": percentile(other, 50) / percentile(mine, 50),
    }


def series_cases(random) -> Iterator[Case]:
    yield from (Case(*row) for row in series_steps.rows(random))


CASES = (resize_cases, crop_cases, line_cases, box_cases, text_cases, object_cases, pixel_cases, series_cases)


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--only", metavar="WORD", default="", help="only rows with this word in their name")
    options = made.parse_args()
    cv2.setNumThreads(1)
    random = np.random.default_rng(0)
    cases = [case for make in CASES for case in make(random) if options.only in case.name]
    rows = []
    for case in cases:
        check(case)
        rows.append(measure(case, 20 if options.quick else 300))
    header = ("kernel", "p50 ms", "p99 ms", "PaddleX p50 ms", "p99 ms", "ratio")
    print(table(header, [tuple(row.values()) for row in rows]))
    report("kernels", rows, options=vars(options), path=options.json)


if __name__ == "__main__":
    main()
