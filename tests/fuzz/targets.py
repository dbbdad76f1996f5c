"""What is fuzzed in Python: each target takes any bytes and raises only when something is wrong.

The suite runs them on hypothesis' examples (``test_fuzz_targets.py``) and on the saved corpus;
``make fuzz`` runs them under atheris, guided by coverage.
"""

import contextlib
import faulthandler
import json
import math
import mmap
import os
import re
import resource
import tempfile
import traceback
import warnings
from pathlib import Path

import msgspec
import PIL.Image  # noqa: F401 - what a child would import anew each time
import pybase64
import pypdfium2  # noqa: F401
from sanic.exceptions import SanicException

from kernels.csvtext import csv_size
from kernels.jsonscan import json_outline, json_string
from pipelines.core import pickled_scaler
from pipelines.core.errors import BadRequest, ConfigError
from pipelines.core.folders import model_name
from pipelines.core.forms import Source
from pipelines.core.inference_yml import Description
from pipelines.core.paddle_program import read_ports
from pipelines.core.registry import load_pipeline, pipeline_modules
from pipelines.core.yaml_config import load
from server import render
from server.files import file_bytes
from server.headers import read_header
from server.keys import parse_keys
from server.lax import InvalidValue, convert
from server.protocol import Connection
from tests.fuzz.door_targets import call, form, memfd_head, tensors
from tests.fuzz.outside_targets import llm_answer, settings_file
from tests.fuzz.request_targets import address, head, json_body, query, series, vector
from tests.reference import jsonscan as slow

#: Of the child that opens a document here, and pixels of a page.
_RENDER_BYTES, _RENDER_CPU_S, _RENDER_PIXELS, _RENDER_PAGES = 1 << 30, 3, 200_000, 3
_CHUNK = re.compile(rb"\r\n([0-9A-Fa-f]{1,15})[ \t]*(;[^\r\n]*)?\r\n")

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
        with _one_line():
            load(str(path), "starter")


def model_folder(data):
    """What a folder's description and program say, or one line of refusal each."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("inference.yml", "inference.pdmodel", "inference.json"):
            Path(folder, name).write_bytes(data)
        with _one_line():
            assert isinstance(model_name(Path(folder)), str)
        with _one_line():
            about = Description(folder)
            for read in (about.normalization, about.label_list, lambda: about.labels("Topk")):
                with _one_line():
                    read()
            with _one_line():
                about.only_operations({"NormalizeImage"})
            about.shape(about.top("target_size"), 2, "target_size")
        for name in ("inference.pdmodel", "inference.json"):
            with _one_line():
                read_ports(f"{folder}/{name}")


@contextlib.contextmanager
def _one_line():
    """Nothing but a ConfigError comes out, and that is one line."""
    try:
        yield
    except ConfigError as fault:
        assert str(fault) and "\n" not in str(fault)


def scaler_pickle(data):
    """Numbers that scale, or a refusal; nothing in a pickle is ever run."""
    found = pickled_scaler.read(data)
    json.dumps(found)
    assert "error" in found or (len(found["mean"]) == len(found["scale"]) and 0.0 not in found["scale"])


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


class _Wire:
    """What a connection has received in full; nothing more comes, and what it sends is dropped."""

    class Ended(Exception):
        """The client has sent all that it will."""

    def __init__(self, data):
        self.recv_buffer = bytearray(data)
        self.app = self

    async def dispatch(self, *_, **__):
        """Nobody listens to Sanic's signals."""

    async def receive_more(self):
        raise self.Ended

    async def send(self, data):
        """Goes nowhere."""


async def _body(connection):
    pieces = []
    while (piece := await connection.read()) is not None:
        pieces.append(piece)
    return b"".join(pieces)


def _driven(coroutine):
    """What a coroutine returns that never has to wait."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits for something")


def chunked(data):
    """A chunked body as RFC 9112 reads it, and what follows it is the next request; or a refusal."""
    text = b"\r\n" + data  # what ends the line before is still there
    wire = _Wire(text)
    connection = Connection(wire)
    connection.request_body, connection.expecting_continue = "chunked", False
    connection.request_bytes, connection.request_bytes_left, connection.request_max_size = 0, 0, 1 << 20
    try:
        found = _driven(_body(connection))
    except (_Wire.Ended, SanicException):
        return
    body, at, size = b"", 0, -1
    while size:
        head = _CHUNK.match(text, at)
        assert head, "a body was read that no other server would read"
        size, at = int(head[1], 16), head.end()
        body, at = body + text[at : at + size], at + size
    trailers, end, rest = text[at - 2 :].partition(b"\r\n\r\n")
    assert end and b"\n" not in trailers.replace(b"\r\n", b"")
    assert (found, bytes(wire.recv_buffer)) == (body, rest)


def document(data):
    """Pages of the sizes that were told, or a refusal, in a child with bounds as the real one has.

    A crash of the library ends the child, as it would there, and is no finding; a foreign exception is.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads may be there; they are not needed
        pid = os.fork()
    if not pid:
        code = 1
        faulthandler.disable()  # a crash is none of the parent's
        try:
            _render(data)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert not os.WIFEXITED(status) or os.WEXITSTATUS(status) == 0, "the child did not end as it should"


def _render(data):
    """Be that child."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE
    resource.setrlimit(resource.RLIMIT_AS, (taken + _RENDER_BYTES, taken + _RENDER_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (_RENDER_CPU_S, _RENDER_CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    fd = os.memfd_create("document")
    os.write(fd, data)
    opener = render.open_tiff if data[:2] in {b"II", b"MM"} else render.open_pdf
    with contextlib.suppress(render.Unreadable, MemoryError):
        total, sizes, draw = opener(f"/proc/self/fd/{fd}", _RENDER_PAGES, _RENDER_PIXELS)
        assert len(sizes) <= min(total, _RENDER_PAGES)
        for index, (width, height) in enumerate(sizes):
            assert 0 < width * height <= _RENDER_PIXELS
            draw(index, mmap.mmap(-1, width * height * 3))


TARGETS = {
    target.__name__: target
    for target in (
        json_scan, lax, base64, image_header, csv, pipeline_yaml, model_folder, scaler_pickle, api_keys,
        chunked, form, tensors, call, memfd_head, document, head, json_body, query, vector, address, series,
        llm_answer, settings_file,
    )
}  # fmt: skip
