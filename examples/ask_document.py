"""Asks a document for the values of keys, by the three requests of document chat (docs/document-chat.md).

    python examples/ask_document.py invoice.pdf "Invoice number" "Grand total"

The server: ``python -m server --pipeline PP-ChatOCRv3-doc`` with a language model. This file needs nothing
but Python.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any


def ask(url: str, body: dict[str, Any], key: str = "") -> dict[str, Any]:
    """``result`` of one request. Raises SystemExit with what the server says."""
    head = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    request = urllib.request.Request(url, json.dumps(body).encode(), head)
    try:
        with urllib.request.urlopen(request, timeout=600) as answer:
            result: dict[str, Any] = json.load(answer)["result"]
            return result
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{url}: {error.code} {json.load(error)['errorMsg']}") from None
    except urllib.error.URLError as error:
        raise SystemExit(f"{url}: {error.reason}") from None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("file", type=Path, help="PDF or image")
    parser.add_argument("keys", nargs="+", help="what is asked for")
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="the server")
    parser.add_argument("--api_key", default="", help="where the server asks for one")
    parser.add_argument("--characters", type=int, default=3500,
                        help="of a longer text the model sees what belongs to the keys")  # fmt: skip
    options = parser.parse_args()
    file = base64.b64encode(options.file.read_bytes()).decode()
    kind = 0 if options.file.suffix.lower() == ".pdf" else 1

    def step(name: str, **body: Any) -> dict[str, Any]:
        return ask(f"{options.url}/chatocr-{name}", body, options.api_key)

    seen = step("visual", file=file, fileType=kind, visualize=False)
    info, room = seen["visualInfo"], options.characters
    tables = sum(len(page["table_html_list"]) for page in info)
    print(f"{len(info)} pages, {tables} tables", file=sys.stderr)
    vector = step("vector", visualInfo=info, minCharacters=room)["vectorInfo"]
    shown = "all of the text" if vector["flag_too_short_text"] else f"parts, found by {vector['model_name']}"
    print(f"the model is shown {shown}", file=sys.stderr)
    found = step("chat", keyList=options.keys, visualInfo=info, vectorInfo=vector, minCharacters=room)
    print(json.dumps(found["chatResult"], ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
