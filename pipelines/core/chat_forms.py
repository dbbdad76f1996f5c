"""The forms of ``/chatocr-vector``, ``/chatocr-retrieval`` and ``/chatocr-chat`` in both generations."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, cast

import msgspec

from .chat_api import (
    EmbedParams,
    JsonObject,
    Question,
    ask_tables,
    build_store,
    checked_keys,
    document_2024,
    document_v3,
    model_name,
    related,
)
from .chat_settings import Desk
from .config import Generation, PipelineConfig
from .errors import BadRequest
from .forms import Errand, ErrandForm
from .prompts import Wording
from .vector_store import PREFIX

Count = Annotated[int, msgspec.Meta(ge=0, le=10_000_000)]
#: Characters of retrieved text where the 2024 generation has no parameter for it (PaddleX).
_ROOM_2024 = 3500
_BLOCK_2024 = 300


class VectorRequest(msgspec.Struct, rename="camel"):
    """``/chatocr-vector`` of 3.x."""

    visual_info: list[JsonObject]
    min_characters: Count = 3500
    block_size: Count = 300
    retriever_config: JsonObject | None = None


class ChatRequest(msgspec.Struct, rename="camel"):
    """``/chatocr-chat`` of 3.x."""

    key_list: list[str]
    visual_info: list[JsonObject]
    use_vector_retrieval: bool = True
    vector_info: JsonObject | None = None
    min_characters: Count = 3500
    text_task_description: str | None = None
    text_output_format: str | None = None
    text_rules_str: str | None = None
    text_few_shot_demo_text_content: str | None = None
    text_few_shot_demo_key_value_list: str | None = None
    table_task_description: str | None = None
    table_output_format: str | None = None
    table_rules_str: str | None = None
    table_few_shot_demo_text_content: str | None = None
    table_few_shot_demo_key_value_list: str | None = None
    chat_bot_config: JsonObject | None = None
    retriever_config: JsonObject | None = None

    def wording(self, kind: str) -> Wording:
        """The words that the request has for ``text`` or ``table``."""
        return Wording(**{name: getattr(self, f"{kind}_{name}") for name in Wording.__struct_fields__})


class VectorRequest2024(msgspec.Struct, rename="camel"):
    """``/chatocr-vector`` of 2024."""

    vision_info: JsonObject
    min_chars: Count | None = None
    llm_request_interval: float | None = None
    llm_name: str | None = None
    llm_params: JsonObject | None = None


class RetrievalRequest(msgspec.Struct, rename="camel"):
    """``/chatocr-retrieval``, which only 2024 has."""

    keys: list[str]
    vector_store: str
    llm_name: str | None = None
    llm_params: JsonObject | None = None


class ChatRequest2024(msgspec.Struct, rename="camel"):
    """``/chatocr-chat`` of 2024."""

    keys: list[str]
    vision_info: JsonObject
    task_description: str | None = None
    rules: str | None = None
    few_shot: str | None = None
    vector_store: str | None = None
    retrieval_result: str | None = None
    return_prompts: bool = True
    llm_name: str | None = None
    llm_params: JsonObject | None = None


class ChatForm(ErrandForm):
    """What all of them share."""

    params_type = EmbedParams

    def params(self, request: Any, config: PipelineConfig) -> EmbedParams:
        """Those of an empty list: ``answer`` makes its own."""
        return EmbedParams()


def marks_of(request: type[msgspec.Struct], *shared: str) -> frozenset[str]:
    """Names of a request's fields but for those that the other generation has too."""
    return frozenset(field.encode_name for field in msgspec.structs.fields(request)) - set(shared)


class VectorForm(ChatForm):
    """3.x: ``visualInfo`` to ``vectorInfo``."""

    generation: ClassVar[Generation] = "v3"
    request = VectorRequest
    marks: ClassVar[frozenset[str]] = marks_of(VectorRequest)

    async def answer(self, errand: Errand) -> dict[str, Any]:
        """The texts themselves when they are short, else a vector string."""
        request, desk = cast("VectorRequest", errand.request), cast("Desk", errand.desk)
        items = document_v3(request.visual_info).items(request.min_characters)
        if sum(map(len, items)) <= request.min_characters:
            return {
                "vectorInfo": {"flag_save_bytes_vector": False, "flag_too_short_text": True, "vector": items}
            }
        service = desk.asked_embedding(request.retriever_config)
        info = {
            "flag_save_bytes_vector": True,
            "flag_too_short_text": False,
            "model_name": model_name(errand, service),
            "block_size": request.block_size,
            "vector": await build_store(errand, items, request.block_size, service),
        }
        return {"vectorInfo": info}


