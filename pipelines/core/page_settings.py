"""Page preprocessing as a request wants it and as 3.x answers it: turning, unwarping (API reference, 10.8).

The document pipelines have it in common: the same two fields, the same rules for what is null, the same
entry and picture in the answer.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .config import PipelineConfig
from .draw import Pen, preprocessing_picture
from .errors import PipelineError

#: PaddleX's text for a request that asks for a sub-model which is not loaded.
INVALID_SETTINGS = "the input params for model settings are invalid!"
#: For the start-up plan.
UNWARPING_LEFT_OUT = (
    "pages are not unwarped: use_doc_unwarping is True in the YAML, which names no model for it"
)


class PageOptions(msgspec.Struct, frozen=True):
    """PaddleX's defaults, but that UVDoc is loaded only where a YAML names it (docs/compatibility.md).

    ``unwarping_left_out``: a YAML asks for it, as PaddleX's own do; the plan says that they stay as they are.
    """

    use_doc_preprocessor: bool = True
    use_doc_orientation_classify: bool = True
    use_doc_unwarping: bool = False
    unwarping_left_out: bool = False

    def notes(self) -> tuple[str, ...]:
        """Lines for the start-up plan."""
        return (UNWARPING_LEFT_OUT,) if self.unwarping_left_out else ()


class PageSettings(msgspec.Struct, frozen=True):
    """What happens to the pages of one request.

    Attributes:
        preprocessor: whether anything does; it is then part of the answer.
        doc_orientation, doc_unwarping: which of the two, if so.
    """

    preprocessor: bool
    doc_orientation: bool
    doc_unwarping: bool

    @classmethod
    def of(
        cls, orientation: bool | None, unwarping: bool | None, own: PageOptions, config: PipelineConfig
    ) -> PageSettings:
        """From ``useDocOrientationClassify`` and ``useDocUnwarping``: with both null the pipeline decides.

        It does not unwarp where the model could not be had; the start-up plan says so.
        """
        by_default = own.use_doc_unwarping and "doc_unwarping" in config.models
        if orientation is None and unwarping is None:
            preprocessor = own.use_doc_preprocessor
        else:
            preprocessor = bool(orientation or unwarping)
        return cls(
            preprocessor,
            own.use_doc_orientation_classify if orientation is None else orientation,
            by_default if unwarping is None else unwarping,
        )

    @property
    def turns(self) -> bool:
        """Whether pages are turned upright."""
        return self.preprocessor and self.doc_orientation

    @property
    def unwarps(self) -> bool:
        """Whether pages are unwarped."""
        return self.preprocessor and self.doc_unwarping

    def check(self, config: PipelineConfig) -> None:
        """Raises PipelineError when a sub-model is not loaded."""
        if (self.turns and "doc_orientation" not in config.models) or (
            self.unwarps and "doc_unwarping" not in config.models
        ):
            raise PipelineError(INVALID_SETTINGS)

    def result(self, angle: int) -> dict[str, Any]:
        """``doc_preprocessor_res`` of a page that was turned by ``angle``."""
        return {
            "model_settings": {
                "use_doc_orientation_classify": self.doc_orientation,
                "use_doc_unwarping": self.doc_unwarping,
            },
            "angle": angle,
        }

    def picture(
        self,
        page: NDArray[np.uint8],
        turned: NDArray[np.uint8],
        flat: NDArray[np.uint8],
        angle: int,
        pen: Pen,
    ) -> NDArray[np.uint8]:
        """The page as it came, turned and unwarped, side by side."""
        captions = (
            "Original Image",
            f"Rotated Image ({self.doc_orientation}, {angle})",
            f"Unwarping Image ({self.doc_unwarping})",
        )
        return preprocessing_picture([page, turned, flat], captions, pen)
