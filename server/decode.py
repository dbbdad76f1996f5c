"""From the bytes of a body to a typed request; the file in it is taken out by ``server/files.py``.

One :class:`Endpoint` per route is made at start from the pipeline's operation. It reads only the fields
that the operation's forms know, so unknown fields of any size cost no memory.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Any

import msgspec

from kernels.jsonscan import json_outline, json_string
from pipelines.core.base import Pipeline
from pipelines.core.config import Generation, PipelineConfig
from pipelines.core.errors import BadRequest
from pipelines.core.forms import Form
from pipelines.core.registry import load_pipeline
from server.config import Config
from server.lax import InvalidValue, Location, Problem, convert, error_text
from server.ownership import owners

#: Body fields by wire name: long plain strings as they are, everything else still as JSON text.
Fields = dict[str, msgspec.Raw | str]

#: A value that a strict decode refused is converted by the lax rules only up to this many bytes:
#: Python objects of hostile JSON take twenty times its size.
_MAX_LAX_BYTES = 1 << 20

#: Strings from this length on are taken out of the body before it is parsed; far below a file's size.
_LONG_TEXT = 4096

#: What may be left of a body without them: while the JSON parser runs nothing else does, 4 ns a byte.
_MAX_PARSED_BYTES = 4 << 20

#: Characters of a ``logId``; what clients use are UUIDs.
_MAX_LOG_ID = 1024

#: Places of strings in a body, without their quotes.
Spans = list[tuple[int, int]]

_TEXT_OR_NULL = (msgspec.inspect.StrType, msgspec.inspect.NoneType)
_POSITION = re.compile(r"\(byte (\d+)\)")


class _Field:
    """One body field of a form: a strict decoder, and the lax rules behind it."""

    def __init__(self, info: msgspec.structs.FieldInfo) -> None:
        self.name = info.name
        self.wire = info.encode_name
        self.required = info.required
        self._decoder = msgspec.json.Decoder(info.type)
        self._kind = msgspec.inspect.type_info(info.type)
        self._is_text = isinstance(self._kind, msgspec.inspect.StrType)
        kinds = self._kind.types if isinstance(self._kind, msgspec.inspect.UnionType) else (self._kind,)
        self.takes_text = any(isinstance(kind, msgspec.inspect.StrType) for kind in kinds)
        #: and nothing else but null
        self.only_text = self.takes_text and all(isinstance(kind, _TEXT_OR_NULL) for kind in kinds)

    def read(self, value: msgspec.Raw | str) -> Any:
        """The field's value. Raises InvalidValue."""
        where: Location = ("body", self.wire)
        if isinstance(value, str):
            return value if self._is_text else convert(value, self._kind, where)
        try:
            return self._decoder.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError) as fault:
            if len(memoryview(value)) > _MAX_LAX_BYTES:
                raise InvalidValue([Problem("value_error", where, str(fault))]) from None
            try:
                loose = msgspec.json.decode(value)
            except (msgspec.DecodeError, UnicodeDecodeError):
                raise InvalidValue([Problem("json_invalid", where, "JSON decode error")]) from None
            return convert(loose, self._kind, where)


class Parsed(msgspec.Struct):
    """A valid request: which form it is of, the typed body, and what travels to the device."""

    form: Form
    form_index: int
    request: msgspec.Struct
    params: msgspec.Struct


