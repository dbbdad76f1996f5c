"""Texts to embeddings on a device, for pipelines that retrieve."""

from __future__ import annotations

import msgspec
import numpy as np

from pipelines.stages.text_embedding import MAX_TOKENS, MS_PER_TOKEN, TextEmbedding

from .chat_api import Embedded, EmbedParams
from .errors import BadRequest, PipelineError
from .reading import Part

#: Room for one embedding.
_VECTOR_BYTES = 16 << 10


def embedded(stage: TextEmbedding | None, blob: memoryview | None) -> Part[Embedded]:
    """Embeddings of a JSON list of texts. Raises PipelineError without a model, BadRequest for no list."""
    if stage is None:
        raise PipelineError("no embedding model is loaded")
    try:
        texts = msgspec.json.decode(blob or b"[]", type=list[str])
    except msgspec.DecodeError as error:
        raise BadRequest("the texts are no list of strings") from error
    if not texts:
        return Embedded(np.empty((0, 0), np.float32))
    vectors = yield stage.calls(texts)
    return Embedded(np.stack(vectors))


def embedding_cost_ms(params: EmbedParams) -> float:
    """Rough one-thread time: tokens are no more than a character each."""
    tokens = min(params.characters + 2 * params.texts, MAX_TOKENS * params.texts)
    return 1 + params.texts + MS_PER_TOKEN * tokens


def embedding_bytes(params: EmbedParams) -> int:
    """Upper bound of the packed embeddings."""
    return 4096 + params.texts * _VECTOR_BYTES
