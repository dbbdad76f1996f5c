"""Draws the inputs of the OCR golden cases, for ``record_ocr.py``.

Every function draws one page and is named after its file; everything random comes from a seed.
The committed files are what the recorded outputs belong to: drawing them again may give other
bytes with another Pillow or FreeType.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from sentences import CHINESE, ENGLISH, MIXED


class Fonts:
    """Fonts by short name: sans, serif, mono, bold and cjk from files; plain is Pillow's own."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self._paths = paths

    def __call__(self, name: str, size: int) -> ImageFont.FreeTypeFont:
        if name == "plain":
            return ImageFont.load_default(size)
        return ImageFont.truetype(str(self._paths[name]), size)


def page(width: int, height: int, colour: object = "white") -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (width, height), colour)
    return image, ImageDraw.Draw(image)


def lines(draw: ImageDraw.ImageDraw, texts, font, left=24, top=18, step=40, fill="black") -> None:
    for row, text in enumerate(texts):
        draw.text((left, top + row * step), text, font=font, fill=fill)


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


def jpeg(image: Image.Image, quality: int = 88, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality, **options)
    return out.getvalue()


def noise(image: Image.Image, sigma: float, seed: int) -> Image.Image:
    grain = np.random.default_rng(seed).normal(0, sigma, (image.height, image.width, 1))
    return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))


def sans_letter(fonts: Fonts) -> bytes:
    image, draw = page(640, 480)
    lines(draw, ENGLISH[:11], fonts("sans", 22), step=41)
    return png(image)


def serif_page(fonts: Fonts) -> bytes:
    image, draw = page(600, 400, (252, 248, 236))
    lines(draw, ENGLISH[3:12], fonts("serif", 21), left=30, fill=(40, 30, 20), step=42)
    return jpeg(image)


def mono_listing(fonts: Fonts) -> bytes:
    image, draw = page(560, 330)
    code = (
        "def area(w: float, h: float) -> float:", "    if w < 0 or h < 0:",
        "        raise ValueError('negative')", "    return w * h", "for i in range(10):",
        "    print(i, area(i, 2.5))", "total = sum([1, 2, 3]) / 3", "print(f'{total:.2f}')",
    )  # fmt: skip
    lines(draw, code, fonts("mono", 19), step=38)
    return png(image)


def plain_columns(fonts: Fonts) -> bytes:
    image, draw = page(720, 360)
    plain, bold = fonts("plain", 24), fonts("bold", 22)
    amounts = ("1,204.10", "998.00", "1,350.75", "870.20", "-45.00", "2,010.99", "0.00")
    lines(draw, ("January", "February", "March", "April", "May", "June", "July"), plain, step=47)
    lines(draw, amounts, plain, left=270, top=22, step=47)
    states = ("paid", "paid", "open", "paid", "refund", "open", "void")
    lines(draw, states, bold, left=520, top=14, step=47)
    return png(image)


def receipt(fonts: Fonts) -> bytes:
    image, draw = page(320, 560, (246, 246, 240))
    goods = (
        ("Whole milk 1L", "1.25"), ("Brown bread", "2.10"), ("Eggs x 12", "3.49"), ("Apples 1.2 kg", "2.88"),
        ("Batteries AA", "5.99"), ("Tea bags 80", "4.20"),
    )  # fmt: skip
    lines(draw, ("HARBOUR MARKET", "7 Quay Street", "Tel 020 7946 0137"), fonts("bold", 22), left=48, step=34)
    for row, (name, price) in enumerate(goods):
        lines(draw, (name,), fonts("mono", 18), top=150 + 44 * row)
        lines(draw, (price,), fonts("mono", 18), left=238, top=150 + 44 * row)
    lines(draw, ("TOTAL", "CARD ****4417"), fonts("bold", 22), top=440, step=44)
    lines(draw, ("19.91",), fonts("bold", 22), left=232, top=440)
    return jpeg(noise(image, 5, 1), 80)


def chinese_page(fonts: Fonts) -> bytes:
    image, draw = page(680, 400)
    lines(draw, CHINESE, fonts("cjk", 25), step=47)
    return png(image)


