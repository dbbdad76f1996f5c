"""Which language model and which embeddings a pipeline asks: from its YAML, the environment, a request.

The environment is stronger than the YAML. ``NAME`` below is ``LLM`` or ``EMBEDDING``:

``CHATOCR_NAME_BASE_URL``, ``CHATOCR_NAME_MODEL``, ``CHATOCR_NAME_API_KEY`` or ``CHATOCR_NAME_API_KEY_FILE``,
``CHATOCR_NAME_TIMEOUT_S``, ``CHATOCR_NAME_RETRIES``; for both together ``CHATOCR_CONCURRENCY`` (calls at once
per worker) and ``CHATOCR_ALLOW_HOSTS`` (hosts that requests may name although they are not public).
``CHATOCR_LLM_BASE_URL=builtin:smollm2`` is the small model of the extra ``local-llm``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import msgspec

from .address_guard import checked_url
from .errors import BadRequest, ConfigError, NotConfigured
from .llm import LlmClient, Said, Service
from .local_llm import ADDRESS, NAME, LocalLlm, fetched
from .prompts import Wording

#: What stands in PaddleX's YAML where a key belongs.
_NO_KEYS = frozenset({"", "api_key", "access_token"})
#: Where Baidu's models are, by the ``api_type`` of the 2024 generation.
BAIDU = {"qianfan": "https://qianfan.baidubce.com/v2", "aistudio": "https://aistudio.baidu.com/llm/lmapi/v3"}
#: What those addresses call the models that the 2024 generation names without a length. Its others
#: (``ernie-4.0-turbo-8k``, ``ernie-speed-128k``, ``ernie-tiny-8k``, ``ernie-char-8k``) have kept their names.
_ERNIE = {name: f"{name}-8k" for name in ("ernie-3.5", "ernie-4.0", "ernie-lite", "ernie-speed")}
#: PaddleX knows ``completion`` as well, for models that do not converse.
END_POINT = "chat_completion"
NO_LLM = (
    "No language model is set up: set CHATOCR_LLM_BASE_URL and CHATOCR_LLM_MODEL, or send one in the request"
)
#: Name of the built-in language model among a pipeline's files.
_LOCAL = "llm"


class ServiceOptions(msgspec.Struct, frozen=True):
    """``LLM_Chat`` or ``LLM_Retriever`` of a YAML."""

    base_url: str = ""
    model: str = ""
    api_key: str = ""


class ChatOptions(msgspec.Struct, frozen=True):
    """What a YAML says about models and prompts."""

    llm: ServiceOptions = ServiceOptions()
    embedding: ServiceOptions = ServiceOptions()
    text: Wording = Wording()
    table: Wording = Wording()


class Desk:
    """What a worker needs to ask models. Raises ConfigError for settings that cannot be.

    Attributes:
        client: asks.
        llm, embedding: the operator's services; None where there are none.
        text, table: the operator's words for prompts.

    Args:
        options: what the YAML says.
        environment: stronger than the YAML; None is this process's.
        files: from :func:`chat_files`.
    """

    def __init__(
        self,
        options: ChatOptions,
        environment: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
    ) -> None:
        known = os.environ if environment is None else environment
        hosts = known.get("CHATOCR_ALLOW_HOSTS", "").replace(",", " ").split()
        concurrency = _number(known, "CHATOCR_CONCURRENCY", 8, 1, 1000)
        self.client = LlmClient(frozenset(hosts), int(concurrency))
        self.llm = _service("LLM", options.llm, known)
        self.embedding = _service("EMBEDDING", options.embedding, known)
        self.text, self.table = options.text, options.table
        path = (files or {}).get(_LOCAL)
        self._local = LocalLlm(path) if path else None

    async def chat(self, service: Service, messages: Sequence[dict[str, str]], keys: Sequence[str]) -> Said:
        """What a language model answers about ``keys``. Raises as :meth:`LlmClient.chat`."""
        if service.base_url != ADDRESS or not service.ours:
            return await self.client.chat(service, messages)
        if self._local is None:
            raise NotConfigured(NO_LLM)
        return Said(await self._local.chat(messages, keys, service.timeout_s), literal=True)

    def notes(self) -> list[str]:
        """What is set up, for the start-up plan: no keys."""
        llm = f"{self.llm.model} at {self.llm.base_url}, {_key(self.llm)}" if self.llm else NO_LLM
        if self.llm and self.llm.base_url == ADDRESS:
            llm = f"{NAME}, built in: for trying it out, it extracts poorly"
        own = self.embedding
        vectors = f"{own.model} at {own.base_url}, {_key(own)}" if own else "the built-in model"
        return [f"chat        {llm}", f"embeddings  {vectors}"]

    def asked_llm(self, config: Mapping[str, Any] | None) -> Service:
        """The language model of a request. Raises NotConfigured, BadRequest."""
        if config is not None:
            return _of_request(config, "chatBotConfig", {"openai"})
        if self.llm is None:
            raise NotConfigured(NO_LLM)
        return self.llm

    def asked_embedding(self, config: Mapping[str, Any] | None) -> Service | None:
        """The embeddings of a request; None is the built-in model. Raises BadRequest."""
        if config is not None:
            return _of_request(config, "retrieverConfig", {"openai", "qianfan"})
        return self.embedding

    def asked_2024(self, name: str | None, params: Mapping[str, Any] | None) -> Service:
        """The language model of a request of the 2024 generation. Raises NotConfigured, BadRequest.

        A name alone chooses among Baidu's models; other services know no ``ernie``.
        """
        if params is None:
            own = self.asked_llm(None)
            if name and own.base_url in BAIDU.values():
                return msgspec.structs.replace(own, model=ernie(name))
            return own
        kind = params.get("apiType")
        key = params.get("accessToken" if kind == "aistudio" else "apiKey")
        if kind not in BAIDU or not isinstance(key, str):
            raise BadRequest(
                "`llmParams` must have `apiType` qianfan with `apiKey`, or aistudio with `accessToken`"
            )
        _check_key("llmParams", key)
        return Service(BAIDU[str(kind)], ernie(name), key)


def chat_files(options: ChatOptions, cache_dir: Path, stream: TextIO | None) -> dict[str, str]:
    """The built-in language model where it is asked for. Raises ConfigError."""
    service = _service("LLM", options.llm, os.environ)
    return {_LOCAL: fetched(cache_dir, stream)} if service and service.base_url == ADDRESS else {}


def ernie(name: str | None) -> str:
    """What Baidu's addresses call a model of the 2024 generation; its default without a name."""
    return _ERNIE.get(name or "ernie-3.5", name or "")


