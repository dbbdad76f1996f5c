"""Where pictures of results are kept when a pipeline's YAML says so: a folder, or a bucket that speaks S3.

Everything here blocks; ``server/pictures.py`` calls it in threads of its own.
"""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import Any, Protocol

from pipelines.core.config import FileStorage, S3Storage, ServingOptions, Storage

#: One attempt at S3 may take as long as its connection may, and this.
_READ_S = 5.0
_ATTEMPTS = 2
#: Loggers that write signed requests, with the name of the key, when they are asked for everything.
_TELLING = ("boto3", "botocore", "s3transfer", "urllib3")


class Store(Protocol):
    """What keeps pictures. Any thread."""

    def put(self, key: str, content: bytes) -> str:
        """Keep a JPEG; returns its address, "" where none is wanted. Raises what its library raises."""


def store_of(storage: Storage, options: ServingOptions, connections: int) -> Store:
    """The store that a ``Serving`` section asks for; ``connections`` threads will use it at once."""
    if isinstance(storage, FileStorage):
        return Folder(storage, options.return_urls)
    return Bucket(storage, options.return_urls, options.url_expires_in, connections)


class Folder:
    """Files below a folder, each there as a whole or not at all. What becomes old is not removed.

    Args:
        settings: of the YAML.
        urls: addresses are wanted.
    """

    def __init__(self, settings: FileStorage, urls: bool) -> None:
        self._root, self._base = Path(settings.directory), settings.base_url if urls else ""

    def put(self, key: str, content: bytes) -> str:
        """See :class:`Store`. Raises OSError."""
        path = self._root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        try:
            part.write_bytes(content)
            part.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
        return f"{self._base}/{key}" if self._base else ""


class Bucket:
    """Objects of a bucket.

    Args:
        settings: of the YAML; without keys they are found as boto3 finds them: environment, files, roles.
        urls: addresses are wanted.
        expires_s: how long an address is valid; -1: it has no signature, and the bucket decides who may read.
        connections: threads that will use it at once.
    """

    def __init__(self, settings: S3Storage, urls: bool, expires_s: int, connections: int) -> None:
        import boto3  # noqa: PLC0415 - an extra
        from botocore import UNSIGNED  # noqa: PLC0415

        for name in _TELLING:
            logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
        keys = settings.keys
        # A session of its own: the default one is shared by the process, and not made for threads.
        self._session = boto3.session.Session(
            aws_access_key_id=keys.ak if keys else None,
            aws_secret_access_key=keys.sk if keys else None,
            region_name=settings.region or None,
        )
        self._settings, self._connections = settings, connections
        self._client = self._connect("s3v4")
        self._expires_s = expires_s
        self._signer = (self._client if expires_s > 0 else self._connect(UNSIGNED)) if urls else None

    def _connect(self, signature: Any) -> Any:
        from botocore.config import Config  # noqa: PLC0415

        options: dict[str, Any] = {
            "signature_version": signature,
            "connect_timeout": self._settings.connect_ms / 1000,
            "read_timeout": _READ_S,
            "retries": {"total_max_attempts": _ATTEMPTS, "mode": "standard"},
            "max_pool_connections": self._connections,
        }
        # Checksums in trailers, newer than many servers that speak S3.
        for name in ("request_checksum_calculation", "response_checksum_validation"):
            if name in Config.OPTION_DEFAULTS:
                options[name] = "when_required"
        endpoint = self._settings.endpoint or None
        # A signature needs a region; of those who are not AWS nearly all take this one.
        region = self._session.region_name or ("us-east-1" if endpoint else None)
        return self._session.client("s3", endpoint_url=endpoint, region_name=region, config=Config(**options))

    def put(self, key: str, content: bytes) -> str:
        """See :class:`Store`. Raises botocore's exceptions."""
        prefix, bucket = self._settings.key_prefix, self._settings.bucket_name
        name = f"{prefix}/{key}" if prefix else key
        self._client.put_object(Bucket=bucket, Key=name, Body=content, ContentType="image/jpeg")
        if self._signer is None:
            return ""
        about = {"Bucket": bucket, "Key": name}
        # Without a signature the time is not looked at.
        seconds = max(self._expires_s, 1)
        return str(self._signer.generate_presigned_url("get_object", Params=about, ExpiresIn=seconds))


def reason(error: BaseException) -> str:
    """Why something was not stored, for the log: no address and no text of a server, which may hold a key."""
    words = type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        return f"{words}: {error.strerror}"
    answer = getattr(error, "response", None)
    code = answer.get("Error", {}).get("Code") if isinstance(answer, dict) else None
    return f"{words}: {str(code)[:64]}" if code else words