def chinese_small(fonts: Fonts) -> bytes:
    image, draw = page(420, 260, (240, 244, 250))
    lines(draw, CHINESE, fonts("cjk", 16), step=30, fill=(20, 30, 80))
    return jpeg(image, 92)


def mixed_table(fonts: Fonts) -> bytes:
    image, draw = page(720, 300)
    lefts = (20, 270, 390, 550)
    for row, cells in enumerate(MIXED):
        draw.line((10, 14 + 56 * row, 710, 14 + 56 * row), fill="black", width=2)
        for left, cell in zip(lefts, cells, strict=True):
            draw.text((left, 26 + 56 * row), cell, font=fonts("cjk", 23), fill="black")
    for x in (10, 255, 375, 535, 710):
        draw.line((x, 14, x, 14 + 56 * len(MIXED)), fill="black", width=2)
    draw.line((10, 294, 710, 294), fill="black", width=2)
    return png(image)


def turned(fonts: Fonts, texts, font: str, size: int, degrees: float) -> Image.Image:
    image, draw = page(560, 330, (250, 250, 250))
    lines(draw, texts, fonts(font, size), left=40, top=40, step=48)
    return image.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=(250, 250, 250))


def tilt_left(fonts: Fonts) -> bytes:
    return jpeg(turned(fonts, ENGLISH[:6], "sans", 20, 3.5))


def tilt_right(fonts: Fonts) -> bytes:
    return jpeg(turned(fonts, CHINESE[:5], "cjk", 21, -8))


def tilt_steep(fonts: Fonts) -> bytes:
    return jpeg(turned(fonts, ENGLISH[6:11], "serif", 19, 24))


def quarter_turn(fonts: Fonts) -> bytes:
    return png(turned(fonts, ENGLISH[4:9], "sans", 20, -90))


def upside_down(fonts: Fonts) -> bytes:
    return png(turned(fonts, ENGLISH[:5], "sans", 21, 180))


def vertical_columns(fonts: Fonts) -> bytes:
    image, draw = page(360, 320)
    for column, text in enumerate(("春眠不觉晓", "处处闻啼鸟", "夜来风雨声", "花落知多少")):
        lines(draw, text, fonts("cjk", 34), left=280 - 76 * column, top=60, step=37)
    return png(image)


def light_on_dark(fonts: Fonts) -> bytes:
    image, draw = page(600, 320, (18, 24, 38))
    lines(draw, ENGLISH[1:5], fonts("sans", 22), fill=(235, 240, 250), step=46)
    lines(draw, CHINESE[5:7], fonts("cjk", 24), top=206, step=50, fill=(255, 205, 90))
    return png(image)


def low_contrast(fonts: Fonts) -> bytes:
    image, draw = page(600, 260, (205, 205, 205))
    lines(draw, ENGLISH[5:10], fonts("sans", 22), fill=(150, 150, 150), step=46)
    return jpeg(image, 75)


def noisy_scan(fonts: Fonts) -> bytes:
    image, draw = page(600, 330, (238, 236, 228))
    lines(draw, ENGLISH[2:9], fonts("serif", 22), step=44, fill=(60, 60, 60))
    return jpeg(noise(image.filter(ImageFilter.GaussianBlur(0.9)), 16, 2), 70)


def dense_small(fonts: Fonts) -> bytes:
    image, draw = page(560, 300)
    for column in range(2):
        lines(draw, [*ENGLISH, *ENGLISH[:6]], fonts("sans", 10), left=12 + 275 * column, top=8, step=16)
    return png(image)


def one_long_line(fonts: Fonts) -> bytes:
    image, draw = page(2000, 96)
    lines(draw, (" ".join(ENGLISH[:6])[:200],), fonts("sans", 18), left=16, top=36)
    return png(image)


def big_title(fonts: Fonts) -> bytes:
    image, draw = page(640, 320)
    lines(draw, ("OPEN 24h",), fonts("bold", 110), left=20, top=10)
    lines(draw, ("欢迎光临",), fonts("cjk", 120), left=70, top=140)
    return png(image)


