"""Sentence embeddings: a BERT encoder with mean pooling, text to a vector of length 1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipelines.core.config import ModelFiles
from pipelines.core.errors import ConfigError, EngineError
from pipelines.core.likeness import direction
from pipelines.core.stage import Call, Stage
from pipelines.engines.base import Engine

#: Tokens of a text that are looked at: positions that the model knows.
MAX_TOKENS = 512
#: Lengths are rounded up to this, so that engines compile few shapes.
_STEP = 32
#: One-thread time per token: all-MiniLM-L6-v2, ONNX Runtime, 83 tokens in 37 ms on a busy core.
MS_PER_TOKEN = 0.4


class Tokens(msgspec.Struct, frozen=True):
    """Input of one call: token ids."""

    ids: list[int]


class TextEmbedding(Stage):
    """Embeds texts.

    Raises:
        ConfigError: the model's folder has no tokenizer that can be read.
    """

    name: ClassVar[str] = "embed"
    max_batch = 16

    def __init__(self, model: ModelFiles, engine: str) -> None:
        super().__init__(model, engine)
        from tokenizers import Tokenizer  # noqa: PLC0415 - only where this stage is used

        path = Path(model.directory) / "tokenizer.json"
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises the base class
            raise ConfigError(f"{path} is no tokenizer: {error}") from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)

    def calls(self, texts: Sequence[str]) -> list[Call]:
        """One call per text; each result is float32 ``[D]``."""
        found = []
        for encoding in self._tokenizer.encode_batch(list(texts)):
            ids = encoding.ids
            length = -(-len(ids) // _STEP) * _STEP
            found.append(Call(self, Tokens(ids), length, 1 + length * MS_PER_TOKEN))
        return found

    def run(self, engine: Engine, inputs: Sequence[Tokens]) -> Sequence[NDArray[np.float32]]:
        """Embeddings of texts whose lengths round up to the same."""
        longest = max(len(tokens.ids) for tokens in inputs)
        length = -(-longest // _STEP) * _STEP
        ids, mask = np.zeros((2, len(inputs), length), np.int64)
        for row, seen, tokens in zip(ids, mask, inputs, strict=True):
            row[: len(tokens.ids)], seen[: len(tokens.ids)] = tokens.ids, 1
        feeds: dict[str, NDArray[Any]] = {"attention_mask": mask, "input_ids": ids}
        (vectors,) = engine.run(feeds)
        if vectors.shape[0] != len(inputs) or vectors.ndim != 2:
            raise EngineError(f"the embedding model gives {vectors.shape} for {len(inputs)} texts")
        return list(vectors.astype(np.float32))

    def canary(self) -> Sequence[Call]:
        """A short text."""
        return self.calls(["20417"])

    def judge(
        self, expected: Sequence[NDArray[np.float32]], found: Sequence[NDArray[np.float32]]
    ) -> str | None:
        """By the direction of every vector."""
        vectors = zip(expected, found, strict=True)
        return next((words for pair in vectors if (words := direction(*pair)) is not None), None)
