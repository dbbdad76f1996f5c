"""What ``tight`` line padding does to the texts: exact and tight against what was drawn.

    python -m benchmarks.padding [--engine onnxruntime] [--json FILE]

Reads the benchmark's image set in this process, once with PaddleX's padding and once with each
line's own. Counts the lines that differ and the character errors of both (edit distance to the
drawn text; the recogniser drops many spaces, so errors without spaces are counted too).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from pipelines.core.base import Item
from pipelines.core.detection_size import DetectionParams
from pipelines.core.ocr_api import OcrParams
from tests.driver import Driver, config_of

from . import pages, peers
from .common import parser, report, table

MODELS = {"text_detection": peers.DETECTION, "text_recognition": peers.RECOGNITION}
OPTIONS = {"use_doc_preprocessor": False, "use_textline_orientation": False}


def driver(engine: str, padding: str, load: Callable[[Any], Any] | None = None) -> Driver:
    """PP-OCRv4 mobile in this process, without orientation models; ``load`` makes a stage's engine."""
    absent = ("doc_orientation", "textline_orientation")
    config = config_of("OCR", engine, padding=padding, models=MODELS, options=OPTIONS, leave_out=absent)
    return Driver(config, load)


def read(engine: str, padding: str, images: Sequence[bytes]) -> list[list[str]]:
    """Texts per image, detection at full size."""
    with driver(engine, padding) as run:
        return [read_one(run, image) for image in images]


def read_one(run: Driver, image: bytes) -> list[str]:
    """Texts of one image."""
    params = OcrParams(detection=DetectionParams(limit_side_len=64, limit_type="min"))
    pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    (page,) = run(Item(params=params, image=pixels))
    if isinstance(page, Exception):
        raise page
    return list(page.texts)


def distance(first: str, second: str) -> int:
    """Edit distance."""
    previous = list(range(len(second) + 1))
    for row, left in enumerate(first, 1):
        current = [row]
        for column, right in enumerate(second, 1):
            change = previous[column - 1] + (left != right)
            current.append(min(previous[column] + 1, current[-1] + 1, change))
        previous = current
    return previous[-1]


def solid(text: str) -> str:
    return text.replace(" ", "")


def errors(found: Sequence[str], drawn: Sequence[str]) -> tuple[int, int, int]:
    """(character errors, the same without spaces, whole lines right) over the drawn lines."""
    total = without = right = 0
    for line in drawn:
        nearest = min(found, key=lambda text: distance(solid(line), solid(text)), default="")
        total += distance(line, nearest)
        without += distance(solid(line), solid(nearest))
        right += line == nearest
    return total, without, right


def compare(engine: str, sheets: Sequence[pages.Sheet] = pages.SHEETS) -> list[dict[str, Any]]:
    """One row per sheet, and their sum."""
    font = peers.font()
    images = [pages.render(sheet, font) for sheet in sheets]
    exact, tight = (read(engine, padding, images) for padding in ("exact", "tight"))
    rows = []
    for sheet, before, after in zip(sheets, exact, tight, strict=True):
        drawn = [text for *_, text in pages.written(sheet, font)]
        row = {"sheet": sheet.name, "lines": len(before), "characters": sum(map(len, drawn))}
        row["differ"] = sum(a != b for a, b in zip(before, after, strict=True))
        row["differ_solid"] = sum(solid(a) != solid(b) for a, b in zip(before, after, strict=True))
        for name, texts in (("exact", before), ("tight", after)):
            row[f"{name}_errors"], row[f"{name}_errors_solid"], row[f"{name}_right"] = errors(texts, drawn)
        rows.append(row)
    total = {key: sum(row[key] for row in rows) for key in rows[0] if key != "sheet"}
    return [*rows, {"sheet": "all", **total}]


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--engine", default="onnxruntime")
    found = options.parse_args()
    rows = compare(found.engine, pages.SHEETS[:3] if found.quick else pages.SHEETS)
    print(table(list(rows[0]), [list(row.values()) for row in rows]))
    print("_solid: spaces do not count; _right: whole lines as drawn")
    report("padding", rows, options=vars(found), path=found.json)


if __name__ == "__main__":
    main()
