"""Real inputs that come with this package: what engines are compared on before one is chosen.

Pages are this project's own renders. Photographs are scikit-image's: astronaut is NASA's and in the public
domain, the others are CC0; nuclei are from stardist (BSD-3), out of the 2018 Data Science Bowl.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

#: Small dense print, a table with lines around its cells, and Chinese on a coloured ground.
PAGES = ("dense_column.png", "mixed_table.png", "chinese_small.jpg")
PICTURES = ("astronaut.jpg", "chelsea.jpg", "coffee.jpg", "brick.jpg", "nuclei.png")

#: For models of text.
TEXTS = (
    "The harbour office opens at half past seven.",
    "Invoice no. 20417 is due on 14 March 2026; please quote it in all letters about this order.",
    "北京南站候车大厅位于二层，请提前三十分钟进站。",
)


def _folder() -> Path:
    return Path(__file__).parent.parent / "examples"


def pages() -> list[NDArray[np.uint8]]:
    """Pages with text, uint8 ``[H, W, 3]`` BGR."""
    return [_read(name) for name in PAGES]


def pictures() -> list[NDArray[np.uint8]]:
    """People, an animal, things, a texture and cells under a microscope, uint8 ``[H, W, 3]`` BGR."""
    return [_read(name) for name in PICTURES]


def file_bytes(name: str) -> bytes:
    """The file of one of ``PAGES`` or ``PICTURES``."""
    return (_folder() / name).read_bytes()


@cache
def digest() -> str:
    """SHA-256 over all of them: results on others cannot be compared."""
    total = hashlib.sha256(repr(TEXTS).encode())
    for name in (*PAGES, *PICTURES):
        total.update(file_bytes(name))
    return total.hexdigest()


def _read(name: str) -> NDArray[np.uint8]:
    return np.asarray(cv2.imread(str(_folder() / name), cv2.IMREAD_COLOR), np.uint8)
