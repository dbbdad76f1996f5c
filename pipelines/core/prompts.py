"""Prompts for extraction: the words are in ``prompts.yml``, this file puts them together.

Text of a document is somebody else's. It stands between tags whose name is made from that very text and
is nowhere in it, so that no document can close them, and the system message says what that means. The same
question is the same prompt: a random name changes a small model's answers from one time to the next.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

Kind = Literal["text", "table"]

_CHINESE = re.compile(r"[㐀-䶿一-鿿]")
#: How much of a document decides its language.
_LOOK_AT = 2000


class Wording(msgspec.Struct, frozen=True):
    """What replaces this project's words; None keeps them. The names are PaddleX's.

    Attributes:
        task_description, output_format: replace ours.
        rules_str: added rules.
        few_shot_demo_text_content, few_shot_demo_key_value_list: an example and its answer.
    """

    task_description: str | None = None
    output_format: str | None = None
    rules_str: str | None = None
    few_shot_demo_text_content: str | None = None
    few_shot_demo_key_value_list: str | None = None

    def over(self, other: Wording) -> Wording:
        """These words, completed from ``other``."""
        both = {name: (getattr(self, name), getattr(other, name)) for name in self.__struct_fields__}
        return Wording(**{name: theirs if ours is None else ours for name, (ours, theirs) in both.items()})


_OUR_WORDS = Wording()


def prompt(
    kind: Kind, content: str, keys: Sequence[str], wording: Wording = _OUR_WORDS
) -> list[dict[str, str]]:
    """The messages that ask for the values of ``keys`` in ``content``, a text or a table as HTML."""
    words = _words()["zh" if _is_chinese(content, keys) else "en"]
    tag = next(name for name in map(partial(_tag, content), count()) if name not in content)
    parts = [
        wording.task_description or words[kind]["task"],
        f"{words['rules']}: {wording.rules_str}" if wording.rules_str else "",
        wording.output_format or words[kind]["format"],
        _example(wording, words["example"]),
        f"{words[kind]['content']}:\n<{tag}>\n{content}\n</{tag}>",
        f"{words['keys']}: {msgspec.json.encode(list(keys)).decode()}",
    ]
    system = words["system"].replace("{tag}", tag)
    user = "\n\n".join(part for part in parts if part)
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]


def _tag(content: str, number: int) -> str:
    """A name that whoever writes ``content`` can neither guess nor, but by 2^64 attempts, put into it."""
    digest = hashlib.blake2b(
        content.encode(errors="replace"), digest_size=8, salt=number.to_bytes(8, "little")
    )
    return f"document-{digest.hexdigest()}"


def _example(wording: Wording, title: str) -> str:
    shown = [wording.few_shot_demo_text_content, wording.few_shot_demo_key_value_list]
    lines = [line for line in shown if line]
    return "\n".join((f"{title}:", *lines)) if lines else ""


def _is_chinese(content: str, keys: Sequence[str]) -> bool:
    return any(map(_CHINESE.search, keys)) or _CHINESE.search(content[:_LOOK_AT]) is not None


@cache
def _words() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yml").read_text(encoding="utf-8"))
    return loaded
