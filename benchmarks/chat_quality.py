"""How well document chat finds and extracts, on the 20 labelled documents of ``chat_pages.py``.

    python -m benchmarks.chat_quality                          the retrieval step alone, 1 minute
    python -m benchmarks.chat_quality --extract en zh          and extraction, 10 minutes on two cores

**Retrieval**: the texts as drawn are cut and embedded as ``/chatocr-vector`` does; a key counts when one of
its three best blocks holds its value where the document says it. **Extraction**: documents as PDFs through
``/chatocr-visual``, ``/chatocr-vector`` and ``/chatocr-chat``, with the built-in language model (or the one
in ``CHATOCR_LLM_BASE_URL``); a value counts when it is equal but for spaces and case.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.core.chat_api import document_v3
from pipelines.core.chunks import chunks
from pipelines.core.local_llm import ADDRESS
from pipelines.core.models import resolve
from pipelines.core.registry import load_engine
from pipelines.core.vector_store import VectorStore, ranked
from pipelines.engines.base import EngineOptions
from pipelines.stages.text_embedding import TextEmbedding

from . import chat_pages, peers, process
from .common import parser, report, table

#: ``minCharacters`` of ``/chatocr-vector`` by default, and sizes of blocks: its default, and a third of it,
#: with which even a receipt has more blocks than are looked at.
SHORT, BLOCKS = 3500, (300, 100)
BEST = 3
#: Characters in front of a value that tell where in the document it is meant.
_BEFORE = 3

Embed = Callable[[Sequence[str]], NDArray[np.float32]]


class Found(NamedTuple):
    """One key of one document: what was looked for, whether it was found, and what was in its place."""

    paper: str
    key: str
    right: bool
    answer: str


def embedder(engine: str = "onnxruntime") -> Embed:
    """The built-in embeddings in this process."""
    model = resolve("all-MiniLM-L6-v2", stream=sys.stderr)
    stage = TextEmbedding(model, engine)
    loaded = load_engine(engine)(model, EngineOptions(threads=process.cores()))
    return lambda texts: np.stack([stage.run(loaded, [call.input])[0] for call in stage.calls(texts)])


def blocks(paper: chat_pages.Paper, size: int) -> list[str]:
    """The blocks that ``/chatocr-vector`` makes of a document whose lines were read without a fault."""
    info = {"normal_text_dict": {"words in text": "\n".join(paper.lines)}}
    return chunks("\t".join(document_v3([info]).items(SHORT)), size)


def place(paper: chat_pages.Paper, key: str) -> str:
    """The value with what stands before it, in the line that names the key, or else the last that has it."""
    value = paper.answers[key]
    lines = [line for line in paper.lines if value in line]
    line = next((line for line in lines if key.casefold() in line.casefold()), lines[-1])
    at = line.index(value)
    return folded(line[max(0, at - _BEFORE) : at + len(value)])


def folded(text: str) -> str:
    """Without spaces and case."""
    return "".join(text.casefold().split())


def retrieval(papers: Sequence[chat_pages.Paper], embed: Embed, size: int) -> Iterator[Found]:
    """Per key: whether one of the best blocks holds its value."""
    for paper in papers:
        texts, keys = blocks(paper, size), list(paper.answers)
        store = VectorStore.of("", texts, embed(texts))
        for key, order in zip(keys, ranked(store, keys, embed(keys)), strict=True):
            best = [texts[number] for number in order[:BEST]]
            right = any(place(paper, key) in folded(text) for text in best)
            yield Found(paper.name, key, right, best[0])


# --- extraction


def ask(port: int, path: str, **body: Any) -> dict[str, Any]:
    """``result`` of one request."""
    url, head = f"http://127.0.0.1:{port}{path}", {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), head)
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.load(answer)["result"]


def extraction(papers: Sequence[chat_pages.Paper], folder: Path) -> Iterator[Found]:
    """Per key: whether the language model's value is the document's."""
    port, log = process.free_port(), folder / "chat-quality.log"
    command = (sys.executable, "-m", "server", "--pipeline", "PP-ChatOCRv3-doc", "--host", "127.0.0.1",
               "--port", str(port))  # fmt: skip
    env = {"CHATOCR_LLM_BASE_URL": os.environ.get("CHATOCR_LLM_BASE_URL") or ADDRESS}
    with process.running(list(command), port, log, ready_path="/health/ready", env=env):
        for paper in papers:
            file = base64.b64encode(chat_pages.pdf(paper, peers.font())).decode()
            info = ask(port, "/chatocr-visual", file=file, fileType=0, visualize=False)["visualInfo"]
            vector = ask(port, "/chatocr-vector", visualInfo=info)["vectorInfo"]
            keys, started = list(paper.answers), time.monotonic()
            got = ask(port, "/chatocr-chat", keyList=keys, visualInfo=info, vectorInfo=vector)["chatResult"]
            print(f"{paper.name}: {time.monotonic() - started:.1f} s", flush=True)
            for key, value in paper.answers.items():
                yield Found(paper.name, key, folded(got[key] or "") == folded(value), got[key] or "")


def by_chance(papers: Sequence[chat_pages.Paper], size: int) -> float:
    """The share of keys that blocks drawn by lot would find."""
    hits = [(min(1.0, BEST / len(blocks(paper, size))), len(paper.answers)) for paper in papers]
    return sum(share * keys for share, keys in hits) / sum(keys for _, keys in hits)


def rows_of(step: str, found: Sequence[Found]) -> list[dict[str, Any]]:
    """Right and all keys per kind and language, and together."""
    groups: dict[str, list[bool]] = {}
    for each in found:
        groups.setdefault(each.paper.rpartition("-")[0], []).append(each.right)
    groups["all"] = [each.right for each in found]
    return [
        {
            "step": step,
            "documents": name,
            "right": sum(right),
            "keys": len(right),
            "share": sum(right) / len(right),
        }
        for name, right in groups.items()
    ]


def main() -> None:
    options_parser = parser(__doc__)
    options_parser.add_argument("--extract", nargs="+", choices=("en", "zh"), default=[], help="extract too")
    options_parser.add_argument("--peers", type=Path, default=peers.DEFAULT_FOLDER, help="folder for logs")
    options = options_parser.parse_args()
    papers = chat_pages.papers()[:: 7 if options.quick else 1]
    embed, found, rows = embedder(), [], []
    for size in BLOCKS:
        retrieved = list(retrieval(papers, embed, size))
        print(f"blocks of {size} characters: by chance {by_chance(papers, size):.3f}")
        rows += rows_of(f"retrieval, blocks of {size}", retrieved)
        found += retrieved
    wanted = [paper for paper in papers if paper.name.split("-")[1] in options.extract]
    if wanted:
        extracted = list(extraction(wanted, options.peers))
        rows += rows_of("extraction", extracted)
        found += extracted
    for each in found:
        if not each.right:
            print(f"{each.paper} {each.key}: {each.answer!r}")
    header = ("step", "documents", "right", "keys", "share")
    print(table(header, [[row[name] for name in header] for row in rows]))
    report("chat_quality", rows, options=vars(options), path=options.json)


if __name__ == "__main__":
    main()
