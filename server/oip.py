"""Open Inference Protocol v2, without HTTP: tensors of an operation in, its result out.

What is here of JSON is its REST form; the rest is for gRPC too (``grpc_door.py``).

Every route is a model of the same name (``ocr``). Its one input is a BYTES tensor of one element, called as
the file's field in JSON, that holds the file; of an operation without a file it is ``request``, a JSON body.
Its one output ``result`` is a BYTES tensor of one element, PaddleX's ``result`` as JSON. The parameters of a
request are the other fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from kernels.jsonscan import json_outline
from pipelines.core.config import Generation
from pipelines.core.errors import BadRequest, ServeError
from pipelines.core.forms import Operation, Source
from server import encode
from server.decode import Endpoint, Fields, check_log_id
from server.doors import Door
from server.exchange import Exchange
from server.files import PDF_HEADER_WITHIN, FileKind, check_file, file_bytes, file_kind
from server.mapped import FileData
from server.uploads import Upload

HEADER_LENGTH = "Inference-Header-Content-Length"
VERSION, OUTPUT, REQUEST = "1", "result", "request"

#: Bytes of JSON that are parsed: all of a request but its binary tensors. While the parser runs nothing else
#: does, 4 ns a byte. A larger file comes as a binary tensor.
MAX_JSON_BYTES = 4 << 20
#: Bytes of JSON of everything in it but the data of the tensor.
_MAX_SMALL = 64 << 10
_MAX_NAME = 80
#: Strings from this length on are not looked at when JSON is measured.
_LONG_TEXT = 4096
#: In front of an element of a binary BYTES tensor: its length, little endian.
_PREFIX = 4

T = TypeVar("T")


class _Tensor(msgspec.Struct):
    name: str
    datatype: str
    shape: msgspec.Raw
    parameters: msgspec.Raw = msgspec.Raw(b"{}")
    data: tuple[str] | None = None


class _Infer(msgspec.Struct):
    """A request; lists of a fixed length, so that a long one costs nothing."""

    inputs: tuple[_Tensor]
    id: str = ""
    parameters: msgspec.Raw = msgspec.Raw(b"{}")
    outputs: msgspec.Raw = msgspec.Raw(b"[]")


class _Binary(msgspec.Struct, frozen=True):
    """Parameters of a tensor."""

    binary_data: bool = False
    binary_data_size: int | None = None


class _Output(msgspec.Struct):
    name: str
    parameters: _Binary = _Binary()


class Tensors(Upload):
    """The body of an inference request.

    Attributes:
        id: the client's, repeated in the answer.
        binary: the result is wanted as a binary tensor.
    """

    def __init__(self, json_bytes: int | None) -> None:
        super().__init__({})
        self.id, self.binary = "", False
        self._json_bytes = json_bytes  # None: all of the body
        self._text: str | None = None

    def open(self, endpoint: Endpoint, max_depth: int) -> Fields:
        """The fields; the file is in ``data`` afterwards, or still in base64. Raises BadRequest."""
        size = len(self.data) if self._json_bytes is None else self._json_bytes
        request = _parsed(self.data, size, max_depth)
        self.id = check_log_id(request.id)
        parameters = _small(request.parameters, dict[str, str | int | float | bool], "parameters")
        self._choose_output(request, parameters)
        (tensor,) = request.inputs
        content = self._content(tensor, memoryview(self.data)[size:])
        return self.read(endpoint, tensor.name, content, parameters, max_depth)

    def read(
        self,
        endpoint: Endpoint,
        name: str,
        content: bytes | str,
        parameters: Mapping[str, str | float | bool],
        max_depth: int,
    ) -> Fields:
        """The fields of a request with this tensor: bytes, or the base64 of a file. Raises BadRequest."""
        if endpoint.operation.input == "none":
            return self._without_file(endpoint, name, content, max_depth)
        self.texts = {key: _as_text(value) for key, value in parameters.items()}
        self.field = name
        self.data, self._text = (b"", content) if isinstance(content, str) else (content, None)
        return super().open(endpoint, max_depth)

    def file(self, operation: Operation, source: Source) -> tuple[FileData, FileKind]:
        """The file: of a document that says nothing of itself, the first bytes say whether it is a PDF."""
        if source.field != self.field:
            raise BadRequest(f"The file of this model is its input `{source.field}`")
        if self._text is not None:
            self.data, self._text = file_bytes(Source(self.field, self._text), "blob"), None
        if operation.input == "document" and source.file_type is None:
            kind: FileKind = "pdf" if b"%PDF" in self.data[:PDF_HEADER_WITHIN] else "image"
        else:
            kind = file_kind(operation, source)
        check_file(self.data, kind, self.field)
        return self.data, kind

    def _choose_output(self, request: _Infer, parameters: Mapping[str, Any]) -> None:
        wanted = _small(request.outputs, list[_Output], "outputs")
        for output in wanted:
            check_output(output.name)
        self.binary = parameters.get("binary_data_output") is True
        if wanted:
            self.binary = wanted[0].parameters.binary_data

    def _content(self, tensor: _Tensor, rest: memoryview) -> bytes | str:
        """The one element of the one tensor: bytes where it is binary, else text."""
        check_tensor(tensor.name, tensor.datatype, _small(tensor.shape, list[int], "shape"))
        size = _small(tensor.parameters, _Binary, "parameters").binary_data_size
        if size is None:
            if tensor.data is None or rest:
                raise BadRequest("The input needs `data`, or `binary_data_size` and its bytes after the JSON")
            return tensor.data[0]
        length = int.from_bytes(rest[:_PREFIX], "little")
        if size != len(rest) or size != _PREFIX + length or tensor.data is not None:
            found = f"after the JSON are {len(rest)} bytes with an element of {length}"
            raise BadRequest(f"`binary_data_size` is {size}, but {found}")
        return bytes(rest[_PREFIX:])

    def _without_file(self, endpoint: Endpoint, name: str, content: bytes | str, max_depth: int) -> Fields:
        if name != REQUEST:
            raise BadRequest(f"The input of this model is `{REQUEST}`")
        self.data = b""
        return endpoint.open(content.encode() if isinstance(content, str) else content, max_depth)


class OipDoor(Door):
    """One inference request: tensors in and out, ``{"error": …}`` for faults.

    Args:
        model: name of the model.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._tensors: Tensors | None = None
        self._json_bytes = 0

    def upload(self, endpoint: Endpoint, headers: Mapping[str, str], query: str) -> Upload:
        """Takes the body. Raises BadRequest."""
        if headers.get("content-encoding", "identity") != "identity":
            raise BadRequest("Compressed requests are not read")
        asked = headers.get(HEADER_LENGTH.lower())
        if asked is not None and not (asked.isascii() and asked.isdigit() and len(asked) < 10):
            raise BadRequest(f"{HEADER_LENGTH} must be a number of bytes")
        self._tensors = Tensors(None if asked is None else int(asked))
        return self._tensors

    def write(self, generation: Generation, log_id: str, result: encode.Result) -> bytes:
        """JSON, and the result behind it where it is wanted so. Any thread."""
        tensors, content = self._tensors, encode.bare(generation, result)
        output: dict[str, Any] = {"name": OUTPUT, "datatype": "BYTES", "shape": [1]}
        answer: dict[str, Any] = {"model_name": self._model, "model_version": VERSION, "outputs": [output]}
        if tensors is not None and tensors.id:
            answer["id"] = tensors.id
        if tensors is None or not tensors.binary:
            output["data"] = [content.decode()]
            return msgspec.json.encode(answer)
        output["parameters"] = {"binary_data_size": _PREFIX + len(content)}
        head = msgspec.json.encode(answer)
        self._json_bytes = len(head)
        return b"".join([head, len(content).to_bytes(_PREFIX, "little"), content])

    def success(self, exchange: Exchange, headers: dict[str, str]) -> str:
        """Says where the JSON ends when there is more."""
        self._remember(exchange)
        if not self._json_bytes:
            return "application/json"
        headers[HEADER_LENGTH] = str(self._json_bytes)
        return "application/octet-stream"

    def fault(self, exchange: Exchange, fault: ServeError) -> bytes:
        """The protocol's own form of a fault."""
        self._remember(exchange)
        return error(fault.message)

    def _remember(self, exchange: Exchange) -> None:
        """The client's id is what the log has."""
        if self._tensors is not None and self._tensors.id:
            exchange.log_id = self._tensors.id


