"""Slow twin of kernels/boxes.pyx: PaddleX 3.7.2's DB post-processing with OpenCV and pyclipper."""

import math

import cv2
import numpy as np
import pyclipper

from tests.reference.warp import ordered_corners


def box_score_fast(prob, box):
    """Mean probability over the filled quad, its corners truncated to int after the shift."""
    height, width = prob.shape
    left = max(0, min(math.floor(box[:, 0].min()), width - 1))
    right = max(0, min(math.ceil(box[:, 0].max()), width - 1))
    top = max(0, min(math.floor(box[:, 1].min()), height - 1))
    bottom = max(0, min(math.ceil(box[:, 1].max()), height - 1))
    mask = np.zeros((bottom - top + 1, right - left + 1), dtype=np.uint8)
    shifted = box - np.array([left, top], dtype=np.float32)
    cv2.fillPoly(mask, shifted.reshape(1, -1, 2).astype(np.int32), 1)
    return cv2.mean(prob[top : bottom + 1, left : right + 1], mask)[0]


def unclip(box, ratio):
    """Grow a float32 quad; None when Clipper leaves nothing of it."""
    distance = cv2.contourArea(box) * ratio / cv2.arcLength(box, True)
    offset = pyclipper.PyclipperOffset()
    offset.AddPath(box, pyclipper.JT_ROUND, pyclipper.ET_CLOSEDPOLYGON)
    polygons = offset.Execute(distance)
    return np.array(polygons[0]) if polygons else None


def scaled(value, ratio, limit):
    return max(0, min(round(value * ratio), limit))


def db_boxes(
    prob,
    src_width,
    src_height,
    thresh,
    box_thresh,
    unclip_ratio,
    max_candidates=1000,
    min_size=3.0,
    dilation=False,
):
    mask = (prob > thresh).astype(np.uint8)
    if dilation:
        mask = cv2.dilate(mask, np.array([[1, 1], [1, 1]], dtype=np.uint8))
    contours, _ = cv2.findContours(mask * 255, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    width_ratio, height_ratio = src_width / prob.shape[1], src_height / prob.shape[0]
    boxes, scores = [], []
    for contour in contours[:max_candidates]:
        corners, short_side = ordered_corners(contour)
        if short_side < min_size:
            continue
        score = box_score_fast(prob, corners)
        if box_thresh > score:
            continue
        grown = unclip(corners, unclip_ratio)
        if grown is None:
            continue
        corners, short_side = ordered_corners(grown.reshape(-1, 1, 2).astype(np.int32))
        if short_side < min_size + 2:
            continue
        boxes.append(
            [
                [scaled(float(x), width_ratio, src_width), scaled(float(y), height_ratio, src_height)]
                for x, y in corners
            ]
        )
        scores.append(score)
    return np.array(boxes, dtype=np.int16).reshape(-1, 4, 2), np.array(scores, dtype=np.float64)


def sort_boxes(boxes):
    order = sorted(boxes, key=lambda box: (box[0][1], box[0][0]))
    for last in range(len(order) - 1):
        for index in range(last, -1, -1):
            here, following = order[index][0], order[index + 1][0]
            close = abs(int(following[1]) - int(here[1])) < 10
            if not (close and following[0] < here[0]):
                break
            order[index], order[index + 1] = order[index + 1], order[index]
    return np.array(order, dtype=np.int16).reshape(-1, 4, 2)
