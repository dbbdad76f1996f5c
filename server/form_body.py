"""``multipart/form-data`` (RFC 7578), read while it streams in; every bound is met before bytes are kept."""

from __future__ import annotations

import re

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from pipelines.core.errors import BadRequest
from server.decode import Endpoint, Fields
from server.uploads import Upload, kind_of

#: A boundary by RFC 2046, section 5.1.1, without the space that nobody uses.
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=?]{1,70}")
#: Bounds of a form: its parts, the lines of a part's header and their bytes (browsers send two of 100), and
#: the text of all fields that are not the file.
MAX_PARTS, _MAX_HEADERS, _MAX_HEADER_BYTES, MAX_TEXT_BYTES = 64, 8, 1024, 1 << 20


class Form(Upload):
    """``multipart/form-data`` (RFC 7578): a part with a file name is the file, the others are fields.

    A fault is told at the end of the body: until then what comes is read and dropped.
    """

    def __init__(self, content_type: str) -> None:
        super().__init__({})
        boundary = parse_options_header(content_type)[1].get("boundary", "")
        if not _BOUNDARY.fullmatch(boundary):
            raise BadRequest("multipart/form-data needs a boundary of 1 to 70 characters")
        self._parser = PushMultipartParser(
            boundary,
            max_header_size=_MAX_HEADER_BYTES,
            max_header_count=_MAX_HEADERS,
            max_segment_count=MAX_PARTS,
        )
        self._part: MultipartSegment | None = None
        self._text = bytearray()
        self._text_bytes = 0
        self._fault: BadRequest | None = None

    def take(self, piece: bytes) -> None:
        """The next piece of the body; never raises."""
        if self._fault is not None:
            return
        try:
            for event in self._parser.parse(piece):
                if isinstance(event, MultipartSegment):
                    self._begin(event)
                elif event is None:
                    self._finish()
                else:
                    self._keep(event)
        except MultipartError as fault:
            self._refuse(f"The form is not valid: {fault.args[0]}")
        except BadRequest as fault:
            self._refuse(fault.message)

    def end(self) -> None:
        """All is there. Raises BadRequest."""
        if self._fault is None:
            try:
                self._parser.close()
            except MultipartError:
                self._refuse("The form is not valid: its last boundary is missing")
        if self._fault is not None:
            raise self._fault

    def _refuse(self, message: str) -> None:
        self._fault = BadRequest(message)
        self.pieces.clear()
        self._text.clear()

    def _begin(self, part: MultipartSegment) -> None:
        self._part = part
        if part.filename is None:
            return
        if self.field:
            raise BadRequest("The form has more than one file")
        if not part.name:
            raise BadRequest("The file of the form has no name")
        self.field = part.name
        self.says = kind_of(part.content_type or "", part.filename)

    def _keep(self, piece: bytes) -> None:
        if self._part is not None and self._part.filename is not None:
            self.pieces.append(piece)
            return
        self._text_bytes += len(piece)
        if self._text_bytes > MAX_TEXT_BYTES:
            raise BadRequest(f"The fields of the form are larger than {MAX_TEXT_BYTES} bytes")
        self._text += piece

    def _finish(self) -> None:
        part, self._part = self._part, None
        if part is not None and part.filename is None:
            try:
                self.texts[part.name or ""] = self._text.decode()
            except UnicodeDecodeError:
                raise BadRequest("The fields of the form are not UTF-8") from None
            self._text.clear()

    def own_field(self, endpoint: Endpoint, fields: Fields) -> str:
        """There is no file: a field may name it by URL."""
        return ""
