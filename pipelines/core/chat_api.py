"""What the operations of document chat do: texts to vectors, keys to texts, questions to answers (10.13)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from .answers import values
from .chat_settings import Desk
from .chunks import OVERLAP, chunks
from .errors import BadRequest, NotConfigured
from .forms import Errand
from .llm import Service
from .prompts import Wording, prompt
from .vector_store import MAX_CHUNKS, VectorStore, pack, retrieve, unpack

#: Tables longer than ``minCharacters`` less this are asked for as text (PaddleX).
_TABLE_ROOM = 500
#: Bounds on what one request may ask for.
MAX_KEYS, MAX_KEY, MAX_TEXT = 200, 500, 4_000_000
#: Texts that go to a device together.
_TEXTS_AT_ONCE = 32
NO_EMBEDDING = "No embedding model is set up: set CHATOCR_EMBEDDING_BASE_URL and CHATOCR_EMBEDDING_MODEL"
JsonObject = dict[str, Any]


class EmbedParams(msgspec.Struct, frozen=True):
    """Texts for the embedding model: the blob is a JSON list of them; how many, and their characters."""

    texts: int = 0
    characters: int = 0


class Embedded(msgspec.Struct, frozen=True):
    """float32 ``[N, D]``."""

    vectors: np.ndarray


class PageInfo(msgspec.Struct):
    """One entry of ``visualInfo``."""

    normal_text_dict: dict[str, str] = {}
    table_text_list: list[str] = []
    table_html_list: list[str] = []


class Document(msgspec.Struct, frozen=True):
    """What a request says about a document: its texts, and its tables as (HTML, text)."""

    texts: list[str]
    tables: list[tuple[str, str]]

    def items(self, min_characters: int) -> list[str]:
        """What is put into a vector store: texts, and tables too long to be asked for by themselves."""
        long = [f"table：{text}" for html, text in self.tables if len(html) > min_characters - _TABLE_ROOM]
        return [*self.texts, *long]


def document_v3(raw: Sequence[JsonObject]) -> Document:
    """Of ``visualInfo``. Raises BadRequest."""
    try:
        pages = msgspec.convert(raw, list[PageInfo])
    except msgspec.ValidationError as error:
        raise BadRequest(f"`visualInfo` is not what /chatocr-visual gave: {error}") from None
    texts = [
        name + "：" + " ".join(text.split("\n")) + "\n"
        for page in pages
        for name, text in page.normal_text_dict.items()
    ]
    tables = [
        pair for page in pages for pair in zip(page.table_html_list, page.table_text_list, strict=False)
    ]
    return _bounded(Document(texts, tables))


def document_2024(raw: JsonObject) -> Document:
    """Of ``visionInfo``. Raises BadRequest."""
    try:
        texts = msgspec.convert(raw.get("ocr_text", []), list[dict[str, str]])
        html = msgspec.convert(raw.get("table_html", []), list[str])
        plain = msgspec.convert(raw.get("table_text", []), list[str])
    except msgspec.ValidationError as error:
        raise BadRequest(f"`visionInfo` is not what /chatocr-vision gave: {error}") from None
    lines = [f"{name}：{text}\n" for page in texts for name, text in page.items()]
    # table_text has one entry per page, table_html one per table
    lines += [f"table：{text}\n" for text in plain if text]
    return _bounded(Document(lines, [(table, "") for table in html]))


def _bounded(found: Document) -> Document:
    size = sum(map(len, found.texts)) + sum(len(html) + len(text) for html, text in found.tables)
    if size > MAX_TEXT:
        raise BadRequest(f"The document has more than {MAX_TEXT} characters")
    return found


def checked_keys(keys: Sequence[str]) -> list[str]:
    """Keys without spaces around, each once. Raises BadRequest."""
    found = list(dict.fromkeys(key.strip() for key in keys if key.strip()))
    if not found:
        raise BadRequest("The list of keys is empty")
    if len(found) > MAX_KEYS or max(map(len, found)) > MAX_KEY:
        raise BadRequest(f"At most {MAX_KEYS} keys of {MAX_KEY} characters each can be asked for")
    return found


# --- vectors


async def embed(errand: Errand, service: Service | None, texts: Sequence[str]) -> NDArray[np.float32]:
    """float32 ``[len(texts), D]``, from a service or from the built-in model on the devices."""
    if service is not None:
        return await cast("Desk", errand.desk).client.embed(service, texts)
    if "embedding" not in errand.config.models:
        raise NotConfigured(NO_EMBEDDING)
    found = []
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        part = list(texts[start : start + _TEXTS_AT_ONCE])
        params = EmbedParams(len(part), sum(map(len, part)))
        answer = await errand.compute(params, msgspec.json.encode(part))
        found.append(np.array(cast("Embedded", answer).vectors))
    return np.concatenate(found)


def model_name(errand: Errand, service: Service | None) -> str:
    """What a vector store says made its embeddings."""
    if service is not None:
        return service.model
    built_in = errand.config.models.get("embedding")
    return built_in.name if built_in else ""


async def build_store(errand: Errand, items: Sequence[str], size: int, service: Service | None) -> str:
    """The opaque string of a document. Raises ServeError."""
    if size <= OVERLAP:
        raise BadRequest(f"`blockSize` must be more than {OVERLAP}")
    texts = await errand.in_thread(chunks, "\t".join(items), size)
    if len(texts) > MAX_CHUNKS:
        raise BadRequest(f"The document has more than {MAX_CHUNKS} blocks")
    vectors = await embed(errand, service, texts)
    store = VectorStore.of(model_name(errand, service), texts, vectors)
    return str(await errand.in_thread(pack, store))


async def related(errand: Errand, text: str, keys: Sequence[str], room: int, service: Service | None) -> str:
    """The part of a packed document that belongs to ``keys``. Raises ServeError."""
    store = await errand.in_thread(unpack, text)
    if store.model != model_name(errand, service):
        raise BadRequest(f"The vector store was made with {store.model}, not {model_name(errand, service)}")
    vectors = await embed(errand, service, keys)
    return str(await errand.in_thread(retrieve, store, keys, vectors, room))


# --- chat


class Question(msgspec.Struct):
    """One extraction: what is still missing, what was found, what was asked and thought on the way."""

    llm: Service
    keys: list[str]
    found: dict[str, str] = {}
    prompts: dict[str, list[str]] = {}
    reasoning: list[str] = []

    @property
    def missing(self) -> list[str]:
        """Keys without a value."""
        return [key for key in self.keys if key not in self.found]

    async def ask(self, errand: Errand, kind: str, content: str, wording: Wording) -> None:
        """Ask for what is missing. Raises ServeError."""
        is_table = kind == "html"
        messages = prompt("table" if is_table else "text", content, self.missing, wording)
        self.prompts.setdefault(kind, []).append("\n\n".join(message["content"] for message in messages))
        said = await cast("Desk", errand.desk).chat(self.llm, messages, self.missing)
        if said.reasoning:
            self.reasoning.append(said.reasoning)
        found = await errand.in_thread(values, said.content, self.missing)
        if said.literal:
            shown = _folded(content)
            found = {key: value for key, value in found.items() if _folded(value) in shown}
        self.found |= found

    def result(self) -> JsonObject:
        """A value per key in the order of the keys, null where the document has none."""
        answer: JsonObject = {key: self.found.get(key) for key in self.keys}
        if self.reasoning:
            answer["reasoning_content"] = self.reasoning
        return answer


def _folded(text: str) -> str:
    return "".join(text.casefold().split())


async def ask_tables(
    errand: Errand, question: Question, tables: Sequence[str], wording: Wording, most: int
) -> None:
    """Ask each table that is short enough for what is missing."""
    for html in tables:
        if question.missing and len(html) <= most - _TABLE_ROOM:
            await question.ask(errand, "html", html, wording)
