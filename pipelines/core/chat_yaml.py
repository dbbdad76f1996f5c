"""Language models, embeddings and prompts of document chat as YAML files of both generations write them."""

from __future__ import annotations

from typing import Any

from .chat_settings import BAIDU, END_POINT, ChatOptions, ServiceOptions, ernie
from .errors import ConfigError
from .prompts import Wording
from .yaml_config import Section


def v3_chat_options(modules: Section) -> ChatOptions:
    """``SubModules`` of a 3.x YAML. Raises ConfigError."""
    prompts = modules.section("PromptEngneering")
    options = ChatOptions(
        _service(modules.section("LLM_Chat"), "chat_bot", {"openai"}),
        _service(modules.section("LLM_Retriever"), "retriever", {"openai", "qianfan"}),
        _wording(prompts.section("KIE_CommonText"), "text_kie_prompt_v1"),
        _wording(prompts.section("KIE_Table"), "table_kie_prompt_v1"),
    )
    prompts.finish()
    return options


def _service(section: Section, module: str, kinds: set[str]) -> ServiceOptions:
    _must_be(section, "module_name", {module})
    _must_be(section, "api_type", kinds)
    if module == "chat_bot":
        _must_be(section, "end_point", {END_POINT})
    model = _text(section, "model_name")
    found = ServiceOptions(
        _text(section, "base_url"), ernie(model) if model == "ernie-3.5" else model, _text(section, "api_key")
    )
    section.skip("tiktoken_enabled").finish()
    return found


def _wording(section: Section, task: str) -> Wording:
    _must_be(section, "module_name", {"prompt_engneering"})
    _must_be(section, "task_type", {task})
    found = {name: _text(section, name) or None for name in Wording.__struct_fields__}
    section.finish()
    return Wording(**found)


def _must_be(section: Section, key: str, values: set[str]) -> None:
    """An absent key is as good as the one that must be."""
    if section.take(key, str, min(values)) not in values:
        raise ConfigError(f"{section.name(key)} must be {' or '.join(sorted(values))}")


def _text(section: Section, key: str) -> str:
    """A value as text: what looks like a Python literal has become one when the YAML was read."""
    value = section.take(key, Any, None)
    return "" if value is None else str(value)


def beta_chat_options(own: Section) -> ChatOptions:
    """``llm_name`` and ``llm_params`` of a 2024 YAML. Raises ConfigError.

    Those addresses take the key alone; the secret that belonged to it (``sk``) is not needed.
    """
    name, params = _text(own, "llm_name"), own.section("llm_params")
    kind = params.take("api_type", str, "")
    if kind and kind not in BAIDU:
        raise ConfigError(f"{params.name('api_type')} must be {' or '.join(BAIDU)}")
    key = _text(params, "access_token" if kind == "aistudio" else "ak")
    params.skip("ak", "sk", "access_token").finish()
    return ChatOptions(llm=ServiceOptions(BAIDU.get(kind, ""), ernie(name), key))
