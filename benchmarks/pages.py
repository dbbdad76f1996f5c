"""The image set of the OCR benchmarks: 13 rendered documents, 640x480 to 1600x2000, from a seed.

    python -m benchmarks.pages FOLDER            write one /ocr request body per document
    python -m benchmarks.pages --images FOLDER   write the images themselves

Kinds and sizes are those of a document service's mixed load: letters, receipts, tables, slides, signs,
Chinese and English, clean and noisy, straight and tilted. All text is made of random words.
"""

from __future__ import annotations

import argparse
import io
import random
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

WORDS = (
    "harbour", "office", "parcel", "receipt", "invoice", "northern", "station", "record", "building",
    "platform", "customer", "market", "service", "morning", "delivery", "payment", "contract", "version",
    "library", "weather", "summer", "window", "engine", "garden", "balance", "account", "minute", "section",
    "address", "quality", "report", "number", "total", "amount", "price", "order", "street", "bridge",
)  # fmt: skip
HAN = (
    "北京南站候车大厅位于二层请提前三十分钟进本次会议将月四日上午九点开始今天气晴朗图书馆放时间周一至五"
    "合同编号与发票金额必须购买满百元可享受免费送货服务他们在河边种了许多柳树和桃花"
)


class Sheet(NamedTuple):
    """One document: size in pixels, text columns and rows, letter height, and what was done to it."""

    name: str
    width: int
    height: int
    columns: int
    rows: int
    letters: int
    han: bool = False
    words: tuple[int, int] = (4, 8)
    ending: str = "jpg"
    degrees: float = 0.0
    blur: float = 0.0
    grain: float = 0.0
    dark: bool = False


SHEETS = (
    Sheet("caption", 640, 480, 1, 6, 26, words=(3, 6)),
    Sheet("card", 640, 480, 1, 9, 22, words=(2, 4), ending="png"),
    Sheet("sign", 800, 600, 1, 4, 64, words=(1, 3)),
    Sheet("photo", 1024, 768, 1, 12, 30, words=(3, 6), degrees=4.0, blur=0.6, grain=6.0),
    Sheet("slide", 1280, 720, 2, 8, 30, words=(2, 4), ending="png", dark=True),
    Sheet("screen", 1366, 768, 3, 16, 18, words=(2, 4), ending="png"),
    Sheet("receipt", 600, 1400, 2, 24, 22, words=(1, 2), grain=5.0),
    Sheet("chinese", 900, 1300, 1, 24, 26, han=True, words=(9, 26)),
    Sheet("notice", 1000, 800, 1, 14, 34, han=True, words=(6, 20), ending="png"),
    Sheet("table", 1200, 900, 4, 16, 22, words=(1, 2)),
    Sheet("letter", 1240, 1754, 1, 34, 27, words=(5, 11)),
    Sheet("scan", 1100, 1500, 1, 30, 25, words=(5, 10), blur=0.8, grain=12.0),
    Sheet("article", 1600, 2000, 2, 32, 25, words=(5, 8)),
)


def written(sheet: Sheet, font: str, seed: int = 1) -> list[tuple[float, float, str]]:
    """(left, top, text) of every line of ``sheet``, row by row; ``font`` decides how long a line may be."""
    generator = random.Random(f"{sheet.name}-{seed}")
    face = ImageFont.truetype(font, sheet.letters)
    margin = sheet.width // 16
    step = (sheet.height - 2 * margin) / sheet.rows
    column = (sheet.width - 2 * margin) / sheet.columns
    found = []
    for row in range(sheet.rows):
        for place in range(sheet.columns):
            text = _line(sheet, generator)
            while face.getlength(text) > column - sheet.letters:
                text = text[:-1].rstrip()
            found.append((margin + place * column, margin + row * step, text))
    return found


def render(sheet: Sheet, font: str, seed: int = 1) -> bytes:
    """The encoded image of ``sheet``; ``font`` is a file that has Latin and simplified Chinese glyphs."""
    ink, paper = ((235, 238, 245), (24, 30, 44)) if sheet.dark else ((25, 25, 30), (250, 249, 245))
    image = Image.new("RGB", (sheet.width, sheet.height), paper)
    draw = ImageDraw.Draw(image)
    face = ImageFont.truetype(font, sheet.letters)
    for left, top, text in written(sheet, font, seed):
        draw.text((left, top), text, font=face, fill=ink)
    return _encoded(_worn(image, sheet, paper, seed), sheet.ending)


def _line(sheet: Sheet, generator: random.Random) -> str:
    count = generator.randint(*sheet.words)
    if sheet.han:
        return "".join(generator.choices(HAN, k=count))
    words = generator.choices(WORDS, k=count)
    if generator.random() < 0.5:
        words[generator.randrange(count)] = f"{generator.uniform(1, 9999):,.2f}"
    return " ".join(words).capitalize()


def _worn(image: Image.Image, sheet: Sheet, paper: tuple[int, int, int], seed: int) -> Image.Image:
    """``image`` tilted, blurred and grained as ``sheet`` says."""
    if sheet.degrees:
        image = image.rotate(sheet.degrees, Image.Resampling.BICUBIC, fillcolor=paper)
    if sheet.blur:
        image = image.filter(ImageFilter.GaussianBlur(sheet.blur))
    if sheet.grain:
        grain = np.random.default_rng(seed).normal(0, sheet.grain, (sheet.height, sheet.width, 1))
        image = Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))
    return image


def _encoded(image: Image.Image, ending: str) -> bytes:
    out = io.BytesIO()
    if ending == "png":
        image.save(out, "PNG")
    else:
        image.save(out, "JPEG", quality=90)
    return out.getvalue()


def render_all(font: str, seed: int = 1) -> list[bytes]:
    """All sheets in the order of ``SHEETS``."""
    return [render(sheet, font, seed) for sheet in SHEETS]


def main() -> None:
    from . import load, peers

    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("--images", action="store_true", help="images, not request bodies")
    found = options.parse_args()
    found.folder.mkdir(parents=True, exist_ok=True)
    for sheet, image in zip(SHEETS, render_all(peers.font()), strict=True):
        name = f"{sheet.name}.{sheet.ending}" if found.images else f"{sheet.name}.json"
        (found.folder / name).write_bytes(image if found.images else load.ocr_body(image))


if __name__ == "__main__":
    main()
