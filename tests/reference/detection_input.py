"""Slow twin of pipelines/core/detection_input.py: OpenCV and NumPy, operation by operation as listed."""

import cv2
import numpy as np

CODES = [cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA, cv2.INTER_LANCZOS4]


def prepare(image, operations):
    """``(tensor [3, H, W], scale_factor (h, w), im_shape (h, w))`` of a BGR picture."""
    picture, scale, shape = image[:, :, ::-1].copy(), (1.0, 1.0), image.shape[:2]
    for operation in operations:
        arguments = {key: value for key, value in operation.items() if key != "type"}
        picture = globals()[operation["type"].lower()](picture, **arguments)
        if operation["type"] == "Resize":
            shape = picture.shape[:2]
            scale = (shape[0] / image.shape[0], shape[1] / image.shape[1])
    return picture.astype(np.float32), scale, shape


def resize(picture, target_size, keep_ratio=False, interp=2):
    height, width = target_size
    if keep_ratio:
        h, w = picture.shape[:2]
        factor = min(max(target_size) / max(h, w), min(target_size) / min(h, w))
        height, width = round(h * factor), round(w * factor)
    return cv2.resize(picture, (width, height), interpolation=CODES[interp])


def warpaffine(picture, input_h=512, input_w=512, keep_res=True):
    picture = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    height, width = picture.shape[:2]
    middle, span = np.array([width / 2, height / 2], np.float32), max(height, width)
    if keep_res:
        input_h, input_w = (height | 31) + 1, (width | 31) + 1
        middle, span = np.array([width // 2, height // 2], np.float32), input_w
    points = []
    for centre, side in ((middle, span), (np.array([input_w / 2, input_h / 2], np.float32), input_w)):
        above = centre + np.array([0, -side / 2], np.float32)
        points.append(
            np.stack([centre, above, above + np.array([-side / 2, 0], np.float32)]).astype(np.float32)
        )
    return cv2.warpAffine(
        picture, cv2.getAffineTransform(*points), (input_w, input_h), flags=cv2.INTER_LINEAR
    )


def pad(picture, size, fill_value=(127.5, 127.5, 127.5)):
    canvas = np.ones((*size, 3), np.float32) * np.array(fill_value, np.float32)
    canvas[: picture.shape[0], : picture.shape[1]] = picture
    return canvas


def normalizeimage(
    picture, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), is_scale=True, norm_type=None
):
    planes = picture.astype(np.float32)
    for channel in range(3):
        planes[..., channel] *= (1 / 255 if is_scale else 1) / std[channel]
        planes[..., channel] += -mean[channel] / std[channel]
    return planes


def permute(picture):
    return picture.transpose(2, 0, 1)


def padstride(picture, stride=32):
    _, height, width = picture.shape
    canvas = np.zeros((3, -(-height // stride) * stride, -(-width // stride) * stride), np.float32)
    canvas[:, :height, :width] = picture
    return canvas
