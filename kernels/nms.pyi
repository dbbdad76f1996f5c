"""Non-maximum suppression of axis-aligned boxes."""

import numpy as np
from numpy.typing import NDArray

def nms(rows: NDArray[np.float32], same: float, other: float, *, plus: float = 0.0) -> NDArray[np.int64]:
    """Greedily drop boxes that overlap a stronger one.

    By falling score: a box stays and drops every weaker one with
    ``intersection / union >= same`` if both are of one class, ``>= other`` if not. An overlap that
    is no number drops too. Of equal scores the later row is the stronger. Every step is rounded to
    float32. The GIL is released; time grows with N times the number of boxes that stay.

    Args:
        rows: float32 ``[N, 6]`` or wider: class, score, x1, y1, x2, y2; last stride 4; may be read-only.
        same: limit within a class.
        other: limit between classes; ``math.inf`` keeps classes apart.
        plus: added to widths and heights: 1.0 where coordinates name pixels (PaddleX's layout NMS),
            0.0 where they name edges.

    Returns:
        int64 places of the rows that stay, strongest first.

    Raises:
        ValueError: wrong shape, dtype or strides, or more than 16,777,216 rows.
    """
