"""What travels over the socket of ``--memfd_socket``: heads of requests, descriptors, and answers in pieces.

The socket keeps messages apart (SOCK_SEQPACKET). A request is one message, JSON, with one descriptor::

    {"path": "/ocr", "query": "visualize=false", "headers": {"x-api-key": "…"}, "pixels": [3000, 4000]}

and its body is the memfd. An answer is ``{"status": 200, "headers": {…}, "bytes": 1234}``, then the body in
messages of at most :data:`PIECE` bytes.
"""

from __future__ import annotations

import array
import socket
from typing import Annotated, NamedTuple

import msgspec

from kernels.jsonscan import json_outline
from pipelines.core.errors import BadRequest

#: Bytes of a request's message.
MAX_HEAD = 64 << 10
#: Bytes of a message of an answer; the kernel's usual bound for one is 208 KiB.
PIECE = 64 << 10
MAX_DEPTH = 3
_NO_LONG_TEXT = MAX_HEAD
#: Room for two descriptors; the kernel closes what does not fit, and says so.
_ROOM = socket.CMSG_SPACE(2 * array.array("i").itemsize)


#: Pixels of a side.
_Side = Annotated[int, msgspec.Meta(gt=0, lt=1 << 31)]


class Head(msgspec.Struct, frozen=True):
    """The message of a request. Unknown fields are ignored, as in JSON over HTTP.

    Attributes:
        path: the route; ``query``: parameters as behind the ``?`` of a URL.
        headers: those of HTTP, in any case.
        pixels: height and width where the memfd holds uint8 BGR, row after row without gaps.
    """

    path: str
    query: str = ""
    headers: dict[str, str] = {}
    pixels: tuple[_Side, _Side] | None = None


class Message(NamedTuple):
    """What came in one message.

    Attributes:
        content: its bytes; empty at the end of the connection.
        fds: its descriptors, which are the receiver's to close.
        cut: some of it, or of its descriptors, did not fit.
    """

    content: bytes
    fds: list[int]
    cut: bool


def receive(client: socket.socket) -> Message:
    """The next message of a socket that does not block. Raises OSError."""
    flags = socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT
    content, extra, found, _ = client.recvmsg(MAX_HEAD, _ROOM, flags)
    fds = array.array("i")
    for level, kind, data in extra:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) // fds.itemsize * fds.itemsize])
    return Message(content, list(fds), bool(found & (socket.MSG_TRUNC | socket.MSG_CTRUNC)))


def read_head(content: bytes) -> Head:
    """The head of a request; its headers' names in small letters. Raises BadRequest."""
    depth, _ = json_outline(content, MAX_DEPTH, _NO_LONG_TEXT)
    if depth > MAX_DEPTH:
        raise BadRequest(f"The JSON is nested deeper than {MAX_DEPTH} levels")
    try:
        head = msgspec.json.decode(content, type=Head)
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise BadRequest(f"The request is not valid: {fault}") from None
    if not all(value.isascii() and value.isprintable() for value in head.headers.values()):
        raise BadRequest("Headers are printable ASCII")
    return msgspec.structs.replace(
        head, headers={name.lower(): value for name, value in head.headers.items()}
    )


def answer_head(status: int, headers: dict[str, str], nbytes: int) -> bytes:
    """The first message of an answer."""
    return msgspec.json.encode({"status": status, "headers": headers, "bytes": nbytes})
