"""``/``: a page for people, to try what is served. Its files are those of ``playground/``, and nothing else.

The page reads ``/openapi.json`` and asks the same routes as every client, with the same API keys, so it can
do nothing that its user could not do anyway.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import msgspec

from pipelines.core import examples

#: What a browser may do with the page (CSP level 3): run and show the page's own files, ask this server.
#: No text becomes markup: Trusted Types without a policy refuse ``innerHTML`` and its like.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
_INDEX = "index.html"
#: Stands in the index for the digest of all files.
_PLACE = b"ASSETS"
#: A file whose path holds the digest of its content never changes: a year, the longest in use (RFC 9111).
_FOREVER = "public, max-age=31536000, immutable"


class PageFile(msgspec.Struct, frozen=True):
    """One file of the page.

    Attributes:
        content, kind: its bytes and their content type.
        caching: how long a browser may keep it (``Cache-Control``).
    """

    content: bytes
    kind: str
    caching: str

    def answer(self, known: str) -> tuple[bytes, int, dict[str, str]]:
        """Body, status and headers for a browser that has the versions in ``known`` (``If-None-Match``)."""
        tag = f'"{_digest([self.content])}"'
        headers = _HEADERS | {"ETag": tag, "Cache-Control": self.caching}
        if tag in (each.strip().removeprefix("W/") for each in known.split(",")):
            return b"", 304, headers
        return self.content, 200, headers


@cache
def page_files() -> dict[str, PageFile]:
    """Path to file. All paths but ``/`` hold a digest of everything: no browser ever mixes two versions."""
    found = {path.name: path for path in sorted(Path(__file__).with_name("playground").iterdir())}
    index = found.pop(_INDEX)
    contents = {name: path.read_bytes() for name, path in found.items() if path.suffix in _KINDS}
    names = (*examples.PAGES, *examples.PICTURES)
    contents |= {f"examples/{name}": examples.file_bytes(name) for name in names}
    contents["examples/index.json"] = json.dumps(names).encode()
    digest = _digest(contents.values())
    page = index.read_bytes().replace(_PLACE, digest.encode())
    files = {"/": PageFile(page, _KINDS[".html"], "no-cache")}
    for name, content in contents.items():
        kind = _KINDS[Path(name).suffix]
        files[f"/playground/{digest}/{name}"] = PageFile(content, kind, _FOREVER)
    return files


def _digest(contents: Iterable[bytes]) -> str:
    """16 hexadecimal digits of SHA-256 over all of them."""
    total = hashlib.sha256()
    for content in contents:
        total.update(len(content).to_bytes(8, "little") + content)
    return total.hexdigest()[:16]
