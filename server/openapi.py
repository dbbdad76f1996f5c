"""The API document (OpenAPI 3.1) of what is served, made from what the pipelines declare.

Requests are described by the Structs that read them, answers by ``pipelines/core/result_schemas.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from pipelines.core.forms import Form
from pipelines.core.result_schemas import result_schema
from server.decode import Endpoint
from server.lines import NDJSON
from server.uploads import FILE_TYPES

Json = dict[str, Any]

_REFERENCE = "#/components/schemas/{name}"
_GENERATIONS = {"v3": "PaddleX 3.x", "2024": "PaddleX of October 2024"}
_FAULT: Json = {
    "type": "object",
    "description": "Every answer that is not a result.",
    "properties": {
        "logId": {"type": "string"},
        "errorCode": {"type": "integer", "description": "The HTTP status."},
        "errorMsg": {"type": "string"},
    },
    "required": ["logId", "errorCode", "errorMsg"],
}
#: Faults of operations; docs/errors.md has them all.
_FAULTS = {
    "408": "Header or body not complete in time.",
    "413": "The body is too large.",
    "422": "The body, a parameter or the file is wrong; for fields `errorMsg` is a JSON list of problems.",
    "500": "The pipeline is not set up for this, or failed.",
    "503": "At capacity, or no device can run anything.",
    "504": "The deadline passed.",
}
_KEY_FAULTS = {"401": "No API key, or none that is known.", "429": "More than this key may ask."}
_ERRAND_FAULTS = {"502": "The language model or embedding service failed."}
_BUSY = frozenset({"429", "503"})
_HEADERS: tuple[tuple[str, Json, str], ...] = (
    ("X-Request-Timeout-Ms", {"type": "integer", "minimum": 1}, "Lowers the deadline of the request."),
    ("X-Priority", {"enum": ["interactive", "batch"]}, "`batch` gives way to everything else."),
    ("X-Request-Id", {"type": "string", "maxLength": 128}, "Comes back in the answer."),
)
_LINES: Json = {
    "type": "string",
    "description": "Asked for with `Accept`: a JSON object a line. For each page, when it is finished, "
    "`pageIndex` and `result`; at the end `logId`, `errorCode`, `errorMsg`, `dataInfo` and `numPages`.",
}
_BINARY: Json = {"contentMediaType": "application/octet-stream"}
_PROBES = {
    "/health": ("Whether the server answers (PaddleX's own).", ()),
    "/health/live": ("Whether this process is alive.", ()),
    "/health/ready": ("Whether requests can be answered.", ("503",)),
}


def api_document(endpoints: Iterable[Endpoint], version: str, needs_key: bool) -> Json:
    """The whole document, of builtins.

    Args:
        endpoints: every route that is served.
        version: of this server.
        needs_key: whether operations ask for an API key.
    """
    every = list(endpoints)
    components: Json = {"Fault": _FAULT}
    requests = [form.request for endpoint in every for form in endpoint.operation.forms]
    references, found = msgspec.json.schema_components(list(dict.fromkeys(requests)), ref_template=_REFERENCE)
    components |= found
    named = dict(zip(dict.fromkeys(requests), references, strict=True))
    paths: Json = {}
    for endpoint in every:
        operation = _Operation(endpoint, named, components, needs_key)
        paths[endpoint.path] = {"post": operation.described()}
    paths |= {path: {"get": _probe(*about)} for path, about in _PROBES.items()}
    titles = ", ".join(dict.fromkeys(endpoint.config.title for endpoint in every))
    document: Json = {
        "openapi": "3.1.0",
        "info": {"title": f"PaddleX pipelines: {titles}", "version": version},
        "paths": paths,
        "components": {"schemas": components},
    }
    if needs_key:
        document["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
    return document


class _Operation:
    """One route's part of the document."""

    def __init__(self, endpoint: Endpoint, requests: Mapping[Any, Json], schemas: Json, key: bool) -> None:
        self._endpoint, self._requests, self._schemas, self._needs_key = endpoint, requests, schemas, key
        forms = endpoint.operation.forms
        first = forms[endpoint.default_form]
        self._forms = [first, *(form for form in forms if form is not first)]

    def described(self) -> Json:
        """The operation object."""
        endpoint = self._endpoint
        name = f"{endpoint.path.strip('/')}_{endpoint.operation.name}".replace("-", "_")
        described: Json = {
            "operationId": name,
            "tags": [endpoint.config.title],
            "summary": f"{endpoint.config.title}: {endpoint.operation.name}",
            "parameters": [*self._query(), *map(_header, _HEADERS)],
            "requestBody": {"required": True, "content": self._bodies()},
            "responses": self._responses(),
        }
        if self._needs_key:
            described["security"] = [{"bearer": []}, {"header": []}]
        return described

    def _bodies(self) -> Json:
        content: Json = {
            "application/json": {"schema": _any_of(self._requests[f.request] for f in self._forms)}
        }
        operation = self._endpoint.operation
        for media in FILE_TYPES.get(operation.input, ()):
            content[media + "*" if media.endswith("/") else media] = {"schema": {}}
        if operation.input != "none":
            content["multipart/form-data"] = {"schema": _any_of(map(self._form_data, self._forms))}
        return content

    def _form_data(self, form: Form) -> Json:
        file = self._endpoint.file_field_of(form)
        properties = {file: _BINARY} | {name: kind for name, kind in self._fields(form) if name != file}
        return {
            "type": "object",
            "title": _GENERATIONS[form.generation],
            "properties": properties,
            "required": [file],
        }

    def _query(self) -> list[Json]:
        """Parameters of raw files: the fields of all forms but for the file."""
        if self._endpoint.operation.input == "none":
            return []
        found: dict[str, Json] = {}
        for form in self._forms:
            file = self._endpoint.file_field_of(form)
            for name, kind in self._fields(form):
                if name not in {file, *found}:
                    found[name] = {
                        "name": name,
                        "in": "query",
                        "description": "With a raw file only.",
                    } | _carried(kind)
        return list(found.values())

    def _fields(self, form: Form) -> Iterable[tuple[str, Json]]:
        name = self._requests[form.request]["$ref"].rpartition("/")[2]
        described: Json = self._schemas[name]["properties"]
        return described.items()

    def _responses(self) -> Json:
        success: Json = {
            "description": "The result, in the envelope of the generation that the request is of.",
            "headers": {
                "Server-Timing": {"schema": {"type": "string"}, "description": "Milliseconds per step."},
                "X-Request-Id": {"schema": {"type": "string"}},
            },
            "content": {"application/json": {"schema": _any_of(map(self._envelope, self._forms))}},
        }
        if any(form.page_by_page for form in self._forms):
            success["content"][NDJSON] = {"schema": _LINES}
        faults = dict(_FAULTS)
        if self._needs_key:
            faults |= _KEY_FAULTS
        if self._endpoint.operation.input == "none":
            faults |= _ERRAND_FAULTS
        return {"200": success} | {code: _fault(code, words) for code, words in sorted(faults.items())}

    def _envelope(self, form: Form) -> Json:
        module, operation = self._endpoint.config.name, self._endpoint.operation.name
        name = f"{module}.{operation}.{form.generation}"
        result = result_schema(module, operation, form.generation)
        for inner, schema in result.get("$defs", {}).items():
            self._schemas[f"{name}.{inner}"] = _moved(schema, name)
        self._schemas[name] = _moved({key: value for key, value in result.items() if key != "$defs"}, name)
        return {
            "type": "object",
            "title": _GENERATIONS[form.generation],
            "properties": {
                "logId": {"type": "string"},
                "result": {"$ref": _REFERENCE.format(name=name)},
                "errorCode": {"const": 0},
                "errorMsg": {"const": "Success"},
            },
            "required": ["logId", "result", "errorCode", "errorMsg"],
        }