def coloured_poster(fonts: Fonts) -> bytes:
    ramp = np.linspace(0, 1, 420)[None, :, None] * np.array([120, -60, 90]) + np.array([110, 160, 90])
    image = Image.fromarray(np.broadcast_to(ramp, (380, 420, 3)).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    lines(draw, ("SUMMER", "FAIR 2026"), fonts("bold", 58), left=36, top=30, step=76, fill=(255, 250, 200))
    when = ("Saturday 20 June, 10 to 17", "Market Square - free entry")
    lines(draw, when, fonts("sans", 22), left=40, top=220, step=48, fill=(10, 20, 60))
    lines(draw, ("夏季集市欢迎您",), fonts("cjk", 34), left=70, top=312, fill="white")
    return jpeg(image, 90)


def empty_page(fonts: Fonts) -> bytes:
    return png(page(320, 240)[0])


def tiny(fonts: Fonts) -> bytes:
    image, draw = page(38, 22)
    lines(draw, ("A7",), fonts("sans", 16), left=6, top=1)
    return png(image)


def one_pixel(fonts: Fonts) -> bytes:
    return png(page(1, 1, "black")[0])


def exif_turned(fonts: Fonts) -> bytes:
    image, draw = page(480, 200)
    lines(draw, ENGLISH[8:12], fonts("sans", 20), step=44)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned: shown after a quarter turn clockwise
    return jpeg(image.transpose(Image.Transpose.ROTATE_90), 90, exif=exif)


def see_through(fonts: Fonts) -> bytes:
    image = Image.new("RGBA", (440, 130), (255, 255, 255, 0))
    draw = ImageDraw.Draw(image)
    lines(draw, ENGLISH[:2], fonts("sans", 18), step=52, fill=(0, 0, 0, 255))
    return png(image)


def grey_16bit(fonts: Fonts) -> bytes:
    image, draw = page(440, 130)
    lines(draw, ENGLISH[2:4], fonts("serif", 20), step=52)
    wide = np.asarray(image.convert("L")).astype(np.uint16) * 200 + 4000
    return png(Image.fromarray(wide))


def _sheets(fonts: Fonts) -> list[Image.Image]:
    sheets = []
    for number, texts in enumerate((ENGLISH[:3], ENGLISH[9:12])):
        image, draw = page(500, 170 + 20 * number)
        lines(draw, (f"Sheet {number + 1} of 2", *texts), fonts("sans", 19), step=38)
        sheets.append(image.convert("L"))
    return sheets


def two_pages(fonts: Fonts) -> bytes:
    first, second = _sheets(fonts)
    out = io.BytesIO()
    # 144 dpi and the renderer's scale of 2 give back the pixels of the sheets, near enough.
    dates = dict.fromkeys(("creationDate", "modDate"), time.gmtime(0))
    first.save(out, "PDF", save_all=True, append_images=[second], resolution=144, quality=90, **dates)
    return out.getvalue()


def two_frames(fonts: Fonts) -> bytes:
    first, second = _sheets(fonts)
    out = io.BytesIO()
    first.save(out, "TIFF", save_all=True, append_images=[second], compression="tiff_lzw")
    return out.getvalue()


_PNG = (
    sans_letter, mono_listing, plain_columns, chinese_page, mixed_table, quarter_turn, upside_down,
    vertical_columns, light_on_dark, dense_small, one_long_line, big_title, empty_page, tiny, one_pixel,
    see_through, grey_16bit,
)  # fmt: skip
_JPEG = (
    serif_page, receipt, chinese_small, tilt_left, tilt_right, tilt_steep, low_contrast, noisy_scan,
    coloured_poster, exif_turned,
)  # fmt: skip

#: File name to the function that draws it.
INPUTS: dict[str, Callable[[Fonts], bytes]] = {
    **{f"{draw.__name__}.png": draw for draw in _PNG},
    **{f"{draw.__name__}.jpg": draw for draw in _JPEG},
    "two_pages.pdf": two_pages,
    "two_frames.tiff": two_frames,
}
