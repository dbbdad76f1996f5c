"""What is sent: the examples that come with this package, or a file, as PaddleX's clients send them."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import orjson

from pipelines.core import examples
from pipelines.core.errors import ConfigError
from pipelines.core.forms import Operation
from pipelines.core.models import ModelStore
from pipelines.core.registry import load_pipeline, pipeline_modules
from server.build import build_config
from server.options import parse
from server.stages import Stages


class Subject(NamedTuple):
    """What is asked of a server: a route, bodies in turn, and what they are in words."""

    path: str
    bodies: Sequence[bytes]
    words: str


def operations() -> dict[str, Operation]:
    """Every route that takes a file, of all pipelines."""
    found: dict[str, Operation] = {}
    for module in pipeline_modules():
        for operation in load_pipeline(module).operations:
            if operation.input != "none" and not (operation.gives_way and operation.path in found):
                found[operation.path] = operation
    return found


def choose_path(served: Iterable[str], wanted: str | None) -> str:
    """``wanted``, or the first route of a server that takes a file. Raises ConfigError."""
    known = operations()
    if wanted is not None:
        if wanted not in known:
            raise ConfigError(
                f"--path {wanted!r}: no such route takes a file; known: {', '.join(sorted(known))}"
            )
        return wanted
    path = next((path for path in served if path in known), None)
    if path is None:
        raise ConfigError("the server does not say which routes it has (/openapi.json): name one with --path")
    return path


def subject(path: str, files: Sequence[bytes], fields: Mapping[str, Any], words: str) -> Subject:
    """Bodies for ``files`` with further fields; without pictures in the answer unless ``fields`` say so."""
    return Subject(path, [_body(operations()[path], file, fields) for file in files], words)


def files_for(path: str, file: Path | None, server_options: Sequence[str]) -> tuple[list[bytes], str]:
    """Files that the route takes, and what they are.

    Args:
        path: route.
        file: is sent alone if given.
        server_options: of the server that was started, for a CSV that its model can read; none for another's.

    Raises:
        ConfigError: there is no example.
        OSError: the file cannot be read.
    """
    if file is not None:
        return [file.read_bytes()], file.name
    kind = operations()[path].input
    if kind == "csv":
        if not server_options:
            raise ConfigError("a CSV has to have the columns of the server's model: give one with --file")
        return [_csv(path, server_options)], "a CSV with the columns of the model"
    names = examples.PAGES if kind == "document" else examples.PICTURES
    return [examples.file_bytes(name) for name in names], ", ".join(names)


def _body(operation: Operation, file: bytes, fields: Mapping[str, Any]) -> bytes:
    known = msgspec.structs.fields(operation.forms[0].request)
    names = {field.encode_name for field in known}
    body: dict[str, Any] = {
        next(field.encode_name for field in known if field.required): base64.b64encode(file).decode()
    }
    if "fileType" in names:
        body["fileType"] = 0 if b"%PDF" in file[:1024] else 1
    if "visualize" in names:
        body["visualize"] = False
    return orjson.dumps(body | dict(fields))


def _csv(path: str, server_options: Sequence[str]) -> bytes:
    """The canary of the pipeline of ``path`` as these options configure it; loads no model."""
    args = parse(server_options)
    config = build_config(args, ModelStore(args.cache_dir))
    for each in config.pipelines:
        pipeline = load_pipeline(each.name)
        if path in {operation.path for operation in pipeline.operations}:
            blob = pipeline(each, Stages(config, config.devices[0])).canary().blob
            if blob is not None:
                return bytes(blob)
    raise ConfigError(f"there is no example for {path}: give a file with --file")
