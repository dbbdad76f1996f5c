"""Slow twin of kernels/resize.pyx: OpenCV and NumPy in PaddleX's steps."""

import cv2
import numpy as np


def normalize(picture, scale, shift, divisor=1.0):
    """uint8 [h, w, 3] to float32, every step rounded to float32 as NumPy does in place."""
    planes = picture.astype(np.float32)
    if divisor != 1.0:
        planes /= np.float32(divisor)
    planes *= np.asarray(scale, dtype=np.float32)
    planes += np.asarray(shift, dtype=np.float32)
    return planes


def resize_normalize_chw(
    image,
    out,
    width,
    height,
    scale,
    shift,
    *,
    divisor=1.0,
    reverse=False,
    pad=0.0,
    left=0,
    top=0,
):
    resized = cv2.resize(image, (width, height))
    if reverse:
        resized = resized[:, :, ::-1]
    window = resized[top : top + out.shape[1], left : left + out.shape[2]]
    out[...] = pad
    out[:, : window.shape[0], : window.shape[1]] = normalize(window, scale, shift, divisor).transpose(2, 0, 1)