class Endpoint:
    """One route: an operation of one configured pipeline.

    Attributes:
        path, operation, pipeline, config: the route, what it does, whose it is and how that is set up.
        pipeline_index, operation_index: places in ``Config.pipelines`` and ``Pipeline.operations``.
        default_form: index of the form of a body that no field decides.
        desk: what the pipeline keeps here for its errands.
    """

    def __init__(
        self,
        pipeline: type[Pipeline],
        config: PipelineConfig,
        indexes: tuple[int, int],
        generation: Generation,
        desk: Any = None,
    ) -> None:
        self.pipeline = pipeline
        self.desk = desk
        self.operation = operation = pipeline.operations[indexes[1]]
        self.path = operation.path
        self.config = config
        self.pipeline_index, self.operation_index = indexes
        generations = [form.generation for form in operation.forms]
        self.default_form = generations.index(generation) if generation in generations else 0
        self._fields = [[_Field(info) for info in msgspec.structs.fields(f.request)] for f in operation.forms]
        names = {field.wire for fields in self._fields for field in fields} | {"logId"}
        names = names.union(*(form.marks for form in operation.forms))
        every = [field for fields in self._fields for field in fields]
        self._takes_text = {field.wire for field in every if field.takes_text} | {"logId"}
        self._only_text = {field.wire for field in every if field.only_text} | {"logId"}
        self._names = {f"field{i}": name for i, name in enumerate(sorted(names))}
        raw = (msgspec.Raw | msgspec.UnsetType, msgspec.UNSET)
        body = msgspec.defstruct("Body", [(name, *raw) for name in self._names], rename=self._names)
        self._decoder = msgspec.json.Decoder(body)
        #: starts the strings that stand for long ones: no client can know it
        self._secret = secrets.token_hex(16).encode()

    @property
    def default_generation(self) -> Generation:
        """Generation of errors in a body that cannot be read at all."""
        return self.operation.forms[self.default_form].generation

    def open(self, body: bytes, max_depth: int) -> Fields:
        """Split a body into its known fields. Raises BadRequest when it is not a JSON object."""
        if not body.strip():
            raise self._refuse("missing", "Field required")
        depth, spans = json_outline(body, max_depth, _LONG_TEXT)
        if depth > max_depth:
            raise self._refuse("json_invalid", f"The JSON is nested deeper than {max_depth} levels")
        rest = _without(body, spans, self._secret)
        if len(rest) > _MAX_PARSED_BYTES:
            message = f"The JSON around the file is larger than {_MAX_PARSED_BYTES} bytes"
            raise self._refuse("json_invalid", message)
        try:
            return self._split(rest, _texts(body, spans, self._secret))
        except msgspec.ValidationError:
            message = "Input should be a valid dictionary or object to extract fields from"
            raise self._refuse("model_attributes_type", message) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as fault:
            found = _POSITION.search(str(fault))
            position = _place(int(found.group(1)), spans, self._secret) if found else len(body)
            raise self._refuse("json_invalid", "JSON decode error", position) from None

    def _split(self, body: bytes, texts: dict[bytes, str]) -> Fields:
        """Known fields of a JSON object; ``texts`` are the values that stand for others."""
        read = self._decoder.decode(body)
        fields: Fields = {}
        for key, name in self._names.items():
            value = getattr(read, key)
            if value is not msgspec.UNSET:
                fields[name] = texts.get(bytes(value), value) if texts else value
        return fields

    def read_texts(self, texts: Mapping[str, str], max_depth: int) -> Fields:
        """Known fields from text, as a query string and a form have them: JSON where a field is no text.

        Raises BadRequest.
        """
        return {
            name: self._read_text(name, texts[name], max_depth)
            for name in self._names.values()
            if name in texts
        }

    def _read_text(self, name: str, text: str, max_depth: int) -> msgspec.Raw | str:
        if name in self._only_text or (
            name in self._takes_text and not text.lstrip().startswith(("{", "[", '"'))
        ):
            return text
        content = text.encode()
        depth, _ = json_outline(content, max_depth, _LONG_TEXT)
        if depth > max_depth:
            raise self._refuse("json_invalid", f"The JSON is nested deeper than {max_depth} levels")
        try:
            return msgspec.json.decode(content, type=msgspec.Raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return text

    def file_field(self, fields: Fields) -> str:
        """Name of the field that holds the file in the form that ``fields`` belong to."""
        return self.file_field_of(self.operation.forms[self.form_of(fields)])

    def file_field_of(self, form: Form) -> str:
        """Name of the field that holds the file in bodies of ``form``."""
        required = {field.name: "" for field in msgspec.structs.fields(form.request) if field.required}
        return form.source(form.request(**required)).field

    def form_of(self, fields: Fields) -> int:
        """Index of the form that ``fields`` belong to: the first with a field of its own in it."""
        for index, form in enumerate(self.operation.forms):
            if not form.marks.isdisjoint(fields):
                return index
        return self.default_form

    def generation_of(self, fields: Fields) -> Generation:
        """API generation of a body."""
        return self.operation.forms[self.form_of(fields)].generation

    def parse(self, fields: Fields) -> Parsed:
        """Type the fields and ask the form for device parameters. Raises BadRequest or PipelineError."""
        index = self.form_of(fields)
        form = self.operation.forms[index]
        values, problems = {}, []
        for field in self._fields[index]:
            value = fields.get(field.wire)
            if value is None:
                if field.required:
                    problems.append(Problem("missing", ("body", field.wire), "Field required"))
                continue
            try:
                values[field.name] = field.read(value)
            except InvalidValue as fault:
                problems += fault.problems
        if problems:
            raise BadRequest(error_text(problems, form.generation))
        request = form.request(**values)
        return Parsed(form, index, request, form.params(request, self.config))

    def _refuse(self, kind: str, message: str, *place: int) -> BadRequest:
        return BadRequest(error_text([Problem(kind, ("body", *place), message)], self.default_generation))


def endpoints(config: Config) -> dict[str, Endpoint]:
    """Route to endpoint of everything configured."""
    loaded = [load_pipeline(each.name) for each in config.pipelines]
    desks = [cls.desk(each) for cls, each in zip(loaded, config.pipelines, strict=True)]
    return {
        path: Endpoint(loaded[at[0]], config.pipelines[at[0]], at, config.api_generation, desks[at[0]])
        for path, at in owners(loaded).items()
    }


def _without(body: bytes, spans: Spans, secret: bytes) -> bytes:
    """``body`` with a placeholder for each of its long strings.

    A JSON parser looks at every character; a copy does not. The long string is the file, nearly the whole
    body, so that parsing costs a tenth.
    """
    if not spans:
        return body
    parts, end = [], 0
    for number, (start, stop) in enumerate(spans):
        parts += [body[end : start - 1], b'"%s%d"' % (secret, number)]
        end = stop + 1
    return b"".join([*parts, body[end:]])


def _texts(body: bytes, spans: Spans, secret: bytes) -> dict[bytes, str]:
    """Placeholder to text."""
    return {b'"%s%d"' % (secret, i): json_string(body, *span) for i, span in enumerate(spans)}


def _place(position: int, spans: Spans, secret: bytes) -> int:
    """Where in a body is what is at ``position`` of what :func:`_without` has left."""
    for number, (start, stop) in enumerate(spans):
        if position >= start:
            position += stop - start - len(b"%s%d" % (secret, number))
    return position


def log_id_of(fields: Fields) -> str | None:
    """The ``logId`` of a body, or None; an empty one counts as absent, as in PaddleX.

    Raises BadRequest for a long one: it is repeated in logs and in every answer.
    """
    value = fields.get("logId")
    if isinstance(value, msgspec.Raw):
        try:
            value = msgspec.json.decode(value, type=str)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
    return check_log_id(value) if value else None


def check_log_id(value: str) -> str:
    """The same text. Raises BadRequest for a long one."""
    if len(value) > _MAX_LOG_ID:
        words = f"String should have at most {_MAX_LOG_ID} characters"
        raise BadRequest(error_text([Problem("string_too_long", ("body", "logId"), words)], "v3"))
    return value