class VectorForm2024(ChatForm):
    """2024: ``visionInfo`` to ``vectorStore``."""

    generation: ClassVar[Generation] = "2024"
    request = VectorRequest2024
    marks: ClassVar[frozenset[str]] = marks_of(VectorRequest2024)

    async def answer(self, errand: Errand) -> dict[str, Any]:
        """A vector string, or the text itself when it is shorter than ``minChars``."""
        request, desk = cast("VectorRequest2024", errand.request), cast("Desk", errand.desk)
        items = document_2024(request.vision_info).texts
        if sum(map(len, items)) < max(1, request.min_chars or 0):
            return {"vectorStore": "".join(items)}
        return {"vectorStore": await build_store(errand, items, _BLOCK_2024, desk.asked_embedding(None))}


class RetrievalForm(ChatForm):
    """2024: the text of a vector store that belongs to keys."""

    generation: ClassVar[Generation] = "2024"
    request = RetrievalRequest
    marks: ClassVar[frozenset[str]] = marks_of(RetrievalRequest)

    async def answer(self, errand: Errand) -> dict[str, Any]:
        """What is no vector string is text that was too short for one, and comes back as it is."""
        request, desk = cast("RetrievalRequest", errand.request), cast("Desk", errand.desk)
        keys = checked_keys(request.keys)
        if not request.vector_store.startswith(PREFIX):
            return {"retrievalResult": request.vector_store}
        service = desk.asked_embedding(None)
        return {"retrievalResult": await related(errand, request.vector_store, keys, _ROOM_2024, service)}


class ChatFormV3(ChatForm):
    """3.x: ``visualInfo`` and keys to ``chatResult``."""

    generation: ClassVar[Generation] = "v3"
    request = ChatRequest
    marks: ClassVar[frozenset[str]] = marks_of(ChatRequest)

    async def answer(self, errand: Errand) -> dict[str, Any]:
        """Tables one by one, then the text, for what is still missing."""
        request, desk = cast("ChatRequest", errand.request), cast("Desk", errand.desk)
        keys, document = checked_keys(request.key_list), document_v3(request.visual_info)
        question = Question(desk.asked_llm(request.chat_bot_config), keys)
        tables = [html for html, _ in document.tables]
        words = request.wording("table").over(desk.table)
        await ask_tables(errand, question, tables, words, request.min_characters)
        if question.missing:
            text = await self._text(errand, request, question.missing, document.texts)
            if text:
                await question.ask(errand, "ocr", text, request.wording("text").over(desk.text))
        return {"chatResult": question.result()}

    async def _text(self, errand: Errand, request: ChatRequest, keys: list[str], texts: list[str]) -> str:
        """What of the document the model is shown."""
        info = request.vector_info
        if not request.use_vector_retrieval or info is None:
            return "".join(texts)
        vector = info.get("vector")
        if info.get("flag_too_short_text") and isinstance(vector, list):
            return "".join(part for part in vector if isinstance(part, str))
        if not isinstance(vector, str):
            raise BadRequest("`vectorInfo` is not what /chatocr-vector gave")
        service = cast("Desk", errand.desk).asked_embedding(request.retriever_config)
        return await related(errand, vector, keys, request.min_characters, service)


class ChatForm2024(ChatForm):
    """2024: ``visionInfo`` and keys to ``chatResult`` and, if wanted, the prompts."""

    generation: ClassVar[Generation] = "2024"
    request = ChatRequest2024
    marks: ClassVar[frozenset[str]] = marks_of(ChatRequest2024)

    async def answer(self, errand: Errand) -> dict[str, Any]:
        """Tables one by one, then the text, for what is still missing."""
        request, desk = cast("ChatRequest2024", errand.request), cast("Desk", errand.desk)
        keys, document = checked_keys(request.keys), document_2024(request.vision_info)
        question = Question(desk.asked_2024(request.llm_name, request.llm_params), keys)
        asked = Wording(request.task_description, None, request.rules, request.few_shot)
        tables = [html for html, _ in document.tables]
        await ask_tables(errand, question, tables, asked.over(desk.table), _ROOM_2024)
        if question.missing:
            text = await self._text(errand, request, question.missing, document.texts)
            if text:
                await question.ask(errand, "ocr", text, asked.over(desk.text))
        result: dict[str, Any] = {"chatResult": question.result()}
        if request.return_prompts:
            result["prompts"] = {"ocr": "", **{k: "\n\n".join(v) for k, v in question.prompts.items()}}
        return result

    async def _text(self, errand: Errand, request: ChatRequest2024, keys: list[str], texts: list[str]) -> str:
        if request.retrieval_result:
            return request.retrieval_result
        store = request.vector_store
        if not store:
            return "".join(texts)
        if not store.startswith(PREFIX):
            return store
        service = cast("Desk", errand.desk).asked_embedding(None)
        return await related(errand, store, keys, _ROOM_2024, service)
