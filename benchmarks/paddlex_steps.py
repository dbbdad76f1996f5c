"""What PaddleX 3.7.2 does in OpenCV and NumPy where this project has kernels."""

from __future__ import annotations

import cv2
import numpy as np

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CUBIC = cv2.INTER_CUBIC
ALPHA, BETA = [1 / 255 / s for s in STD], [-m / s for m, s in zip(MEAN, STD, strict=True)]


def paddlex_detection_input(page, width, height):
    """DetResizeForTest, NormalizeImage (order hwc), ToCHWImage, ToBatch."""
    return paddlex_planes(cv2.resize(page, (width, height)))


def paddlex_recognition_input(picture, width):
    """OCRReisizeNormImg and ToBatch for one line on a canvas of its own width."""
    resized = cv2.resize(picture, (width, 48)).astype("float32").transpose((2, 0, 1)) / 255
    resized -= 0.5
    resized /= 0.5
    padded = np.zeros((3, 48, width), dtype=np.float32)
    padded[:, :, :width] = resized
    return np.stack([padded], axis=0).astype(np.float32, copy=False)


def paddlex_classification_input(picture, short, crop):
    """ReadImage (RGB), ResizeByShort, Crop, Normalize, ToCHWImage, ToBatch."""
    height, width = picture.shape[:2]
    size = round(width * short / min(height, width)), round(height * short / min(height, width))
    resized = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), size)
    left, top = (size[0] - crop) // 2, (size[1] - crop) // 2
    return paddlex_planes(resized[top : top + crop, left : left + crop])


def paddlex_objects_input(picture, width, height):
    """ReadImage (RGB), Resize (cubic), NormalizeImage, Permute, ToBatch of the detectors."""
    rgb = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    return paddlex_planes(cv2.resize(rgb, (width, height), interpolation=CUBIC))


def paddlex_planes(picture):
    planes = list(cv2.split(picture))
    for channel in range(3):
        planes[channel] = planes[channel].astype(np.float32)
        planes[channel] *= ALPHA[channel]
        planes[channel] += BETA[channel]
    merged = cv2.merge(planes)
    return np.stack([merged.transpose(2, 0, 1)], axis=0).astype(np.float32, copy=False)


def numpy_nms(rows, same, other, plus):
    """The same rule with one box against all weaker ones per step, which is how NumPy does it best."""
    rows = rows[np.argsort(rows[:, 1], kind="stable")[::-1]]
    x1, y1, x2, y2 = rows[:, 2:6].T
    plus = np.float32(plus)
    area = (x2 - x1 + plus) * (y2 - y1 + plus)
    waiting, kept = np.arange(len(rows)), []
    while len(waiting):
        best, waiting = waiting[0], waiting[1:]
        kept.append(best)
        wide = np.minimum(x2[best], x2[waiting]) - np.maximum(x1[best], x1[waiting]) + plus
        high = np.minimum(y2[best], y2[waiting]) - np.maximum(y1[best], y1[waiting]) + plus
        common = np.maximum(wide, 0) * np.maximum(high, 0)
        limit = np.where(rows[waiting, 0] == rows[best, 0], np.float32(same), np.float32(other))
        waiting = waiting[common / (area[best] + area[waiting] - common) < limit]
    return rows[kept]


def paddlex_argmax(logits):
    copied = np.array(logits)
    return [copied.argmax(axis=-1), copied.max(axis=-1)]
