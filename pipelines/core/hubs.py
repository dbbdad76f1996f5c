"""PaddleX's official model hubs, for names that no card pins (API reference, section 8).

Nothing is executed and nothing is unpickled: only the files of an exported model are taken.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import TextIO

import msgspec

from .download import CHUNK, NotFoundError, answers, download, sha256_of
from .errors import ConfigError
from .official import in_repositories
from .repositories import REPOSITORIES, Listing

#: What an exported model may consist of (API reference, section 7). ``scaler.pkl`` is only kept.
WANTED = (
    "inference.yml", "inference.json", "inference.pdmodel", "inference.pdiparams", "inference.onnx",
    "scaler.json", "scaler.pkl",
)  # fmt: skip
#: Largest sensible size of an unpacked archive.
MAX_BYTES = 4 << 30
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
BOS = "https://paddle-model-ecology.bj.bcebos.com/paddlex/official_inference_model/paddle3.0.0"
#: Seconds in which a hub must answer a first, small request before anything is asked of it. PaddleX: 1.
CHECK_S = 3.0


class Hubs(msgspec.Struct, frozen=True):
    """Addresses of the hubs and the order to ask them in.

    Attributes:
        order: the first that has the model gives it.
        endpoints: hub to where it is; of ``bos`` the prefix of ``<package>_infer.tar``.
        check: pass over a hub that does not answer within ``CHECK_S``.
    """

    order: tuple[str, ...]
    endpoints: dict[str, str]
    check: bool = True

    @classmethod
    def from_environment(cls) -> Hubs:
        """What PaddleX's own variables say (docs/models.md). Raises ConfigError on an unknown source."""
        known = (*REPOSITORIES, "bos")
        first = os.environ.get("PADDLE_PDX_MODEL_SOURCE", "huggingface").lower()
        if first not in known:
            raise ConfigError(f"PADDLE_PDX_MODEL_SOURCE={first}: known sources are {', '.join(known)}")
        endpoints = {
            name: os.environ.get(hub.variable, hub.endpoint).rstrip("/") for name, hub in REPOSITORIES.items()
        }
        return cls(
            order=(first, *(name for name in known if name != first)),
            endpoints=endpoints | {"bos": BOS},
            check=not os.environ.get("PADDLE_PDX_DISABLE_MODEL_SOURCE_CHECK"),
        )

    def fetch(self, package: str, folder: Path, stream: TextIO | None) -> str:
        """Put the files of ``package`` into ``folder``; returns the address they came from.

        ``folder`` may hold what an earlier, broken-off call left; it is continued.

        Raises:
            NotFoundError: every hub answered, none has it.
            ConfigError: a hub could not be reached or sent something else; one line.
        """
        failures: list[ConfigError] = []
        for hub in self.order:
            if hub in REPOSITORIES and not in_repositories(package):
                continue
            try:
                self._check(hub)
                if hub == "bos":
                    return self._from_archive(package, folder, stream)
                return self._from_repository(hub, package, folder, stream)
            except ConfigError as error:
                failures.append(error)
        if all(isinstance(error, NotFoundError) for error in failures):
            raise NotFoundError(f"no hub has {package}")
        raise ConfigError("; ".join(str(error) for error in failures))

    def _check(self, hub: str) -> None:
        if self.check and (reason := answers(self.endpoints[hub], CHECK_S)) is not None:
            raise ConfigError(f"{self.endpoints[hub]} does not answer ({reason})")

    def _from_repository(self, hub: str, package: str, folder: Path, stream: TextIO | None) -> str:
        endpoint, repository = self.endpoints[hub], REPOSITORIES[hub]
        there = self._listing(hub, package, folder)
        _start_over_unless(f"{hub} {there.revision}", folder)
        for file in (file for file in WANTED if file in there.files and not (folder / file).exists()):
            path = repository.file.format(name=package, revision=there.revision, file=file)
            download(endpoint + path, folder / file, label=f"{package}/{file}", stream=stream)
            known = there.files[file]
            if known and sha256_of(folder / file) != known:
                (folder / file).unlink()
                raise ConfigError(f"{endpoint} sent other bytes than it lists for {package}/{file}")
        return f"{hub} ({endpoint}) at {there.revision[:12]}"

    def _listing(self, hub: str, package: str, folder: Path) -> Listing:
        endpoint, repository = self.endpoints[hub], REPOSITORIES[hub]
        answer = folder / ".listing.json"
        download(endpoint + repository.listing.format(name=package), answer, label=f"list of {package}")
        try:
            there = repository.read(json.loads(answer.read_bytes()))
            if not NAME.fullmatch(there.revision):
                raise ValueError(f"revision {there.revision!r}")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{endpoint} answered something else than a model: {error}") from error
        finally:
            answer.unlink()
        return there

    def _from_archive(self, package: str, folder: Path, stream: TextIO | None) -> str:
        url = f"{self.endpoints['bos']}/{package}_infer.tar"
        archive = folder / ".archive.tar"
        _start_over_unless("bos", folder)
        download(url, archive, label=f"{package}_infer.tar", stream=stream)
        try:
            _unpack(archive, folder)
        except (tarfile.TarError, OSError, EOFError) as error:
            raise ConfigError(f"{url} is not a model archive: {error}") from error
        finally:
            archive.unlink()
        return url


def _start_over_unless(origin: str, folder: Path) -> None:
    """Drop what an earlier call left from elsewhere: files of two revisions make no model."""
    record = folder / ".origin"
    if not record.exists() or record.read_text() != origin:
        shutil.rmtree(folder)
        folder.mkdir()
        record.write_text(origin)


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
