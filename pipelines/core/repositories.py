"""The hubs that keep a model as a repository of files: how each lists one, and where each file is.

The addresses are those that ``huggingface_hub`` 2.4, ``aistudio_sdk`` 0.3.9 and ``modelscope_hub`` 0.5.1 use,
which PaddleX calls.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec


class Listing(msgspec.Struct, frozen=True):
    """What a repository holds now.

    Attributes:
        revision: changes when a file does.
        files: name to SHA-256, empty where the hub does not say it.
    """

    revision: str
    files: dict[str, str]


class Repository(msgspec.Struct, frozen=True):
    """One hub.

    Attributes:
        endpoint: where it is.
        variable: environment variable that moves it.
        listing, file: what follows the endpoint, with ``{name}``, ``{revision}`` and ``{file}`` to fill in.
        read: turns the hub's answer into a Listing; any of KeyError, TypeError and ValueError means that
            it answered something else.
    """

    endpoint: str
    variable: str
    listing: str
    file: str
    read: Callable[[Any], Listing]


def _read_huggingface(answer: Any) -> Listing:
    """Only files in large-file storage have a SHA-256 there."""
    files = {str(entry["rfilename"]): entry.get("lfs") or {} for entry in answer["siblings"]}
    return Listing(str(answer["sha"]), {file: str(lfs.get("sha256", "")) for file, lfs in files.items()})


def _read_aistudio(answer: Any) -> Listing:
    """A Gitea tree: the digests in it are git's own."""
    files = [str(entry["path"]) for entry in answer["tree"] if entry["type"] == "blob"]
    return Listing(str(answer["sha"]), dict.fromkeys(files, ""))


def _read_modelscope(answer: Any) -> Listing:
    """A branch without a revision of its own: what is in it stands for it."""
    blobs = [entry for entry in answer["Data"]["Files"] if entry.get("Type") != "tree"]
    files = {str(entry["Path"]): str(entry.get("Sha256") or "") for entry in blobs}
    state = "".join(f"{file} {digest}\n" for file, digest in sorted(files.items()))
    return Listing(hashlib.sha256(state.encode()).hexdigest(), files)


REPOSITORIES = {
    "huggingface": Repository(
        "https://huggingface.co",
        "PADDLE_PDX_HUGGING_FACE_ENDPOINT",
        "/api/models/PaddlePaddle/{name}?blobs=true",
        "/PaddlePaddle/{name}/resolve/{revision}/{file}",
        _read_huggingface,
    ),
    "aistudio": Repository(
        "https://git.aistudio.baidu.com",
        "STUDIO_GIT_HOST",
        "/api/v1/repos/PaddleX/{name}/git/trees/master?recursive=true&per_page=1000",
        "/api/v1/repos/PaddleX/{name}/media/{file}",
        _read_aistudio,
    ),
    "modelscope": Repository(
        "https://modelscope.cn",
        "MODELSCOPE_ENDPOINT",
        "/api/v1/models/PaddlePaddle/{name}/repo/files?Revision=master&Recursive=True",
        "/api/v1/models/PaddlePaddle/{name}/repo?Revision=master&FilePath={file}",
        _read_modelscope,
    ),
}
