"""``/docs``: the API document as one page for people. No script, nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from html import escape
from typing import Any

Json = dict[str, Any]

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 0 auto; padding: 1rem; }
h2 { margin-top: 3rem; border-bottom: 1px solid; }
table { border-collapse: collapse; width: 100%; }
caption { text-align: left; font-weight: bold; padding: .5rem 0; }
th, td { text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0; }
tr { border-bottom: 1px solid #8886; }
pre { overflow-x: auto; padding: .6rem; border: 1px solid #8886; border-radius: .3rem; }
"""
_SCHEMA = "#/components/schemas/"
#: Examples by the first content type of a raw file that a route takes.
_EXAMPLES = {
    "image/*": ("image/png", "page.png"),
    "text/csv": ("text/csv", "series.csv"),
}


def docs_headers() -> dict[str, str]:
    """What a browser may do with the page: show it, with its own style."""
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    rules = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return {
        "Content-Security-Policy": f"{rules}; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }


def docs_page(document: Json) -> bytes:
    """The page for an API document of ``server/openapi.py``."""
    title = escape(document["info"]["title"])
    posts = {path: item["post"] for path, item in document["paths"].items() if "post" in item}
    links = "".join(f'<li><a href="#{escape(path)}">{escape(path)}</a></li>' for path in posts)
    sections = "".join(_section(path, operation, document) for path, operation in posts.items())
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>{_STYLE}</style></head>
<body><header><h1>{title}</h1>
<p>Version {escape(document["info"]["version"])}. For programs: <a href="/openapi.json">openapi.json</a>.</p>
<nav aria-label="Routes"><ul>{links}</ul></nav></header><main>{sections}</main></body></html>
"""
    return page.encode()


def _section(path: str, operation: Json, document: Json) -> str:
    content = operation["requestBody"]["content"]
    forms = _members(content["application/json"]["schema"], document)
    tables = "".join(_fields(form.get("description", ""), form) for form in forms)
    examples = "\n".join(_examples(path, content, forms[0]))
    rows = (
        f"<tr><th scope=row>{code}</th><td>{escape(response['description'])}</td></tr>"
        for code, response in operation["responses"].items()
    )
    answers = _members(operation["responses"]["200"]["content"]["application/json"]["schema"], document)
    results = "".join(_result(answer, document) for answer in answers)
    return f"""<section aria-labelledby="{escape(path)}">
<h2 id="{escape(path)}"><code>POST {escape(path)}</code></h2><p>{escape(operation["summary"])}</p>
<pre>{escape(examples)}</pre>{tables}{results}
<table><caption>Answers</caption>{"".join(rows)}</table></section>
"""


def _members(schema: Json, document: Json) -> list[Json]:
    """The schemas that a body may be of."""
    return [_resolved(member, document) for member in schema.get("anyOf", [schema])]


def _resolved(schema: Json, document: Json) -> Json:
    reference = schema.get("$ref")
    if reference is None:
        return schema
    found: Json = document["components"]["schemas"][reference.removeprefix(_SCHEMA)]
    return found


def _examples(path: str, content: Json, form: Json) -> Iterable[str]:
    file = next(iter(form["required"]), "file")
    yield f"curl -H 'Content-Type: application/json' -d @request.json http://localhost:8080{path}"
    for media, (sent, name) in _EXAMPLES.items():
        if media in content:
            yield f"curl -H 'Content-Type: {sent}' --data-binary @{name} http://localhost:8080{path}"
            yield f"curl -F {file}=@{name} http://localhost:8080{path}"


def _fields(caption: str, form: Json) -> str:
    rows = (
        f"<tr><th scope=row><code>{escape(name)}</code></th><td>{escape(_words(schema))}</td>"
        f"<td>{'needed' if name in form['required'] else escape(_default(schema))}</td></tr>"
        for name, schema in form["properties"].items()
    )
    head = "<tr><th scope=col>field</th><th scope=col>type</th><th scope=col>default</th></tr>"
    return f"<table><caption>{escape(caption)}</caption>{head}{''.join(rows)}</table>"


def _default(schema: Json) -> str:
    return json.dumps(schema["default"]) if schema.get("default") is not None else ""


def _words(schema: Json) -> str:
    """A type in a few words: ``number, 0 to 100``."""
    if "anyOf" in schema:
        return " or ".join(_words(each) for each in schema["anyOf"] if each.get("type") != "null")
    if "enum" in schema:
        return " or ".join(json.dumps(value) for value in schema["enum"])
    if "$ref" in schema:
        return "object"
    words = str(schema.get("type", "any"))
    if words == "array" and schema.get("items"):
        return f"array of {_words(schema['items'])}"
    if words == "array" and "prefixItems" in schema:
        return f"array of {len(schema['prefixItems'])} values"
    low, high = schema.get("minimum"), schema.get("maximum")
    return f"{words}, {low:g} to {high:g}" if low is not None and high is not None else words


def _result(answer: Json, document: Json) -> str:
    result = _resolved(answer["properties"]["result"], document)
    text = escape(json.dumps(result, indent=1))
    return f"<details><summary>Result, {escape(answer['title'])}</summary><pre>{text}</pre></details>"
