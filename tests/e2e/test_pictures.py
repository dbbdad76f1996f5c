"""A server that keeps pictures of documents in a bucket, which moto plays."""

import base64
import contextlib
import json
import re

import boto3
import httpx
import msgspec
import pytest
from moto.server import ThreadedMotoServer

from pipelines.core.config import S3Keys, S3Storage, ServingOptions
from server.config import Limits
from tests.e2e.conftest import request
from tests.e2e.test_http_documents import tiff
from tests.fakes import fake_config, page, png
from tests.harness import Server

pytestmark = pytest.mark.usefixtures("clean")

KEYS = S3Keys("AKIDNAMEOFAKEY", "hush-hush-hush")
UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


@pytest.fixture(scope="module")
def bucket():
    """moto, its address, and a client of the one bucket it has."""
    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    client.create_bucket(Bucket="pictures")
    with contextlib.closing(client):
        yield moto, endpoint, client
    moto.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory, bucket):
    folder = tmp_path_factory.mktemp("pictures")
    storage = S3Storage("pictures", bucket[1], key_prefix="scans", keys=KEYS, connect_ms=500)
    serving = ServingOptions(storage=storage, return_urls=True, url_expires_in=60)
    config = fake_config(folder / "models", limits=Limits(), config={"cache_mb": 8, "log_level": "debug"})
    (pipeline,) = config.pipelines
    config = msgspec.structs.replace(config, pipelines=(msgspec.structs.replace(pipeline, serving=serving),))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PIP_NO_INDEX", "1")  # pictures are drawn without a font: no test loads one
        environment.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        with Server(config, folder) as running:
            running.wait_ready()
            yield running


def ask(server, content, **headers):
    with contextlib.closing(server.connect()) as connection:
        connection.request("POST", "/ocr", content, {"Content-Type": "application/json"} | headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read()


def test_pictures_are_addresses_of_what_the_bucket_holds(server, bucket):
    _, endpoint, client = bucket
    content = request(tiff(page(1), page(2)), visualize=True, logId="../../mine")
    status, headers, body = ask(server, content)
    assert status == 200 and "store;dur=" in headers["Server-Timing"]
    assert headers["X-Cache"] is None  # an address may lead to nothing some day
    folders = set()
    for index, row in enumerate(json.loads(body)["result"]["ocrResults"]):
        for name in ("ocrImage", "inputImage"):
            found = re.fullmatch(
                f"{endpoint}/pictures/(scans/({UUID})/{name}_{index}.jpg)\\?(.*X-Amz-Expires=60.*)", row[name]
            )
            assert found, row[name]
            answer = httpx.get(row[name], trust_env=False)
            assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
            assert answer.content.startswith(b"\xff\xd8") and answer.content.endswith(b"\xff\xd9")
            assert client.get_object(Bucket="pictures", Key=found[1])["Body"].read() == answer.content
            folders.add(found[2])
    assert len(folders) == 1
    assert b"mine" not in body.replace(b'"logId":"../../mine"', b"")


def test_pages_in_lines_have_addresses_too(server):
    content = request(tiff(page(1), page(2)), visualize=True)
    status, _, body = ask(server, content, Accept="application/x-ndjson")
    *lines, last = map(json.loads, body.splitlines())
    assert (status, last["errorCode"], len(lines)) == (200, 0, 2)
    for line in lines:
        (row,) = line["result"]["ocrResults"]
        assert f"/inputImage_{line['pageIndex']}.jpg?" in row["inputImage"]


def test_a_bucket_that_is_down_costs_pictures_only_and_no_key_is_ever_told(server, bucket):
    """The last test of this module: moto stays down."""
    bucket[0].stop()
    status, _, body = ask(server, request(png(page(3)), visualize=True, logId="down"))
    assert (status, json.loads(body)) == (
        502,
        {"logId": "down", "errorCode": 502, "errorMsg": "The storage of pictures failed"},
    )
    assert ask(server, request(png(page(3))))[0] == 200
    log = server.log()
    assert "OCR: pictures cannot be stored: EndpointConnectionError" in log
    for secret in (KEYS.ak, KEYS.sk, base64.b64encode(KEYS.sk.encode()).decode(), "X-Amz-Signature"):
        assert secret not in log
