"""The ``Serving`` section of a 3.x pipeline YAML (API reference, 5.2): limits, where pictures go."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from .config import FileStorage, S3Keys, S3Storage, ServingOptions, Storage
from .errors import ConfigError
from .yaml_config import Section

#: The longest time that an address signed for S3 (Signature Version 4) may be valid, in seconds.
MAX_EXPIRY_S = 7 * 86_400
#: Whoever waits for a connection longer would meet the bound on storing as a whole.
MAX_CONNECT_MS = 10_000
_KINDS = "memory, file_system and s3"


def read_serving(raw: Any, has_pages: bool) -> tuple[ServingOptions, tuple[str, ...]]:
    """The ``Serving`` section, and its keys that have no effect here.

    Args:
        raw: the section.
        has_pages: the pipeline answers documents; only such store pictures, as in PaddleX.

    Raises:
        ConfigError: an unknown key, a value that cannot be, or storage that this server does not have.
    """
    serving = Section(raw, "Serving")
    visualize = serving.take("visualize", bool, True)
    extra = serving.section("extra")
    return_urls = serving.take("return_urls", bool, extra.take("return_img_urls", bool, False))
    expires = extra.take("url_expires_in", int, -1)
    storage = read_storage(extra.section("file_storage"))
    pages, size = _limit(raw, "max_num_input_imgs", 10), _limit(raw, "max_output_img_size", (2000, 2000))
    extra.skip("max_num_input_imgs", "max_output_img_size").finish()
    serving.finish()
    ignored = []
    if not has_pages and (storage is not None or return_urls):
        ignored.append("Serving.extra.file_storage" if storage is not None else "Serving.return_urls")
        storage, return_urls = None, False
    if return_urls:
        _check_urls(storage, expires)
    elif expires != -1:
        ignored.append("Serving.extra.url_expires_in")
    return ServingOptions(
        visualize=visualize,
        max_num_input_imgs=_converted(pages, int | None, "max_num_input_imgs"),
        max_output_img_size=_converted(size, tuple[int, int] | None, "max_output_img_size"),
        storage=storage,
        return_urls=return_urls,
        url_expires_in=expires,
    ), tuple(ignored)


def read_storage(section: Section) -> Storage | None:
    """``Serving.extra.file_storage``; None where pictures are kept nowhere. Raises ConfigError.

    ``file_system`` with ``directory`` and ``memory`` are PaddleX's; the latter keeps pictures that nobody can
    ask for, so nothing is kept. ``base_url`` and all of ``s3`` are this server's.
    """
    kind = section.take("type", str, "memory")
    where = section.name("type")
    if kind == "bos":
        raise ConfigError(
            f"{where}: bos is not supported, but BOS answers the S3 protocol: type s3 with endpoint "
            "https://s3.REGION.bcebos.com, region and the same bucket_name, ak, sk and key_prefix"
        )
    if kind not in {"memory", "file_system", "s3"}:
        raise ConfigError(f"{where}: {kind} is not supported, only {_KINDS}")
    found: Storage | None = None
    if kind == "file_system":
        found = FileStorage(
            str(Path(_needed(section, "directory")).absolute()), _address(section, "base_url").rstrip("/")
        )
    elif kind == "s3":
        found = _s3(section)
    section.finish()
    return found


def _s3(section: Section) -> S3Storage:
    ak, sk = section.take("ak", str, ""), section.take("sk", str, "")
    if bool(ak) != bool(sk):
        raise ConfigError(f"{section.name('ak')} and {section.name('sk')} belong together")
    milliseconds = section.take("connection_timeout_in_mills", int, 3000)
    if not 0 < milliseconds <= MAX_CONNECT_MS:
        raise ConfigError(f"{section.name('connection_timeout_in_mills')} must be 1 to {MAX_CONNECT_MS}")
    if importlib.util.find_spec("boto3") is None:
        raise ConfigError(
            f"{section.name('type')}: s3 needs the extra 's3': python -m pip install -e '.[s3]'"
        )
    return S3Storage(
        _needed(section, "bucket_name"),
        _address(section, "endpoint"),
        section.take("region", str, ""),
        section.take("key_prefix", str, "").strip("/"),
        S3Keys(ak, sk) if ak else None,
        milliseconds,
    )


def _needed(section: Section, key: str) -> str:
    value = section.take(key, str, "")
    if not value:
        raise ConfigError(f"{section.name(key)} is missing")
    return value


def _address(section: Section, key: str) -> str:
    """An address without user and password, which would come back in each answer; "" when it is absent."""
    value = section.take(key, str, "")
    if not value:
        return ""
    try:
        parts = urlsplit(value)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        good = good and not (parts.username or parts.password or parts.query or parts.fragment)
    except ValueError:
        good = False
    if not good:
        raise ConfigError(f"{section.name(key)} must be an http:// or https:// address without user or query")
    return value


def _check_urls(storage: Storage | None, expires: int) -> None:
    if storage is None or (isinstance(storage, FileStorage) and not storage.base_url):
        raise ConfigError(
            "Serving.return_urls needs Serving.extra.file_storage of type s3, or file_system with base_url"
        )
    if expires == -1:
        return
    if isinstance(storage, FileStorage):
        raise ConfigError("Serving.extra.url_expires_in: addresses of a file_system do not expire")
    if not 0 < expires <= MAX_EXPIRY_S:
        raise ConfigError(
            f"Serving.extra.url_expires_in must be 1 to {MAX_EXPIRY_S} seconds, or -1 for unsigned addresses"
        )


def _limit(raw: Any, key: str, default: Any) -> Any:
    """A limit of ``Serving.extra``: here null is a value (no limit), only absence is the default."""
    return ((raw or {}).get("extra") or {}).get(key, default)


def _converted(value: Any, kind: Any, key: str) -> Any:
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"Serving.extra.{key}: {error}") from error
