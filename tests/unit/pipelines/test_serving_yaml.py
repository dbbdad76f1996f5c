"""``Serving``: where pictures are kept, and which addresses answers have."""

import importlib.util

import msgspec
import pytest

from pipelines.core.config import FileStorage, S3Keys, S3Storage, ServingOptions
from pipelines.core.errors import ConfigError
from pipelines.core.serving_yaml import read_serving

S3 = {"type": "s3", "bucket_name": "b"}


def read(storage=None, has_pages=True, expires=None, **top):
    extra = {"file_storage": storage} if storage else {}
    if expires is not None:
        extra["url_expires_in"] = expires
    return read_serving(top | {"extra": extra}, has_pages)


def test_a_folder_as_paddlex_names_it(tmp_path):
    options, ignored = read({"type": "file_system", "directory": str(tmp_path)}, expires=60)
    assert (options.storage, options.return_urls) == (FileStorage(str(tmp_path)), False)
    assert ignored == ("Serving.extra.url_expires_in",)


def test_a_folder_that_somebody_serves(tmp_path):
    base = "https://pictures.example/pages/"
    options, _ = read({"type": "file_system", "directory": "here", "base_url": base}, return_urls=True)
    assert options.storage.base_url == base.rstrip("/") and options.return_urls
    assert options.storage.directory.startswith("/")


def test_a_bucket():
    storage = S3 | {
        "endpoint": "http://127.0.0.1:9000",
        "ak": "AKID",
        "sk": "secret",
        "region": "eu-central-1",
        "key_prefix": "/scans/",
        "connection_timeout_in_mills": 500,
    }
    options, ignored = read(storage, return_urls=True, expires=3600)
    keys = S3Keys("AKID", "secret")
    assert options.storage == S3Storage("b", "http://127.0.0.1:9000", "eu-central-1", "scans", keys, 500)
    assert (options.return_urls, options.url_expires_in, ignored) == (True, 3600, ())
    assert "secret" not in repr(options) and "AKID" not in repr(options)
    again = msgspec.json.decode(msgspec.json.encode(options), type=ServingOptions)
    assert again == options  # as child processes get it


def test_the_old_name_of_the_switch_holds_where_the_new_one_is_absent():
    for section, wanted in (({}, True), ({"return_urls": False}, False)):
        extra = {"file_storage": S3, "return_img_urls": True}
        assert read_serving(section | {"extra": extra}, True)[0].return_urls is wanted


def test_a_pipeline_without_documents_keeps_no_pictures():
    assert read(S3, False, return_urls=True) == (ServingOptions(), ("Serving.extra.file_storage",))
    assert read(None, False, return_urls=True) == (ServingOptions(), ("Serving.return_urls",))


@pytest.mark.parametrize(
    ("storage", "top", "message"),
    [
        ({"type": "bos", "sk": "hush"}, {}, "bos is not supported, but BOS answers the S3 protocol"),
        ({"type": "ftp"}, {}, "ftp is not supported, only memory, file_system and s3"),
        ({"type": "memory", "directory": "x"}, {}, "unknown key Serving.extra.file_storage.directory"),
        ({"type": "file_system"}, {}, "file_storage.directory is missing"),
        ({"type": "s3"}, {}, "file_storage.bucket_name is missing"),
        (S3 | {"bucket": "b"}, {}, "unknown key Serving.extra.file_storage.bucket"),
        (S3 | {"sk": "hush"}, {}, "file_storage.ak and Serving.extra.file_storage.sk belong together"),
        (S3 | {"ak": "a", "sk": ["hush"]}, {}, "file_storage.sk: Expected `str`"),
        (S3 | {"endpoint": "https://a:hush@h"}, {}, "file_storage.endpoint must be an http"),
        (S3 | {"endpoint": "h:9000"}, {}, "file_storage.endpoint must be an http"),
        (S3 | {"connection_timeout_in_mills": 0}, {}, "connection_timeout_in_mills must be 1 to 10000"),
        (None, {"return_urls": True}, "return_urls needs Serving.extra.file_storage of type s3"),
        (
            {"type": "memory"},
            {"return_urls": True},
            "return_urls needs Serving.extra.file_storage of type s3",
        ),
        ({"type": "file_system", "directory": "d"}, {"return_urls": True}, "file_system with base_url"),
        (S3, {"return_urls": True, "expires": 604_801}, "url_expires_in must be 1 to 604800 seconds"),
        (S3, {"return_urls": True, "expires": 0}, "url_expires_in must be 1 to 604800 seconds"),
        (
            {"type": "file_system", "directory": "d", "base_url": "http://h"},
            {"return_urls": True, "expires": 60},
            "addresses of a file_system do not expire",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(storage, top, message):
    with pytest.raises(ConfigError, match=message) as fault:
        read(storage, **top)
    assert "hush" not in str(fault.value)


def test_s3_names_the_extra_that_it_needs(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"s3 needs the extra 's3'"):
        read(S3)