def _key(service: Service) -> str:
    return "with a key" if service.api_key else "without a key"


def _of_request(config: Mapping[str, Any], field: str, kinds: set[str]) -> Service:
    values = {name: config.get(name) for name in ("base_url", "model_name", "api_key", "api_type")}
    kind, key = values["api_type"] or "openai", values["api_key"] or ""
    base_url, model = values["base_url"], values["model_name"]
    if kind not in kinds:
        raise BadRequest(f"`{field}.api_type` must be {' or '.join(sorted(kinds))}")
    if not isinstance(base_url, str) or not isinstance(model, str) or not isinstance(key, str):
        raise BadRequest(f"`{field}` must have `base_url`, `model_name` and `api_key` as strings")
    if config.get("end_point") not in (None, END_POINT):
        raise BadRequest(f"`{field}.end_point` must be {END_POINT}")
    _check_key(field, key)
    checked_url(base_url)
    return Service(base_url, ernie(model) if model == "ernie-3.5" else model, key)


def _check_key(field: str, key: str) -> None:
    """Raise BadRequest for what cannot stand in a header."""
    if not key.isascii() or not key.isprintable():
        raise BadRequest(f"`{field}` has a key with characters that no key has")


def _service(name: str, options: ServiceOptions, known: Mapping[str, str]) -> Service | None:
    prefix = f"CHATOCR_{name}_"
    base_url = known.get(prefix + "BASE_URL") or options.base_url
    model = known.get(prefix + "MODEL") or options.model
    key = _api_key(prefix, known) or (options.api_key if options.api_key not in _NO_KEYS else "")
    timeout_s = _number(known, prefix + "TIMEOUT_S", 120, 0.1, 3600)
    if name == "LLM" and base_url == ADDRESS:
        return Service(ADDRESS, NAME, timeout_s=timeout_s, ours=True)
    if not key and not known.get(prefix + "BASE_URL"):
        return None  # the address is a YAML's, where a key belongs to it
    if not base_url or not model:
        raise ConfigError(f"{prefix}BASE_URL and {prefix}MODEL must be set together")
    try:
        checked_url(base_url)
    except BadRequest as fault:
        raise ConfigError(f"{prefix}BASE_URL: {fault.message}") from fault
    retries = _number(known, prefix + "RETRIES", 2, 0, 10)
    return Service(base_url, model, key, timeout_s, int(retries), ours=True)


def _api_key(prefix: str, known: Mapping[str, str]) -> str:
    path = known.get(prefix + "API_KEY_FILE")
    if not path:
        return known.get(prefix + "API_KEY", "").strip()
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{prefix}API_KEY_FILE: cannot read {path}") from error


def _number(known: Mapping[str, str], name: str, default: float, low: float, high: float) -> float:
    text = known.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise ConfigError(f"{name} must be a number of {low:g} to {high:g}, not {text!r}")
    return value
