"""Every form of every operation of every pipeline, and what its schema says."""

import json
from pathlib import Path

import pytest

from pipelines.core.registry import load_pipeline, pipeline_modules

CASES = Path(__file__).resolve().parents[1] / "cases"
#: What a request needs besides its file, by schema type; enough to build a minimal body.
PLACEHOLDERS = {"string": "QUJD", "array": [], "object": {}, "integer": 1, "boolean": False}


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
    return json.loads((CASES / module / "schema.json").read_text())[operation.name][form.generation]


def minimal_body(module, operation, form):
    """The required fields of a form, each with some value of its type."""
    described = schema(module, operation, form)["request"]
    return {name: PLACEHOLDERS[described["properties"][name]["type"]] for name in described["required"]}
