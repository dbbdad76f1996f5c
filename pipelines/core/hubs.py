"""PaddleX's official model hubs, for names that no card pins (API reference, section 8).

Nothing is executed and nothing is unpickled: only the files of an exported model are taken.
"""

from __future__ import annotations

import json
import os
import re
import tarfile
from pathlib import Path, PurePosixPath
from typing import TextIO

import msgspec

from .download import CHUNK, NotFoundError, download
from .errors import ConfigError

#: What an exported model may consist of (API reference, section 7), largest sensible size in bytes.
WANTED = ("inference.yml", "inference.json", "inference.pdmodel", "inference.pdiparams", "inference.onnx")
MAX_BYTES = 4 << 30
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


class Hubs(msgspec.Struct, frozen=True):
    """Addresses of the hubs and the order to ask them in.

    Attributes:
        order: ``huggingface`` and ``bos``; the first that has the model gives it.
        huggingface: endpoint that holds ``PaddlePaddle/<name>``.
        bos: prefix of ``<name>_infer.tar``.
    """

    order: tuple[str, ...] = ("huggingface", "bos")
    huggingface: str = "https://huggingface.co"
    bos: str = "https://paddle-model-ecology.bj.bcebos.com/paddlex/official_inference_model/paddle3.0.0"

    @classmethod
    def from_environment(cls) -> Hubs:
        """PaddleX's own variables: ``PADDLE_PDX_MODEL_SOURCE``, ``PADDLE_PDX_HUGGING_FACE_ENDPOINT``.

        Raises ConfigError on a source that this server does not speak.
        """
        first = os.environ.get("PADDLE_PDX_MODEL_SOURCE", "huggingface").lower()
        known = cls().order
        if first not in known:
            raise ConfigError(f"PADDLE_PDX_MODEL_SOURCE={first}: known sources are {', '.join(known)}")
        endpoint = os.environ.get("PADDLE_PDX_HUGGING_FACE_ENDPOINT", cls().huggingface)
        return cls(
            order=(first, *(name for name in known if name != first)), huggingface=endpoint.rstrip("/")
        )

    def fetch(self, name: str, folder: Path, stream: TextIO | None) -> str:
        """Put the files of model ``name`` into ``folder``; returns the address they came from.

        ``folder`` may hold what an earlier, broken-off call left; it is continued.

        Raises:
            NotFoundError: every hub answered, none has it.
            ConfigError: a hub could not be reached or sent something else; one line.
        """
        if not NAME.fullmatch(name):
            raise NotFoundError(f"{name!r} cannot be a model name")
        failures: list[ConfigError] = []
        for hub in self.order:
            try:
                source = self._huggingface if hub == "huggingface" else self._bos
                return source(name, folder, stream)
            except ConfigError as error:
                failures.append(error)
        if all(isinstance(error, NotFoundError) for error in failures):
            raise NotFoundError(f"no hub has a model {name!r}")
        raise ConfigError("; ".join(str(error) for error in failures))

    def _huggingface(self, name: str, folder: Path, stream: TextIO | None) -> str:
        listing = folder / ".listing.json"
        download(f"{self.huggingface}/api/models/PaddlePaddle/{name}", listing, label=f"list of {name}")
        try:
            answer = json.loads(listing.read_bytes())
            revision = str(answer["sha"])
            if not NAME.fullmatch(revision):
                raise ValueError(f"revision {revision!r}")
            there = {str(entry["rfilename"]) for entry in answer["siblings"]}
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{self.huggingface} answered something else than a model: {error}") from error
        finally:
            listing.unlink()
        base = f"{self.huggingface}/PaddlePaddle/{name}"
        _start_over_unless(revision, folder)
        for file in WANTED:
            if file in there and not (folder / file).exists():
                url = f"{base}/resolve/{revision}/{file}"
                download(url, folder / file, label=f"{name}/{file}", stream=stream)
        return f"{base} at {revision[:12]}"

    def _bos(self, name: str, folder: Path, stream: TextIO | None) -> str:
        url = f"{self.bos}/{name}_infer.tar"
        archive = folder / ".archive.tar"
        download(url, archive, label=f"{name}_infer.tar", stream=stream)
        try:
            _unpack(archive, folder)
        except (tarfile.TarError, OSError, EOFError) as error:
            raise ConfigError(f"{url} is not a model archive: {error}") from error
        finally:
            archive.unlink()
        return url


def _start_over_unless(revision: str, folder: Path) -> None:
    """Drop what an earlier call left of another revision: files of two revisions make no model."""
    record = folder / ".revision"
    if not record.exists() or record.read_text() != revision:
        for path in folder.iterdir():
            path.unlink()
        record.write_text(revision)


def _unpack(archive: Path, folder: Path) -> None:
    """Take the wanted regular files, whatever folder the archive has them in; nothing else."""
    left = MAX_BYTES
    with tarfile.open(archive) as tar:
        for entry in tar:
            name = PurePosixPath(entry.name).name
            source = tar.extractfile(entry) if entry.isreg() and name in WANTED else None
            if source is None:
                continue
            with source, (folder / name).open("wb") as file:
                while chunk := source.read(CHUNK):
                    left -= len(chunk)
                    if left < 0:
                        raise tarfile.TarError(f"it holds more than {MAX_BYTES} bytes")
                    file.write(chunk)
