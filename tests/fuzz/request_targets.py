"""Fuzz targets of requests: header, JSON bodies of all kinds of routes, query strings, what they name.

``head`` is held against h11, which reads HTTP by the letter and shares nothing with Sanic.
"""

from types import SimpleNamespace
from urllib.parse import urlsplit

import h11
import httpx
import msgspec
import numpy as np
import pybase64
from sanic.exceptions import SanicException
from sanic.request import Request

from pipelines.core import vector_store
from pipelines.core.chat_api import document_2024, document_v3
from pipelines.core.config import PipelineConfig
from pipelines.core.errors import BadRequest, PipelineError
from pipelines.core.registry import load_pipeline
from pipelines.core.series_csv import CsvRows
from pipelines.core.series_time import Frequency, sorted_times
from server.config import Access, Limits
from server.decode import Endpoint, log_id_of
from server.fetch import Fetcher
from server.protocol import Connection
from server.uploads import open_upload

_ROWS = 20
_FRAMING = {b"content-length", b"transfer-encoding"}
#: Whose forms need nothing of a real configuration.
_PIPELINES = ("ocr", "image_classification", "object_detection", "pp_chatocrv3_doc", "ts_forecast")
_ENDPOINTS = [
    Endpoint(load_pipeline(name), PipelineConfig(name, name, "v3", {}, {}, {}), (0, place), generation)
    for name in _PIPELINES
    for place in range(len(load_pipeline(name).operations))
    for generation in ("2024", "v3")
]
_LISTED = {("files.test", 80), ("files.test", 443), ("files.test", 8080), ("127.0.0.1", 81)}
_FETCHER = Fetcher(Access(url_hosts=("files.test", "files.test:8080", "127.0.0.1:81")), Limits())


class _Header:
    """A connection that has received a header and a byte more; nothing else comes."""

    class Ended(Exception):
        """The client sends no more."""

    def __init__(self, data):
        self.recv_buffer, self.state, self.transport = bytearray(data), {"requests_count": 0}, None
        self.app, self.request_class = self, Request
        self.config = SimpleNamespace(KEEP_ALIVE=True)

    async def dispatch(self, *_, **__):
        """Nobody listens to Sanic's signals."""

    async def receive_more(self):
        raise self.Ended

    async def send(self, data):
        """Goes nowhere."""


class _Bounded(Connection):
    """Sanic sets this for all connections when an app starts."""

    HEADER_MAX_SIZE = 8192


def head(data):
    """A header that is taken is one by the letter and says the same to another server, or a refusal."""
    wire = _Header(data + b"\r\n\r\n!")
    connection = _Bounded(wire)
    connection.request_body = None
    reading = connection.http1_request_header()
    try:
        reading.send(None)
    except StopIteration:
        pass
    except (SanicException, _Header.Ended):
        return
    request, other = connection.request, h11.Connection(h11.SERVER)
    other.receive_data(b"%s\r\n%s\r\n\r\n" % (request.head, b"" if "host" in request.headers else b"Host: x"))
    try:
        read = other.next_event()
    except h11.RemoteProtocolError as fault:
        # What RFC 9110 (5.5) lets a server bear in a value that frames nothing: h11 is stricter.
        assert _odd_value(request.head), fault
        return
    assert (request.method.encode(), request.raw_url) == (read.method, read.target)
    assert connection.head_only == (read.method == b"HEAD")
    framing = {
        name: value for name, value in read.headers if name in {b"content-length", b"transfer-encoding"}
    }
    chunked = b"transfer-encoding" in framing
    assert (connection.request_body == "chunked") == chunked
    if not chunked:
        assert connection.request_bytes_left == int(framing.get(b"content-length", 0))
    assert wire.recv_buffer.endswith(b"\r\n!" if chunked else b"!")


def _odd_value(head):
    """Whether a value that frames nothing has white space in it that HTTP does not know."""
    lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    kept = [
        value for name, _, value in lines if name.lower() not in {b"content-length", b"transfer-encoding"}
    ]
    return any(odd in value for value in kept for odd in (b"\x0b", b"\x0c"))


def json_body(data):
    """A JSON body of any route; the first byte says which. A request, or a refusal."""
    if not data:
        return
    endpoint = _ENDPOINTS[data[0] % len(_ENDPOINTS)]
    try:
        fields = endpoint.open(bytes(data[1:]), 16)
        log_id_of(fields)
        parsed = endpoint.parse(fields)
        for read, name in ((document_v3, "visual_info"), (document_2024, "vision_info")):
            if hasattr(parsed.request, name):
                read(getattr(parsed.request, name))
    except (BadRequest, PipelineError) as fault:
        assert fault.message
        return
    msgspec.msgpack.encode(parsed.params)  # what travels to a device


def query(data):
    """The query string of a raw file: a request, or a refusal."""
    for endpoint in _ENDPOINTS[:2]:
        try:
            upload = open_upload(endpoint.operation, "application/pdf", data.decode("latin-1"))
            upload.take(b"%PDF-1.4")
            upload.end()
            upload.data = b"%PDF-1.4"
            parsed = endpoint.parse(upload.open(endpoint, 16))
            upload.file(endpoint.operation, parsed.form.source(parsed.request))
        except (BadRequest, PipelineError) as fault:
            assert fault.message


def vector(data):
    """A store as it was packed, which finds something, or a refusal; after a 0 the checksum is right."""
    record = bytes(data[1:])
    if data[:1] == b"\0":
        sealed = vector_store._MAGIC + vector_store._digest(record) + record
        text = vector_store.PREFIX + pybase64.b64encode_as_string(sealed)
    else:
        text = vector_store.PREFIX + record.decode("latin-1")
    try:
        store = vector_store.unpack(text)
    except BadRequest:
        return
    assert vector_store.unpack(vector_store.pack(store)) == store
    found = vector_store.retrieve(store, ["a key"], np.ones((1, store.size), dtype=np.float32), 100)
    assert found or not any(store.texts)


def address(data):
    """A URL of a listed host and port, as another reader sees it too, or a refusal; redirects alike."""
    text = data.decode("utf-8", "replace")
    for found in (text, _joined(text)):
        try:
            url = _FETCHER._checked(found)
        except BadRequest:
            continue
        other = urlsplit(str(url))
        port = other.port or {"http": 80, "https": 443}[other.scheme]
        assert (other.hostname, port) in _LISTED
        assert other.username is None


def _joined(text):
    try:
        return str(httpx.URL("https://files.test/a/b?c").join(text))
    except (httpx.InvalidURL, ValueError):  # as Fetcher has it
        return ""


def series(data):
    """Rows of a CSV with times ``t`` and numbers ``a``: finite, in order, with what follows; or a refusal."""
    for freq in ("1h", 1, None):
        frequency = Frequency(freq) if isinstance(freq, str) else None
        try:
            rows = CsvRows(memoryview(data), _ROWS)
            if not rows.total:
                continue  # nobody reads those (pipelines/core/series.py)
            numbers = rows.numbers(["a"])
            assert np.isfinite(numbers).all()
            times, order = sorted_times(rows.times("t"), "t", freq, frequency, rows.row_numbers)
            assert sorted(order) == list(range(len(rows)))
            assert len(times.labels()) == len(rows)
            assert len(times.after(3, "t", rows.row_numbers).labels()) == 3
            times.seconds(3)
            rows.texts("t")
            rows.first_group("t")
        except BadRequest as fault:
            assert fault.message