def error(message: str) -> bytes:
    """The body of a fault."""
    return msgspec.json.encode({"error": message})


def model_name(endpoint: Endpoint) -> str:
    """What a route is called as a model."""
    return endpoint.path.strip("/")


def describe(endpoint: Endpoint) -> dict[str, Any]:
    """A model's metadata."""
    operation = endpoint.operation
    field = REQUEST
    if operation.input != "none":
        field = endpoint.file_field_of(operation.forms[endpoint.default_form])
    return {
        "name": model_name(endpoint),
        "versions": [VERSION],
        "platform": "paddlex",
        "inputs": [{"name": field, "datatype": "BYTES", "shape": [1]}],
        "outputs": [{"name": OUTPUT, "datatype": "BYTES", "shape": [1]}],
    }


def check_tensor(name: str, datatype: str, shape: Iterable[int]) -> None:
    """What an input says of itself. Raises BadRequest."""
    if not 0 < len(name) <= _MAX_NAME:
        raise BadRequest(f"The name of the input must have 1 to {_MAX_NAME} characters")
    if datatype != "BYTES":
        raise BadRequest(f"Tensor `{name}` must be of type BYTES")
    if any(side != 1 for side in shape):
        raise BadRequest(f"Tensor `{name}` must have one element: shape [1]")


def check_output(name: str) -> None:
    """An output that is asked for. Raises BadRequest."""
    if name != OUTPUT:
        raise BadRequest(f"The model has no output {name[:_MAX_NAME]!r}, only `{OUTPUT}`")


def _parsed(body: FileData, size: int, max_depth: int) -> _Infer:
    if not 0 < size <= len(body):
        raise BadRequest(f"The JSON of {size} bytes is not in a body of {len(body)} bytes")
    if size > MAX_JSON_BYTES:
        raise BadRequest(f"The JSON is larger than {MAX_JSON_BYTES} bytes; send the file as a binary tensor")
    content = body[:size]
    depth, _ = json_outline(content, max_depth, _LONG_TEXT)
    if depth > max_depth:
        raise BadRequest(f"The JSON is nested deeper than {max_depth} levels")
    try:
        return msgspec.json.decode(content, type=_Infer)
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise BadRequest(f"The request is not valid: {fault}") from None


def _small(raw: msgspec.Raw, kind: type[T], what: str) -> T:
    """A part of the request that has no reason to be large. Raises BadRequest."""
    if memoryview(raw).nbytes > _MAX_SMALL:
        raise BadRequest(f"`{what}` is larger than {_MAX_SMALL} bytes")
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise BadRequest(f"`{what}` is not valid: {fault}") from None


def _as_text(value: str | float | bool) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
