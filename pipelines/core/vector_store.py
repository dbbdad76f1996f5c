"""The string that ``/chatocr-vector`` gives and ``/chatocr-chat`` takes back: chunks and their embeddings.

To clients it is opaque. PaddleX's is a pickle inside FAISS inside base64, which its server unpickles. This
one is a versioned record of plain values with a checksum::

    PADDLEX_VECTOR_STORE + base64( "PPSV" | version, 1 byte | BLAKE2b-128 of the rest | msgpack record )

The checksum finds damage. It is no signature, and none is needed: whoever may send the string may send any
text as ``visualInfo`` too, and all that is done with either is to show parts of it to a language model.
"""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Sequence

import msgspec
import numpy as np
import pybase64
from numpy.typing import NDArray

from .errors import BadRequest

PREFIX = "PADDLEX_VECTOR_STORE"
_MAGIC, _DIGEST = b"PPSV\x01", 16
#: Characters of the string, chunks in it, numbers per embedding.
MAX_LENGTH, MAX_CHUNKS, _MAX_SIZE = 64 << 20, 20_000, 8192
_DAMAGED = "The vector store is damaged, or was not made by this server"
#: Chunks that are looked at per key (PaddleX).
_TOP = 50


class VectorStore(msgspec.Struct, frozen=True, array_like=True):
    """Chunks of a document, in its order.

    Attributes:
        model: what made the embeddings.
        texts: the chunks.
        size: numbers per embedding.
        vectors: float16 ``[len(texts), size]``, little endian, C order.
    """

    model: str
    texts: list[str]
    size: int
    vectors: bytes

    @classmethod
    def of(cls, model: str, texts: list[str], vectors: NDArray[np.float32]) -> VectorStore:
        """From embeddings float32 ``[N, D]``, each of length 1."""
        return cls(model, texts, vectors.shape[1], vectors.astype("<f2").tobytes())

    @property
    def matrix(self) -> NDArray[np.float32]:
        """float32 ``[N, D]``."""
        flat = np.frombuffer(self.vectors, "<f2").astype(np.float32)
        return flat.reshape(len(self.texts), self.size)


def pack(store: VectorStore) -> str:
    """The string of a store. Raises BadRequest when it is larger than :func:`unpack` takes."""
    record = msgspec.msgpack.encode(store)
    text = PREFIX + pybase64.b64encode_as_string(_MAGIC + _digest(record) + record)
    if len(text) > MAX_LENGTH or len(store.texts) > MAX_CHUNKS:
        raise BadRequest("The text is too long for a vector store")
    return text


def unpack(text: str) -> VectorStore:
    """The store of a string. Raises BadRequest when it is damaged, foreign or too large."""
    if not text.startswith(PREFIX) or len(text) > MAX_LENGTH:
        raise BadRequest(_DAMAGED)
    try:
        raw = pybase64.b64decode(text[len(PREFIX) :], validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(_DAMAGED) from None
    head, record = raw[: len(_MAGIC) + _DIGEST], raw[len(_MAGIC) + _DIGEST :]
    if head != _MAGIC + _digest(record):
        raise BadRequest(_DAMAGED)
    try:
        store = msgspec.msgpack.decode(record, type=VectorStore)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRequest(_DAMAGED) from None
    count = len(store.texts)
    fits = 0 < store.size <= _MAX_SIZE and len(store.vectors) == 2 * count * store.size
    if not fits or count > MAX_CHUNKS or not np.isfinite(store.matrix).all():
        raise BadRequest(_DAMAGED)
    return store


def _digest(record: bytes) -> bytes:
    return hashlib.blake2b(record, digest_size=_DIGEST).digest()


# --- finding the chunks that answer


def retrieve(
    store: VectorStore, keys: Sequence[str], vectors: NDArray[np.float32], max_characters: int
) -> str:
    """The chunks that most likely hold the values of ``keys``, in the order of the document.

    The best chunk of every key comes first, then the second best of every key, and so on while there is
    room: in PaddleX the first key may take it all.

    Args:
        store: where to look.
        keys: what is looked for.
        vectors: float32 ``[len(keys), D]``, their embeddings by the store's model.
        max_characters: room; the best chunk is given even when it is longer.

    Raises:
        BadRequest: the store's embeddings are of another length.
    """
    if not keys or not store.texts:
        return ""
    order = ranked(store, keys, vectors)[:, :_TOP]
    chosen: dict[int, None] = {}
    room = max_characters
    for place in order.T.ravel().tolist():
        needed = len(store.texts[place]) + 1
        if place in chosen or (chosen and needed > room):
            continue
        chosen[place] = None
        room -= needed
    return "\n".join(store.texts[place] for place in sorted(chosen))


def ranked(store: VectorStore, keys: Sequence[str], vectors: NDArray[np.float32]) -> NDArray[np.intp]:
    """Places of all chunks per key, best first: int ``[len(keys), N]``.

    The score is the cosine of the embeddings plus the share of the key's pairs of neighbouring characters
    that the chunk holds: names of fields mostly stand in a document as they are asked for, and the
    built-in embedding model knows no Chinese.
    """
    if vectors.shape != (len(keys), store.size):
        raise BadRequest("The vector store was made by another embedding model")
    scores = vectors @ store.matrix.T
    folded = [_folded(text) for text in store.texts]
    for row, key in zip(scores, keys, strict=True):
        pairs = _pairs(_folded(key))
        if pairs:
            row += [sum(pair in text for pair in pairs) / len(pairs) for text in folded]
    return np.argsort(-scores, axis=1, kind="stable")


def _folded(text: str) -> str:
    return "".join(text.casefold().split())


def _pairs(text: str) -> set[str]:
    return {text[at : at + 2] for at in range(max(1, len(text) - 1))} if text else set()
