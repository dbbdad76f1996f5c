"""What is fuzzed in Python: each target takes any bytes and raises only when something is wrong.

The suite runs them on hypothesis' examples (``test_fuzz_targets.py``) and on the saved corpus;
``make fuzz`` runs them under atheris, guided by coverage.
"""

import json
import math
import tempfile
from pathlib import Path

import msgspec
import pybase64

from kernels.csvtext import csv_size
from kernels.jsonscan import json_outline, json_string
from pipelines.core.errors import BadRequest, ConfigError
from pipelines.core.forms import Source
from pipelines.core.registry import load_pipeline, pipeline_modules
from pipelines.core.yaml_config import load
from server.files import file_bytes
from server.headers import read_header
from server.keys import parse_keys
from server.lax import InvalidValue, convert
from tests.reference import jsonscan as slow

_KINDS = [
    msgspec.inspect.type_info(field.type)
    for module in pipeline_modules()
    for operation in load_pipeline(module).operations
    for form in operation.forms
    for field in msgspec.structs.fields(form.request)
]


def json_scan(data):
    """Equal to its slow twin; every string that it takes out is what a JSON parser reads there."""
    depth, spans = json_outline(data, 16, 8)
    assert (depth, spans) == slow.json_outline(data, 16, 8)
    for start, stop in spans:
        assert data[start - 1 : start] == data[stop : stop + 1] == b'"'
        assert json_string(data, start, stop) == json.loads(data[start - 1 : stop + 1])


def lax(data):
    """Any JSON for any field of any operation: a value of the type, or a list of problems."""
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    for kind in _KINDS:
        try:
            made = convert(value, kind, ("body", "x"))
        except InvalidValue as fault:
            assert fault.problems
        else:
            assert not (isinstance(made, float) and math.isnan(made))


def base64(data):
    """The same as Python's own decoder, or a refusal."""
    text = data.decode("latin-1")
    try:
        found = file_bytes(Source("file", text, 1), "blob")
    except BadRequest:
        return
    assert pybase64.b64decode(pybase64.b64encode(found)) == found


def image_header(data):
    """A size, or a refusal."""
    try:
        header = read_header(data)
    except BadRequest:
        return
    assert header.width > 0
    assert header.height > 0
    assert 1 <= header.orientation <= 8


def csv(data):
    """Never fewer lines and commas than there are."""
    lines, commas = csv_size(data)
    assert lines >= data.count(b"\n")
    assert commas == data.count(b",")


def pipeline_yaml(data):
    """A pipeline, or one line of refusal."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p.yaml"
        path.write_bytes(data)
        try:
            load(str(path), "starter")
        except ConfigError as fault:
            assert str(fault)


def api_keys(data):
    """Keys that can be written and read again, or one line of refusal that shows nothing of the file."""
    text = data.decode("utf-8", "replace")
    try:
        keys = parse_keys(text)
    except ConfigError:
        return
    assert [key._replace(rate=0) for key in parse_keys("\n".join(key.line() for key in keys))] == [
        key._replace(rate=0) for key in keys
    ]


TARGETS = {
    target.__name__: target for target in (json_scan, lax, base64, image_header, csv, pipeline_yaml, api_keys)
}
