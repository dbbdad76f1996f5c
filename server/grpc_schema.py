"""Messages of the Open Inference Protocol v2 over gRPC: field names and numbers, and classes made of them.

No generated file: the classes are built when they are first needed, with whatever protobuf is installed, in a
pool of their own, so that other packages may bring the same names.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

SERVICE = "inference.GRPCInferenceService"

#: What this server reads and writes of the protocol, as a .proto file has it. The tensors' contents of a
#: request are missing: they are taken out before (``grpc_wire.py``).
#: Source: Open Inference Protocol v2, "GRPC" (github.com/kserve/open-inference-protocol).
SCHEMA = """
message ServerLiveResponse { bool live = 1; }
message ServerReadyResponse { bool ready = 1; }
message ModelReadyRequest { string name = 1; string version = 2; }
message ModelReadyResponse { bool ready = 1; }
message ServerMetadataResponse { string name = 1; string version = 2; repeated string extensions = 3; }
message ModelMetadataRequest { string name = 1; string version = 2; }
message TensorMetadata { string name = 1; string datatype = 2; repeated int64 shape = 3; }
message ModelMetadataResponse {
  string name = 1; repeated string versions = 2; string platform = 3;
  repeated TensorMetadata inputs = 4; repeated TensorMetadata outputs = 5;
}
message InferParameter {
  oneof parameter_choice {
    bool bool_param = 1; int64 int64_param = 2; string string_param = 3; double double_param = 4;
    uint64 uint64_param = 5;
  }
}
message InferInputTensor {
  string name = 1; string datatype = 2; repeated int64 shape = 3; map<string, InferParameter> parameters = 4;
}
message InferRequestedOutputTensor { string name = 1; map<string, InferParameter> parameters = 2; }
message ModelInferRequest {
  string model_name = 1; string model_version = 2; string id = 3; map<string, InferParameter> parameters = 4;
  repeated InferInputTensor inputs = 5; repeated InferRequestedOutputTensor outputs = 6;
}
message InferTensorContents { repeated bytes bytes_contents = 8; }
message InferOutputTensor {
  string name = 1; string datatype = 2; repeated int64 shape = 3; map<string, InferParameter> parameters = 4;
  InferTensorContents contents = 5;
}
message ModelInferResponse {
  string model_name = 1; string model_version = 2; string id = 3; map<string, InferParameter> parameters = 4;
  repeated InferOutputTensor outputs = 5; repeated bytes raw_output_contents = 6;
}
"""

_PACKAGE = "inference"
_MESSAGE = re.compile(r"message (\w+) \{((?:[^{}]|\{[^{}]*\})*)\}")
_ONEOF = re.compile(r"oneof (\w+) \{([^{}]*)\}")
_FIELD = re.compile(r"(repeated )?(?:map<string, (\w+)>|(\w+)) (\w+) = (\d+);")


@functools.cache
def message(name: str) -> Any:
    """The class of a message of :data:`SCHEMA`."""
    from google.protobuf.message_factory import GetMessageClass  # noqa: PLC0415 - only with --grpc_port

    return GetMessageClass(_pool().FindMessageTypeByName(f"{_PACKAGE}.{name}"))


@functools.cache
def _pool() -> Any:
    from google.protobuf.descriptor_pb2 import FileDescriptorProto  # noqa: PLC0415 - only with --grpc_port
    from google.protobuf.descriptor_pool import DescriptorPool  # noqa: PLC0415

    file = FileDescriptorProto(name="open_inference_v2.proto", package=_PACKAGE, syntax="proto3")
    for name, body in _MESSAGE.findall(SCHEMA):
        _describe(file.message_type.add(name=name), body)
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool


def _describe(described: Any, body: str) -> None:
    """Add the fields of a message."""
    for choice, fields in _ONEOF.findall(body):
        described.oneof_decl.add(name=choice)
        for found in _FIELD.findall(fields):
            _add_field(described, found).oneof_index = len(described.oneof_decl) - 1
    for found in _FIELD.findall(_ONEOF.sub("", body)):
        _add_field(described, found)


def _add_field(described: Any, found: tuple[str, str, str, str, str]) -> Any:
    repeated, value, kind, name, number = found
    if value:  # a map is a list of entries with key and value
        kind = "".join(word.capitalize() for word in name.split("_")) + "Entry"
        entry = described.nested_type.add(name=kind)
        entry.options.map_entry = True
        _describe(entry, f"string key = 1; {value} value = 2;")
        kind = f"{described.name}.{kind}"
    field = described.field.add(name=name, number=int(number))
    field.label = field.LABEL_REPEATED if repeated or value else field.LABEL_OPTIONAL
    scalars: Mapping[str, int] = {
        "bool": field.TYPE_BOOL, "bytes": field.TYPE_BYTES, "double": field.TYPE_DOUBLE,
        "int64": field.TYPE_INT64, "string": field.TYPE_STRING, "uint64": field.TYPE_UINT64,
    }  # fmt: skip
    if kind in scalars:
        field.type = scalars[kind]
    else:
        field.type, field.type_name = field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
    return field
