"""Slow twin of pipelines/core/draw_boxes.py: the whole picture through Pillow, box after box."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipelines.core.draw_boxes import PALETTE, font_colour


def draw_boxes(picture, boxes, labels, scores, font, recipe):
    """A drawn copy of a BGR picture; ``font``: path."""
    image = Image.fromarray(np.ascontiguousarray(picture[:, :, ::-1]))
    draw, colours = ImageDraw.Draw(image), {}
    thickness = max(1, int(max(image.size) * recipe.line))
    face = ImageFont.truetype(font, int(recipe.font * image.width) + 2, layout_engine=ImageFont.Layout.BASIC)
    for place, (box, label, score) in enumerate(zip(boxes.tolist(), labels, scores, strict=True)):
        index = colours.setdefault(label, place % 20)
        x1, y1, x2, y2 = box
        corners = [(x1, y1), (x1, y2), (x2, y2), (x2, y1), (x1, y1)]
        draw.line(corners, width=thickness, fill=PALETTE[index])
        text = f"{label} {score:.2f}"
        left, top, right, bottom = draw.textbbox((0, 0), text, face)
        wide, high = right - left, bottom - top + 4
        if y1 < high:
            draw.rectangle([(x1, y1), (x1 + wide + 4, y1 + high + 1)], fill=PALETTE[index])
            draw.text((x1 + 2, y1 - 2), text, fill=font_colour(index), font=face)
        else:
            draw.rectangle([(x1, y1 - high), (x1 + wide + 4, y1 + 1)], fill=PALETTE[index])
            draw.text((x1 + 2, y1 - high - 2), text, fill=font_colour(index), font=face)
    return np.asarray(image)[:, :, ::-1]
