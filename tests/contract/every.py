"""Every form of every operation of every pipeline, and what its schema says."""

import json
from functools import cache
from pathlib import Path

import jsonschema
import pytest

from pipelines.core.registry import load_pipeline, pipeline_modules
from pipelines.core.result_schemas import result_schema
from tests.driver import config_of

CASES = Path(__file__).resolve().parents[1] / "cases"
#: What a request needs besides its file, by schema type; enough to build a minimal body.
PLACEHOLDERS = {"string": "QUJD", "array": [], "object": {}, "integer": 1, "boolean": False}


@cache
def defaults(module):
    """What ``--pipeline`` with its first name gives; every file of its models has been read."""
    return config_of(load_pipeline(module).names[0])


def forms():
    """Every form of every operation, as parameters."""
    return [
        pytest.param(module, operation, form, id=f"{module}-{operation.name}-{form.generation}")
        for module in pipeline_modules()
        for operation in load_pipeline(module).operations
        for form in operation.forms
    ]


def schema(module, operation, form):
    """``{"request": …, "result": …}`` of one form."""
    recorded = json.loads((CASES / module / "schema.json").read_text())[operation.name][form.generation]
    return recorded | {"result": result_schema(module, operation.name, form.generation)}


def check_result(result, module, operation, form):
    """Raises ValidationError where a result does not fit its schema."""
    described = schema(module, operation, form)["result"]
    jsonschema.validate(_distinct(result), described, jsonschema.Draft202012Validator)


def _distinct(value):
    """The same with every number of a long list once: a schema says nothing of their places."""
    if isinstance(value, dict):
        return {key: _distinct(entry) for key, entry in value.items()}
    if not isinstance(value, list):
        return value
    if len(value) > 1000 and set(map(type, value)) == {int}:
        return sorted(set(value))
    return [_distinct(entry) for entry in value]


def minimal_body(module, operation, form):
    """The required fields of a form, each with some value of its type."""
    described = schema(module, operation, form)["request"]
    return {name: PLACEHOLDERS[described["properties"][name]["type"]] for name in described["required"]}
