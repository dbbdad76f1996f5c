"""Plots of series as PaddleX 3.x draws them, without matplotlib (API reference, section 4).

Loading matplotlib takes half a second and 40 MB in every worker, and a plot a third of a second. What is on
it is the same: a figure of 12 by 6 inches at 100 dots per inch, cut to what is drawn, a tick at every tenth
point. Lines are OpenCV's, text is Pillow's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .plot_axes import dashes, few_points, number_labels, ticks

Picture = NDArray[np.uint8]

#: matplotlib's axes in a figure of 1200 x 600, pixels; below them is room for slanted labels.
LEFT, TOP, RIGHT, BOTTOM = 150, 72, 1080, 534
_WIDTH, _HEIGHT = 1200, 780
#: Room between curves and axes as a share of the curves' extent; around the cut figure, pixels.
_MARGIN, _PAD = 0.05, 10
#: Points from tick to tick, and pixels below which the label of a tick is left out.
_EVERY, _APART = 10, 12
#: Lengths and font sizes, pixels: 3.5 points are 5 pixels, 10 points 14.
_TICK, _TEXT, _TITLE, _HANDLE = 5, 14, 17, 28
_BLACK, _GRID, _FRAME, _WHITE = (0, 0, 0), (176, 176, 176), (204, 204, 204), (255, 255, 255)
#: The channel that a colour leaves alone.
_COLOURS = {"blue": 0, "red": 2}
#: Curves are 1.5 points, so 2 pixels, wide: drawn twice as large, at sixteenths of a pixel, then shrunk.
_ZOOM, _SHIFT, _THICK = 2, 4, 4
#: Characters of a text and of a slanted label; what is longer would not fit.
_MOST_TEXT, _MOST_LABEL = 60, 30


class Line(msgspec.Struct, frozen=True):
    """One curve.

    Attributes:
        name: in the legend.
        colour: ``blue`` or ``red``.
        labels: where the points are on the axis of times.
        values: float64, as many heights.
        dashed, stepped: how it is drawn.
    """

    name: str
    colour: str
    labels: list[str]
    values: np.ndarray
    dashed: bool = False
    stepped: bool = False


class Plot(msgspec.Struct, frozen=True):
    """A figure of at least one line. Equal labels of two lines are one place."""

    title: str
    y_label: str
    lines: list[Line]


def draw_plot(plot: Plot, font: str) -> Picture:
    """The figure, uint8 ``[H, W, 3]`` BGR.

    Args:
        plot: what is on it.
        font: path of a font file; "" for Pillow's own, which has Latin letters only.
    """
    return _Figure(plot, font).picture()


class _Figure:
    """One figure while it is drawn."""

    def __init__(self, plot: Plot, font: str) -> None:
        self._plot = plot
        self._fonts = {size: _font(font, size) for size in (_TEXT, _TITLE)}
        self._canvas: Picture = np.full((_HEIGHT, _WIDTH, 3), 255, np.uint8)
        self._places = {label: place for place, label in enumerate(_unique(plot.lines))}
        self._names = list(self._places)
        heights = np.concatenate([line.values for line in plot.lines])
        self._low, self._high = _limits(heights.min(), heights.max())
        reach = _MARGIN * max(1, len(self._places) - 1)
        self._first, self._last = -reach, len(self._places) - 1 + reach
        self._drawn: list[NDArray[np.float64]] = []
        self._box = [LEFT, TOP, RIGHT + 1, BOTTOM + 1]

    def picture(self) -> Picture:
        """Draw everything and cut the figure."""
        below = self._time_axis()
        beside = self._height_axis()
        for line in self._plot.lines:
            self._line(line)
        cv2.rectangle(self._canvas, (LEFT, TOP), (RIGHT, BOTTOM), _BLACK)
        self._legend()
        middle = (LEFT + RIGHT) // 2
        self._paste(self._text(self._plot.title, _TITLE), middle, TOP - 8, 0.5, 1)
        self._paste(self._text("Time", _TEXT), middle, below + 4, 0.5, 0)
        label = np.rot90(self._text(self._plot.y_label, _TEXT))
        self._paste(label, beside - 6, (TOP + BOTTOM) // 2, 1, 0.5)
        left, top, right, bottom = self._box
        return np.ascontiguousarray(
            self._canvas[max(0, top - _PAD) : bottom + _PAD, max(0, left - _PAD) : right + _PAD]
        )

    # --- axes

    def _x(self, place: NDArray[np.float64] | float) -> NDArray[np.float64]:
        return np.asarray(LEFT + (place - self._first) / (self._last - self._first) * (RIGHT - LEFT))

    def _y(self, height: NDArray[np.float64] | float) -> NDArray[np.float64]:
        return np.asarray(BOTTOM - (height - self._low) / (self._high - self._low) * (BOTTOM - TOP))

    def _time_axis(self) -> int:
        """Grid and slanted labels; returns how far down they reach."""
        below, before = BOTTOM + 2 * _TICK, -math.inf
        for place in range(0, len(self._names), _EVERY):
            x = round(float(self._x(place)))
            cv2.line(self._canvas, (x, TOP), (x, BOTTOM), _GRID)
            cv2.line(self._canvas, (x, BOTTOM), (x, BOTTOM + _TICK), _BLACK)
            if x - before >= _APART:
                slanted = _slanted(self._text(self._names[place][:_MOST_LABEL], _TEXT))
                below = max(below, self._paste(slanted, x, BOTTOM + 2 * _TICK, 0.5, 0)[1])
                before = x
        return below

    def _height_axis(self) -> int:
        """Grid and labels; returns how far left they reach."""
        beside, heights = LEFT - 2 * _TICK, ticks(self._low, self._high)
        for height, label in zip(heights, number_labels(heights), strict=True):
            y = round(float(self._y(height)))
            cv2.line(self._canvas, (LEFT, y), (RIGHT, y), _GRID)
            cv2.line(self._canvas, (LEFT - _TICK, y), (LEFT, y), _BLACK)
            shown = self._text(label, _TEXT)
            self._paste(shown, LEFT - 2 * _TICK, y, 1, 0.5)
            beside = min(beside, LEFT - 2 * _TICK - shown.shape[1])
        return beside

    # --- curves

    def _line(self, line: Line) -> None:
        places = np.array([self._places[label] for label in line.labels], dtype=np.float64)
        x, y = self._x(places), self._y(line.values)
        if line.stepped:
            x, y = np.repeat(x, 2)[1:], np.repeat(y, 2)[:-1]
        points = few_points(np.stack([x, y], axis=1))
        self._drawn.append(points)
        parts = dashes(points) if line.dashed else [points]
        self._strokes(parts, line.colour)

    def _strokes(self, parts: Sequence[NDArray[np.float64]], colour: str) -> None:
        """Blend polylines in: their colour keeps its channel white and darkens the others."""
        corners = np.concatenate(parts)
        left, top = np.floor(corners.min(axis=0)).astype(int) - 2
        right, bottom = np.ceil(corners.max(axis=0)).astype(int) + 3
        mask = np.zeros((_ZOOM * (bottom - top), _ZOOM * (right - left)), np.uint8)
        fixed = [np.rint((part - (left, top)) * _ZOOM * 2**_SHIFT).astype(np.int32) for part in parts]
        cv2.polylines(mask, fixed, False, (255,), _THICK, cv2.LINE_8, _SHIFT)
        mask = cv2.resize(mask, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
        part = self._canvas[top:bottom, left:right]
        for channel in range(3):
            paled = cv2.multiply(part[..., channel], 255 - mask, scale=1 / 255)
            part[..., channel] = cv2.add(paled, mask) if channel == _COLOURS[colour] else paled

    # --- legend and text

    def _legend(self) -> None:
        """A box with all names in the corner that hides least of the curves."""
        names = [self._text(line.name, _TEXT) for line in self._plot.lines]
        width, height = _HANDLE + 26 + max(name.shape[1] for name in names), 8 + 20 * len(names)
        corners = [
            (RIGHT - 7 - width, TOP + 7),
            (LEFT + 7, TOP + 7),
            (LEFT + 7, BOTTOM - 7 - height),
            (RIGHT - 7 - width, BOTTOM - 7 - height),
        ]
        left, top = min(corners, key=lambda corner: self._hidden(corner, (width, height)))
        box = self._canvas[top : top + height, left : left + width]
        box[:] = cv2.addWeighted(box, 0.2, np.full_like(box, 255), 0.8, 0)
        cv2.rectangle(self._canvas, (left, top), (left + width, top + height), _FRAME)
        for number, (line, name) in enumerate(zip(self._plot.lines, names, strict=True)):
            y = top + 14 + 20 * number
            handle = np.array([[left + 6.0, y], [left + 6.0 + _HANDLE, y]])
            parts = dashes(handle) if line.dashed else [handle]
            self._strokes(parts, line.colour)
            self._paste(name, left + 16 + _HANDLE, y, 0, 0.5)

    def _hidden(self, corner: tuple[int, int], size: tuple[int, int]) -> int:
        """Points of curves, and middles between them, in a box."""
        points = np.concatenate([part for line in self._drawn for part in (line, (line[1:] + line[:-1]) / 2)])
        inside = (points >= corner) & (points <= np.add(corner, size))
        return int(inside.all(axis=1).sum())

    def _text(self, words: str, size: int) -> Picture:
        """Grey, black on white, as wide as the text and as high as its line."""
        words, font = words[:_MOST_TEXT] or " ", self._fonts[size]
        left, top, right, bottom = font.getbbox(words)
        shown = Image.new("L", (max(1, math.ceil(right - left)), max(1, math.ceil(bottom - top))), 255)
        ImageDraw.Draw(shown).text((-left, -top), words, fill=0, font=font)
        return np.asarray(shown, dtype=np.uint8)

    def _paste(self, grey: Picture, x: int, y: int, right: float, down: float) -> tuple[int, int]:
        """Put a text at a point: the point is at the shares ``right`` and ``down`` of it. Returns its end."""
        height, width = grey.shape
        left, top = max(0, round(x - right * width)), max(0, round(y - down * height))
        part = self._canvas[top : top + height, left : left + width]
        np.minimum(part, grey[: part.shape[0], : part.shape[1], np.newaxis], out=part)
        end = left + part.shape[1], top + part.shape[0]
        self._box = [*map(min, self._box, (left, top)), *map(max, self._box[2:], end)]
        return end


def _font(path: str, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    if not path:
        return ImageFont.load_default(size)
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


def _unique(lines: Sequence[Line]) -> dict[str, None]:
    return dict.fromkeys(label for line in lines for label in line.labels)


def _limits(low: float, high: float) -> tuple[float, float]:
    """Ends of the axis of heights."""
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        spread = _MARGIN * abs(low) or _MARGIN
        return low - spread, high + spread
    return low - _MARGIN * (high - low), high + _MARGIN * (high - low)


def _slanted(grey: Picture) -> Picture:
    """A text that rises by 45 degrees."""
    turned = Image.fromarray(grey).rotate(45, Image.Resampling.BICUBIC, expand=True, fillcolor=255)
    return np.asarray(turned, dtype=np.uint8)