def _moved(schema: Any, name: str) -> Any:
    """A schema whose own definitions have become components."""
    if isinstance(schema, list):
        return [_moved(each, name) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _REFERENCE.format(name=f"{name}.{value.rpartition('/')[2]}")
        if key == "$ref"
        else _moved(value, name)
        for key, value in schema.items()
    }


def _any_of(schemas: Iterable[Json]) -> Json:
    found = list(schemas)
    return found[0] if len(found) == 1 else {"anyOf": found}


def _carried(kind: Json) -> Json:
    """How a value of this schema stands in a query string: as itself, or as JSON where it has parts."""
    members = kind.get("anyOf", [kind])
    plain = all(member.get("type") not in {"object", "array"} and "$ref" not in member for member in members)
    return {"schema": kind} if plain else {"content": {"application/json": {"schema": kind}}}


def _header(about: tuple[str, Json, str]) -> Json:
    name, schema, words = about
    return {"name": name, "in": "header", "description": words, "schema": schema}


def _fault(code: str, words: str) -> Json:
    fault: Json = {
        "description": words,
        "content": {"application/json": {"schema": {"$ref": _REFERENCE.format(name="Fault")}}},
    }
    if code in _BUSY:
        fault["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    return fault


def _probe(words: str, faults: tuple[str, ...]) -> Json:
    return {
        "tags": ["health"],
        "summary": words,
        "responses": {code: _fault(code, words) for code in ("200", *faults)},
    }
