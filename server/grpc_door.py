"""The Open Inference Protocol v2 over gRPC, without the network: a ModelInferRequest in, its response out."""

from __future__ import annotations

import math
from typing import Any

from pipelines.core.config import Generation
from pipelines.core.errors import BadRequest
from server import encode, oip
from server.decode import Endpoint, Fields, check_log_id
from server.doors import Door
from server.grpc_schema import message
from server.grpc_wire import Outline, delimited, outline

#: In front of an element of a raw BYTES tensor: its length, little endian.
_PREFIX = 4
#: Field number of ``ModelInferResponse.raw_output_contents``.
_RAW_OUTPUT_CONTENTS = 6
#: Characters of a name that are repeated in an answer.
_MAX_NAME = 80


class Message(oip.Tensors):
    """One ModelInferRequest.

    Args:
        content: the message. It is let go of when the fields are read.

    Raises:
        BadRequest: it is none.

    Attributes:
        model, version: which model is asked.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(None)
        self.nbytes = len(content)
        self._parts: Outline | None = outline(content)
        self._request = parse("ModelInferRequest", self._parts.small)
        self.model, self.version = self._request.model_name, self._request.model_version
        self.id = check_log_id(self._request.id)

    def open(self, endpoint: Endpoint, max_depth: int) -> Fields:
        """The fields; the file is in ``data`` afterwards. Raises BadRequest."""
        request, parts, self._parts = self._request, self._parts, None
        if not request.inputs or parts is None:
            raise BadRequest("A request has one input")
        tensor = request.inputs[0]
        oip.check_tensor(tensor.name, tensor.datatype, tensor.shape)
        for output in request.outputs:
            oip.check_output(output.name)
        self.binary = parts.raw is not None
        return self.read(endpoint, tensor.name, _content(parts), _parameters(request.parameters), max_depth)

    def answer(self, content: bytes) -> bytes:
        """A ModelInferResponse with this result, raw when the request was raw."""
        response = message("ModelInferResponse")(model_name=self.model, model_version=oip.VERSION, id=self.id)
        output = response.outputs.add(name=oip.OUTPUT, datatype="BYTES", shape=[1])
        if not self.binary:
            output.contents.bytes_contents.append(content)
            return bytes(response.SerializeToString())
        # What is written one after another is one message: the result need not be copied into an object.
        size = len(content).to_bytes(_PREFIX, "little")
        head = delimited(_RAW_OUTPUT_CONTENTS, len(size) + len(content))
        return b"".join([response.SerializeToString(), head, size, content])


class GrpcDoor(Door):
    """One call of ModelInfer.

    Attributes:
        message: the request, once it is there.
    """

    def __init__(self) -> None:
        self.message: Message | None = None

    def write(self, generation: Generation, log_id: str, result: encode.Result) -> bytes:
        """The response. Any thread."""
        content = encode.bare(generation, result)
        return self.message.answer(content) if self.message is not None else content


def parse(name: str, content: bytes) -> Any:
    """A message of :data:`server.grpc_schema.SCHEMA`. Raises BadRequest."""
    from google.protobuf.message import DecodeError  # noqa: PLC0415 - only with --grpc_port

    try:
        return message(name).FromString(content)
    except (DecodeError, UnicodeDecodeError):
        raise BadRequest(f"The message is no {name}") from None


def describe(endpoint: Endpoint) -> bytes:
    """A ModelMetadataResponse."""
    return bytes(message("ModelMetadataResponse")(**oip.describe(endpoint)).SerializeToString())


def _content(parts: Outline) -> bytes:
    """The one element of the one tensor."""
    raw = parts.raw
    if raw is None:
        if parts.content is None:
            raise BadRequest("The input needs `raw_input_contents`, or `contents` with `bytes_contents`")
        return bytes(parts.content)
    if parts.content is not None:
        raise BadRequest("The input has its contents twice")
    length = int.from_bytes(raw[:_PREFIX], "little")
    if len(raw) != _PREFIX + length:
        raise BadRequest(f"`raw_input_contents` has {len(raw)} bytes with an element of {length}")
    return bytes(raw[_PREFIX:])


def _parameters(given: Any) -> dict[str, str | float | bool]:
    """Name to value. Raises BadRequest."""
    found: dict[str, str | float | bool] = {}
    for name, choices in given.items():
        choice = choices.WhichOneof("parameter_choice")
        value = None if choice is None else getattr(choices, choice)
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            raise BadRequest(f"Parameter `{name[:_MAX_NAME]}` has no value, or one that is not finite")
        found[name] = value
    return found
