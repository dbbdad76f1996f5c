"""``/openapi.json`` and ``/docs`` of a running server."""

import json

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from server.docs_page import docs_headers
from tests.e2e.test_http_operations import raw

pytestmark = pytest.mark.usefixtures("clean")


def test_openapi(server):
    status, headers, content = raw(server, "GET", "/openapi.json")
    assert (status, headers["content-type"]) == (200, "application/json")
    document = json.loads(content)
    OpenAPIV31SpecValidator(document).validate()
    assert {path for path in document["paths"] if "post" in document["paths"][path]} == {"/ocr"}
    assert document["info"]["title"] == "PaddleX pipelines: OCR"


def test_docs(server):
    status, headers, content = raw(server, "GET", "/docs")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert docs_headers().items() <= dict(headers.items()).items()
    assert b"POST /ocr" in content


def test_head_is_answered_without_a_body(server):
    status, headers, content = raw(server, "HEAD", "/docs")
    assert (status, content) == (200, b"")
    assert int(headers["content-length"]) > 1000
