"""Bodies that are not JSON: a file as it is with its parameters in the query string, or a form.

Their fields mean what the same fields mean in JSON (docs/doors.md): only where the bytes come from differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl

from pipelines.core.errors import BadRequest
from pipelines.core.forms import Operation, Source
from server.decode import Endpoint, Fields
from server.files import FileKind, check_file, file_kind
from server.mapped import FileData

#: Content types that every client of PaddleX sends; the bodies of all that are not named here are JSON too.
JSON_TYPES = frozenset({"", "application/json"})

#: Content types of a body that is a file, by what operations take.
FILE_TYPES: Mapping[str, tuple[str, ...]] = {
    "document": ("image/", "application/pdf"),
    "image": ("image/",),
    "csv": ("text/csv",),
}
_ANY_FILE = ("image/", "application/pdf", "text/csv")


class Upload:
    """One body that is a file, while it comes in and afterwards.

    Attributes:
        texts: the other fields by their names in JSON, as the client wrote them.
        field: name of the file's field; "" until it is known, and where there is no file.
        says: what the file is by its content type or name, None when neither tells.
        pieces: of the file, as they came; ``data``: the file.
        nbytes: bytes received.
        size: height and width of a file that is pixels as they are; else zeros.
    """

    def __init__(self, texts: dict[str, str], media: str = "", name: str = "") -> None:
        self.texts, self.field = texts, ""
        self.pieces: list[bytes] = []
        self.data: FileData = b""
        self.nbytes, self.size = 0, (0, 0)
        self.says = kind_of(media, name)

    def __len__(self) -> int:
        return self.nbytes

    def take(self, piece: bytes) -> None:
        """The next piece of the body."""
        self.pieces.append(piece)

    def end(self) -> None:
        """All is there. Raises BadRequest when that is no valid body."""

    def open(self, endpoint: Endpoint, max_depth: int) -> Fields:
        """The fields, as :meth:`Endpoint.open` gives them; the file's is empty. Raises BadRequest."""
        fields = endpoint.read_texts(self.texts, max_depth)
        self.field = self.field or self.own_field(endpoint, fields)
        if self.field in self.texts:
            raise BadRequest(f"`{self.field}` is the file of this request and cannot be given twice")
        if self.field:
            fields[self.field] = ""
        return fields

    def own_field(self, endpoint: Endpoint, fields: Fields) -> str:
        """The file's field where the body does not name it."""
        return endpoint.file_field(fields)

    def file(self, operation: Operation, source: Source) -> tuple[FileData, FileKind]:
        """The file and how it is read: by ``fileType``, else by its content type or name.

        Raises BadRequest.
        """
        if source.field != self.field:
            raise BadRequest(f"`{self.field}` cannot be a file")
        if operation.input == "document" and source.file_type is None and self.says:
            kind = self.says
        else:
            kind = file_kind(operation, source)
        check_file(self.data, kind, self.field)
        return self.data, kind


def open_upload(operation: Operation, content_type: str, query: str) -> Upload | None:
    """What takes a body of this content type; None for JSON. Raises BadRequest."""
    media = content_type.partition(";")[0].strip().lower()
    if media == "multipart/form-data":
        from server.form_body import Form  # noqa: PLC0415 - few clients ever send forms

        return Form(content_type)
    if not media.startswith(_ANY_FILE):
        return None
    taken = FILE_TYPES.get(operation.input, ())
    if not media.startswith(taken):
        words = " or ".join(each + "*" * each.endswith("/") for each in taken) or "no file, only JSON"
        raise BadRequest(f"This route takes {words}")
    try:
        texts = dict(parse_qsl(query, keep_blank_values=True, errors="strict"))
    except ValueError:
        raise BadRequest("The query string is not UTF-8") from None
    return Upload(texts, media)


def kind_of(media: str, name: str) -> FileKind | None:
    """By the content type, else by the end of the name: PDF or, as in PaddleX, anything else an image."""
    if media == "application/pdf":
        return "pdf"
    if media.startswith("image/"):
        return "image"
    if not name:
        return None
    return "pdf" if name.lower().endswith(".pdf") else "image"
