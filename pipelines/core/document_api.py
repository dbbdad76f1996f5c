"""What the document pipelines' routes have in common: fields, where the file is, one result per page.

API reference: 10.8, 10.9, 10.13.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from .config import Generation, PipelineConfig
from .draw import Pen, jpeg
from .errors import BadRequest
from .forms import Form, Reply, Source
from .lines import rotated
from .page_settings import PageSettings

#: What JSON numbers may be: they travel as 64-bit integers and as floats that arithmetic survives.
Integer = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
Number = Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)]
#: Boxes only grow, and the cost of rounding their corners grows with them.
MAX_UNCLIP_RATIO = 100.0
UnclipRatio = Annotated[float, msgspec.Meta(ge=0.0, le=MAX_UNCLIP_RATIO)]

SettingsT = TypeVar("SettingsT")


def wire_names(request: type[msgspec.Struct]) -> frozenset[str]:
    """The fields of a body as a client writes them."""
    return frozenset(field.encode_name for field in msgspec.structs.fields(request))


class DocumentRequest(msgspec.Struct, rename="camel"):
    """Fields that the body of every document pipeline has in 3.x."""

    file: str
    file_type: Literal[0, 1] | None = None
    use_doc_orientation_classify: bool | None = None
    use_doc_unwarping: bool | None = None
    text_det_limit_side_len: Integer | None = None
    text_det_limit_type: str | None = None
    text_det_thresh: Number | None = None
    text_det_box_thresh: Number | None = None
    text_det_unclip_ratio: UnclipRatio | None = None
    text_rec_score_thresh: Number | None = None
    visualize: bool | None = None


class Sheet:
    """A page to draw pictures of.

    Attributes:
        pixels: as the page came.
        turned: as the device turned it.
        upright: and unwarped, if it was: the page that was read.
        angle: degrees counter-clockwise, -1 if nobody looked.
        pen: writes texts.
    """

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        angle: int,
        pen: Pen,
        largest: tuple[int, int] | None,
        flat: NDArray[np.uint8] | None = None,
    ) -> None:
        self.pixels, self.angle, self.pen, self._largest = pixels, angle, pen, largest
        self.turned = rotated(pixels, angle)
        self.upright = self.turned if flat is None else flat

    def jpeg(self, picture: NDArray[np.uint8]) -> bytes:
        """A picture no larger than ``Serving`` allows."""
        return jpeg(picture, self._largest)

    def preprocessing(self, page: PageSettings) -> bytes:
        """The page as it came and as it was prepared."""
        return self.jpeg(page.picture(self.pixels, self.turned, self.upright, self.angle, self.pen))


class DocumentForm(Form, Generic[SettingsT]):
    """3.x: a document in, a list with one result per page out."""

    generation: ClassVar[Generation] = "v3"
    page_by_page: ClassVar[bool] = True
    #: name of the list
    results: ClassVar[str]

    def source(self, request: DocumentRequest) -> Source:
        """``file`` with the client's ``fileType``."""
        return Source("file", request.file, request.file_type)

    @abstractmethod
    def settings(self, request: Any, config: PipelineConfig) -> SettingsT:
        """A request's parameters over the pipeline's options. Raises PipelineError or BadRequest."""

    @abstractmethod
    def pruned(self, found: Any, settings: SettingsT) -> dict[str, Any]:
        """``prunedResult`` of one page, keys in PaddleX's order."""

    @abstractmethod
    def angle(self, found: Any) -> int:
        """By how much the page was turned."""

    def flat(self, found: Any) -> NDArray[np.uint8] | None:
        """The page that was read, where it was unwarped."""
        return None

    @abstractmethod
    def pictures(self, found: Any, sheet: Sheet, settings: SettingsT) -> dict[str, Any]:
        """What stands beside ``prunedResult`` when pictures are wanted."""

    def respond(self, reply: Reply) -> dict[str, Any]:
        """The list of results and ``dataInfo``."""
        settings = self.settings(reply.request, reply.config)
        pen = Pen(reply.font) if reply.visualize else None
        results = []
        for page in reply.pages:
            result: dict[str, Any] = {"prunedResult": self.pruned(page.result, settings)}
            if pen is not None and page.pixels is not None:
                largest = reply.config.serving.max_output_img_size
                flat = self.flat(page.result)
                sheet = Sheet(page.pixels, self.angle(page.result), pen, largest, flat)
                result |= self.pictures(page.result, sheet, settings)
            results.append(result)
        return {self.results: results, "dataInfo": reply.data_info}


# --- 2024


class InferenceParams(msgspec.Struct, rename="camel"):
    """``inferenceParams``."""

    max_long_side: Annotated[int, msgspec.Meta(gt=0)] | None = None


def check_long_side(params: InferenceParams | None) -> None:
    """Raises BadRequest for a field that PaddleX knows and never supported."""
    if params is not None and params.max_long_side is not None:
        raise BadRequest("`max_long_side` is currently not supported.")


class PageRequest2024(msgspec.Struct, rename="camel"):
    """Body of a route that takes one image."""

    image: str
    inference_params: InferenceParams | None = None


class PageForm2024(Form):
    """One image in, always with pictures out."""

    generation: ClassVar[Generation] = "2024"
    request = PageRequest2024
    marks: ClassVar[frozenset[str]] = wire_names(PageRequest2024)

    def source(self, request: PageRequest2024) -> Source:
        """``image``, which is never a PDF."""
        return Source("image", request.image, 1)

    def visualize(self, request: PageRequest2024, config: PipelineConfig) -> bool:
        """That generation has no switch."""
        return True
