"""The contract of a route: what it accepts, in each API generation, and what is answered.

All of this runs in a worker process.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Literal

import msgspec
import numpy as np

from .config import Generation, PipelineConfig

InputKind = Literal["document", "image", "csv", "none"]


class Source(msgspec.Struct, frozen=True):
    """Where a request's file is.

    Attributes:
        field: name of the body field, for error messages (``file``, ``image``).
        data: URL or base64 text as the client sent it.
        file_type: 0 PDF, 1 image, None unknown (API reference, 3.3).
    """

    field: str
    data: str
    file_type: int | None = None


class Page(msgspec.Struct):
    """One answered item: the device's result and the pixels it was made from.

    ``pixels`` is uint8 ``[H, W, 3]`` BGR over the slot, or None when the
    operation did not ask to keep them; valid only inside ``respond``.
    """

    result: msgspec.Struct
    width: int
    height: int
    pixels: np.ndarray | None = None


class Reply(msgspec.Struct):
    """Everything ``Form.respond`` may look at.

    ``data_info`` is PaddleX's ``dataInfo`` of the document, or None.
    ``font`` gives the path of a font with CJK glyphs, fetched on first use.
    """

    request: msgspec.Struct
    params: msgspec.Struct
    config: PipelineConfig
    pages: list[Page]
    visualize: bool
    data_info: dict[str, Any] | None
    font: Callable[[], str]


class Form(ABC):
    """One API generation of an operation."""

    generation: ClassVar[Generation]
    #: msgspec Struct with the body's fields by their wire names (``rename`` allowed)
    request: ClassVar[type[msgspec.Struct]]
    #: msgspec Struct that travels to the device with the item
    params_type: ClassVar[type[msgspec.Struct]]
    #: body fields that only this generation has; they choose the form
    marks: ClassVar[frozenset[str]]
    #: :meth:`respond` gives lists with one entry per page, which depends on no other page
    page_by_page: ClassVar[bool] = False

    @abstractmethod
    def source(self, request: Any) -> Source:
        """Where the file of this request is."""

    @abstractmethod
    def params(self, request: Any, config: PipelineConfig) -> msgspec.Struct:
        """Device-side parameters. Raises BadRequest or PipelineError."""

    def visualize(self, request: Any, config: PipelineConfig) -> bool:
        """Whether pictures are wanted (v3: request, else ``Serving.visualize``; 2024: always)."""
        asked = getattr(request, "visualize", None)
        return config.serving.visualize if asked is None else bool(asked)

    def answer_bytes(self, params: msgspec.Struct, height: int, width: int) -> int:
        """About how much memory the answer for one image takes beside the image and the device's result.

        It is counted before the image is decoded; an answer that is large is made off the event loop.
        """
        return 0

    @abstractmethod
    def respond(self, reply: Reply) -> dict[str, Any]:
        """The ``result`` object, made of builtins and NumPy arrays/scalars (orjson writes both).

        JSON text that a kernel has written goes in as ``orjson.Fragment``. Pictures are ``bytes`` of an
        encoded JPEG; ``server/encode.py`` makes base64 of them. Runs off the event loop if that takes long.
        """


class Errand(msgspec.Struct):
    """A request without a file, which a worker answers itself; devices help where it asks them.

    Attributes:
        request, config: as in :class:`Reply`.
        desk: what :meth:`Pipeline.desk` gave this worker.
        compute: runs an item (``params`` and a blob) of the errand's own operation on a device.
        in_thread: runs a function off the event loop: everything that takes more than a millisecond.
    """

    request: msgspec.Struct
    config: PipelineConfig
    desk: Any
    compute: Callable[[msgspec.Struct, bytes], Awaitable[msgspec.Struct]]
    in_thread: Callable[..., Awaitable[Any]]


class ErrandForm(Form):
    """A form of an operation whose input is ``none``."""

    @abstractmethod
    async def answer(self, errand: Errand) -> dict[str, Any]:
        """The ``result`` object. On the event loop; cancelled at the deadline or when the client goes."""

    def source(self, request: Any) -> Source:
        """There is none."""
        raise TypeError("an errand has no file")

    def visualize(self, request: Any, config: PipelineConfig) -> bool:
        """There are no pictures."""
        return False

    def respond(self, reply: Reply) -> dict[str, Any]:
        """See :meth:`answer`."""
        raise TypeError("an errand is answered by a worker")


class Operation(msgspec.Struct, frozen=True):
    """One route. ``forms`` are tried by their marks; the first is the default.

    Attributes:
        path: ``/ocr``.
        name: PaddleX's operationId (``infer``).
        input: how the file becomes items: a ``document`` gives one item per page. ``none``: there is no
            file, all forms are of :class:`ErrandForm`.
        result: Struct that the device returns for one item.
        forms: the API generations that this route answers.
        echoes_log_id: whether a success echoes the request's ``logId``.
        gives_way: another pipeline's operation on the same path goes first.
        patience: how many times the server's usual time a request may take.
    """

    path: str
    name: str
    input: InputKind
    result: type[msgspec.Struct]
    forms: tuple[Form, ...]
    echoes_log_id: bool = False
    gives_way: bool = False
    patience: int = 1
