"""Polygons around curved text from a DB probability map (API reference, 9.5, poly mode)."""

from __future__ import annotations

import cv2
import numpy as np
import pyclipper
from numpy.typing import NDArray

from .detection_size import DetectionParams

#: A contour is simplified by at most this share of its length; a grown polygon is at least so wide, pixels.
_SIMPLIFIED, _NARROWEST = 0.002, 5.0
#: A simplified contour with more corners is no text; growing takes time that rises with their square.
MOST_CORNERS = 256


def polygons(
    prob: NDArray[np.float32],
    width: int,
    height: int,
    params: DetectionParams,
    most: int = 1000,
    *,
    dilation: bool = False,
) -> list[NDArray[np.int16]]:
    """Polygons ``[K, 2]`` of the text on one picture, in the order of their contours.

    Args:
        prob: float32 ``[H, W]``.
        width: of the picture that they are scaled to, at most 32767.
        height: of it, at most 32767.
        params: thresholds and by how much a polygon grows, none of them 0.
        most: contours that are looked at.
        dilation: dilate the binary map with a 2x2 square first.
    """
    mask: NDArray[np.uint8] = (prob > params.thresh).astype(np.uint8)
    if dilation:
        mask = np.asarray(cv2.dilate(mask, np.ones((2, 2), np.uint8)), np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    scale = np.array([width / prob.shape[1], height / prob.shape[0]])
    found = []
    for contour in contours[:most]:
        simple = cv2.approxPolyDP(contour, _SIMPLIFIED * cv2.arcLength(contour, True), True)
        points = np.asarray(simple, np.int32).reshape(-1, 2)
        if not 4 <= len(points) <= MOST_CORNERS or _score(prob, points) < params.box_thresh:
            continue
        grown = _grown(points, params.unclip_ratio, max(prob.shape))
        if grown is None or min(cv2.minAreaRect(grown)[1]) < _NARROWEST:
            continue
        found.append(np.rint(grown * scale).clip(0, [width, height]).astype(np.int16))
    return found


def _score(prob: NDArray[np.float32], points: NDArray[np.int32]) -> float:
    """Mean probability inside a polygon."""
    left, top, wide, high = cv2.boundingRect(points)
    mask = np.zeros((high, wide), np.uint8)
    cv2.fillPoly(mask, [points - np.array([left, top], np.int32)], (1.0,))
    return float(cv2.mean(prob[top : top + high, left : left + wide], mask)[0])


def _grown(points: NDArray[np.int32], ratio: float, most: int) -> NDArray[np.int32] | None:
    """The polygon with round corners around it, by at most ``most`` px; None when it falls apart."""
    distance = min(cv2.contourArea(points) * ratio / cv2.arcLength(points, True), most)
    offset = pyclipper.PyclipperOffset()
    offset.AddPath(points.tolist(), pyclipper.JT_ROUND, pyclipper.ET_CLOSEDPOLYGON)
    paths = offset.Execute(distance)
    return np.array(paths[0], np.int32) if len(paths) == 1 else None
