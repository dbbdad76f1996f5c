"""Slow twin of kernels/warp.pyx: PaddleX 3.7.2's minimum-area crop with OpenCV and NumPy."""

import cv2
import numpy as np

from tests.reference.resize import resize_normalize_chw


def ordered_corners(points):
    """Corners of the minimum-area rectangle: top-left, top-right, bottom-right, bottom-left."""
    rectangle = cv2.minAreaRect(points)
    corners = sorted(cv2.boxPoints(rectangle), key=lambda corner: corner[0])
    (top_left, bottom_left), (top_right, bottom_right) = corners[:2], corners[2:]
    if not bottom_left[1] > top_left[1]:
        top_left, bottom_left = bottom_left, top_left
    if not bottom_right[1] > top_right[1]:
        top_right, bottom_right = bottom_right, top_right
    return np.array([top_left, top_right, bottom_right, bottom_left]), min(rectangle[1])


def unturned_size(corners):
    """Width and height of the crop in whole pixels before the turn."""
    top_left, top_right, bottom_right, bottom_left = corners
    width = int(max(np.linalg.norm(top_left - top_right), np.linalg.norm(bottom_right - bottom_left)))
    height = int(max(np.linalg.norm(top_left - bottom_left), np.linalg.norm(top_right - bottom_right)))
    if width < 1 or height < 1:
        raise ValueError(f"the box is {width} x {height} pixels")
    return width, height


def crop_size(quad):
    width, height = unturned_size(ordered_corners(quad.astype(np.int32))[0])
    turned = height / width >= 1.5
    return (height, width, True) if turned else (width, height, False)


def line_picture(image, quad):
    corners, _ = ordered_corners(quad.astype(np.int32))
    width, height = unturned_size(corners)
    target = np.float32([[0, 0], [width, 0], [width, height], [0, height]])
    matrix = cv2.getPerspectiveTransform(corners, target)
    picture = cv2.warpPerspective(
        image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE, flags=cv2.INTER_CUBIC
    )
    return np.rot90(picture) if height / width >= 1.5 else picture


def crop_line(image, quad, out):
    out[...] = line_picture(image, quad)


def crop_line_normalize_chw(image, quad, out, width, scale, shift, *, flip=False, **options):
    picture = line_picture(image, quad)
    if flip:
        picture = picture[::-1, ::-1]
    picture = np.ascontiguousarray(picture)
    resize_normalize_chw(picture, out, width, out.shape[1], scale, shift, **options)
