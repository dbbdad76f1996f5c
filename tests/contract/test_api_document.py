"""The API document of every pipeline: valid, of this server's own fields, and one page of it."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from pipelines.core.registry import load_pipeline, pipeline_modules
from server.config import Config
from server.decode import endpoints
from server.docs_page import docs_headers, docs_page
from server.openapi import api_document
from tests.contract.every import forms, schema
from tests.driver import config_of

VOID = {"meta", "link", "br"}


def document_of(*modules, needs_key=False):
    bare = [
        config_of(load_pipeline(module).names[0], leave_out=tuple(load_pipeline(module).roles))
        for module in modules
    ]
    return api_document(endpoints(Config(tuple(bare), ())).values(), "1.2.3", needs_key)


@pytest.fixture(scope="module")
def whole():
    return document_of(*pipeline_modules())


def resolved(document, schema):
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def bodies(document, path, media="application/json"):
    found = document["paths"][path]["post"]["requestBody"]["content"][media]["schema"]
    return [resolved(document, each) for each in found.get("anyOf", [found])]


def answers(document, path):
    found = document["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    return found.get("anyOf", [found])


@pytest.mark.parametrize("modules", [("ocr",), pipeline_modules()], ids=len)
def test_it_is_valid(modules):
    OpenAPIV31SpecValidator(document_of(*modules)).validate()


def test_with_keys_it_says_so():
    document = document_of("ocr", needs_key=True)
    OpenAPIV31SpecValidator(document).validate()
    assert document["paths"]["/ocr"]["post"]["security"] == [{"bearer": []}, {"header": []}]
    assert {"401", "429"} <= set(document["paths"]["/ocr"]["post"]["responses"])
    assert "security" not in document["paths"]["/health"]["get"]
    assert "401" not in document_of("ocr")["paths"]["/ocr"]["post"]["responses"]


@pytest.mark.parametrize(("module", "operation", "form"), forms())
def test_it_has_the_fields_of_paddlex(module, operation, form):
    recorded, document = schema(module, operation, form)["request"], document_of(module)
    (found,) = [
        b for b in bodies(document, operation.path) if set(b["properties"]) == set(recorded["properties"])
    ]
    assert set(found["required"]) == set(recorded["required"])


@pytest.mark.parametrize(("module", "operation", "form"), forms())
def test_answers_are_described_in_the_envelope_of_their_generation(module, operation, form):
    document, title = document_of(module), {"v3": "PaddleX 3.x", "2024": "PaddleX of October 2024"}
    (found,) = [each for each in answers(document, operation.path) if each["title"] == title[form.generation]]
    result = resolved(document, found["properties"]["result"])
    assert set(result["properties"]) == set(schema(module, operation, form)["result"]["properties"])


def test_raw_files_and_forms(whole):
    operation = whole["paths"]["/ocr"]["post"]
    assert set(operation["requestBody"]["content"]) == {
        "application/json", "image/*", "application/pdf", "multipart/form-data",
    }  # fmt: skip
    query = {each["name"]: each for each in operation["parameters"] if each["in"] == "query"}
    assert {"textDetThresh", "visualize", "logId", "inferenceParams"} <= set(query)
    assert not {"file", "image"} & set(query)
    assert "content" in query["inferenceParams"] and "schema" in query["visualize"]
    v3, beta = bodies(whole, "/ocr", "multipart/form-data")
    assert (v3["required"], beta["required"]) == (["file"], ["image"])
    chat = whole["paths"]["/chatocr-chat"]["post"]
    assert set(chat["requestBody"]["content"]) == {"application/json"}
    assert "502" in chat["responses"]


def test_every_operation_has_a_name_of_its_own(whole):
    names = [item["post"]["operationId"] for item in whole["paths"].values() if "post" in item]
    assert len(set(names)) == len(names) >= 16
    assert all(re.fullmatch(r"[a-z0-9_A-Z]+", name) for name in names)


def test_the_servers_own_generation_comes_first():
    bare = config_of("OCR", leave_out=tuple(load_pipeline("ocr").roles))
    first = {}
    for generation in ("v3", "2024"):
        config = Config((bare,), (), api_generation=generation)
        document = api_document(endpoints(config).values(), "0", False)
        first[generation] = bodies(document, "/ocr")[0]["required"]
    assert first == {"v3": ["file"], "2024": ["image"]}


# --- the page


class Page(HTMLParser):
    """Tags, links and texts of a page; fails when tags do not close."""

    def __init__(self, content):
        super().__init__()
        self.open, self.tags, self.links, self.style = [], [], [], ""
        self.feed(content)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in {"href", "src", "srcset", "action"}]
        assert not [name for name, _ in attrs if name.startswith("on") or name == "style"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["style"]:
            self.style += data


def test_the_page_needs_nothing_from_elsewhere(whole):
    page = Page(docs_page(whole).decode())
    assert not {"script", "img", "link", "iframe", "object", "form"} & set(page.tags)
    assert page.links and all(link.startswith(("#/", "/")) for link in page.links)


def test_the_pages_own_style_is_all_that_its_policy_allows(whole):
    policy = docs_headers()["Content-Security-Policy"]
    style = Page(docs_page(whole).decode()).style
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}';")
    assert "unsafe" not in policy


@pytest.mark.parametrize("module", pipeline_modules())
def test_the_page_shows_every_route_and_field(module):
    document = document_of(module)
    text = docs_page(document).decode()
    for path in (path for path, item in document["paths"].items() if "post" in item):
        assert f'<h2 id="{path}"><code>POST {path}</code></h2>' in text
        for form in bodies(document, path):
            assert all(f"<code>{name}</code>" in text for name in form["properties"])


def test_what_a_description_holds_is_text_on_the_page(whole):
    nasty = json.loads(json.dumps(whole).replace("PaddleX 3.x", "<script>alert(1)</script>"))
    assert "script" not in Page(docs_page(nasty).decode()).tags
