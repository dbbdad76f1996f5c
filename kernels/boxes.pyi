"""Text boxes from a DB probability map (API reference, 9.5), and their reading order (9.6)."""

import numpy as np
from numpy.typing import NDArray

def db_boxes(
    prob: NDArray[np.float32],
    src_width: int,
    src_height: int,
    thresh: float,
    box_thresh: float,
    unclip_ratio: float,
    max_candidates: int = 1000,
    min_size: float = 3.0,
    dilation: bool = False,
) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """Boxes of the text regions of one page, in quad mode with the ``fast`` score.

    Args:
        prob: float32 ``[H, W]``, last stride 4, any row stride; may be read-only. H, W up to 32766.
        src_width, src_height: size of the page that the boxes are scaled to, 1..32767.
        thresh: a pixel belongs to text when ``prob > thresh`` (compared in float32).
        box_thresh: a box is dropped when its mean probability is below.
        unclip_ratio: a box grows by ``area * unclip_ratio / perimeter``; above 0, at most 1000.
        max_candidates: contours looked at, in the order of ``cv2.findContours``.
        min_size: shortest side of a contour's rectangle, at least 1; the grown box needs ``min_size + 2``.
        dilation: dilate the binary map with a 2x2 square first.

    Returns:
        int16 ``[N, 4, 2]`` corners (x, y) from the top-left clockwise, clipped to
        ``[0, src_width] x [0, src_height]``, and float64 ``[N]`` mean probabilities; contour order.

    Raises:
        ValueError: wrong shape, dtype, strides or size, or a number out of range.
    """

def sort_boxes(boxes: NDArray[np.int16]) -> NDArray[np.int16]:
    """A copy of ``boxes`` (int16 ``[N, 4, 2]``) in PaddleX's reading order.

    By y, then x, of the first corner; then one insertion pass that moves a box left past its
    predecessors while their first corners are less than 10 px apart in y. Stable.

    Raises:
        ValueError: wrong shape or dtype.
    """
