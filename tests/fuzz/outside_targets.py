"""Fuzz targets of what is read from elsewhere: answers of language models, embeddings, settings."""

import asyncio
import json
import os
from types import SimpleNamespace

import httpx
import numpy as np

from pipelines.core.answers import NOTHING, values
from pipelines.core.errors import ConfigError, ServeError
from pipelines.core.llm import LlmClient, Service
from server.options import make_parser
from server.settings import read, show

_KEYS = ("Invoice number", "total", "金额", "a: b")
_SERVICE = Service("https://llm.test/v1", "a-model", retries=0, ours=True)


class _Answered(LlmClient):
    """A client whose services all answer the same."""

    def __init__(self, content):
        super().__init__()
        transport = httpx.MockTransport(lambda request: httpx.Response(200, content=content))
        self._context = SimpleNamespace()  # nothing is encrypted
        self._own = httpx.AsyncClient(transport=transport, trust_env=False)


def llm_answer(data):
    """Text and values that can be sent on, vectors of length 1, or a fault of the service."""

    async def ask(call, *given):
        client = _Answered(data)
        try:
            return await call(client, _SERVICE, *given)
        except ServeError:
            return None
        finally:
            await client.aclose()

    said = asyncio.run(ask(LlmClient.chat, [{"role": "user", "content": "?"}]))
    for text in (said.content if said else "", data.decode("utf-8", "replace")):
        _check_values(text)
    found = asyncio.run(ask(LlmClient.embed, ["one", "two"]))
    if found is not None:
        assert found.dtype == np.float32 and len(found) == 2
        lengths = np.linalg.norm(found.astype(np.float64), axis=1)
        assert (np.isclose(lengths, 1, atol=1e-5) | (lengths == 0)).all(), lengths


def _check_values(text):
    found = values(text, _KEYS)
    assert found.keys() <= set(_KEYS)
    for value in found.values():
        assert value == value.strip() and value.casefold() not in NOTHING
    again = values(json.dumps(found, ensure_ascii=False), _KEYS)
    assert again == found, "what was read does not read the same"


def settings_file(data):
    """Settings whose listing is the same settings, or one line that says what is wrong."""
    found = _settings(data)
    if found is None:
        return
    listing = list(show(make_parser(), found))
    again = _settings("\n".join(listing).encode())
    assert again is not None, "its own listing cannot be read"
    assert _without_sources(show(make_parser(), again)) == _without_sources(listing)


def _without_sources(lines):
    return [line.partition("  # ")[0] for line in lines]


def _settings(data):
    fd = os.memfd_create("settings")
    try:
        os.write(fd, data)
        return read(make_parser, ["--config", f"/proc/self/fd/{fd}", "--pipeline", "OCR"], {})
    except ConfigError as fault:
        assert str(fault) and "\n" not in str(fault).strip()
        return None
    finally:
        os.close(fd)
