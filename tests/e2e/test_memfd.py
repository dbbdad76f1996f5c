"""Pixels in a sealed memfd against a real server."""

import os
import stat
from pathlib import Path

import pytest

from server.client import Client
from server.config import Access
from tests.fakes import RightAnswers, page, png
from tests.harness import texts_of
from tests.unit.server.test_memfd import receive, sealed, send
from tests.unit.server.test_memfd import socket as sockets

pytestmark = pytest.mark.usefixtures("clean")


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    path = tmp_path_factory.mktemp("memfd") / "s"
    return {"config": {"access": Access(memfd_socket=str(path), unix_socket_mode=0o600)}}


def test_pixels_are_answered_as_their_png_is(server):
    path, image = Path(server.config.access.memfd_socket), page(1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    fd = sealed(image.tobytes())
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_SEQPACKET) as client:
        client.settimeout(30)
        client.connect(str(path))
        for _ in range(2):
            send(client, {"path": "/ocr", "pixels": list(image.shape[:2]), "query": "visualize=false"}, fd)
            about, found = receive(client)
            assert (about["status"], texts_of(found)) == (200, [RightAnswers(server.config).texts(image)])
    os.close(fd)


def test_the_client_lends_pixels_and_files(server):
    image = page(2)
    with Client(f"memfd://{server.config.access.memfd_socket}") as client:
        results = [client.infer("/ocr", each, visualize=False) for each in (image, png(image))]
    texts = [[found["prunedResult"]["rec_texts"] for found in result["ocrResults"]] for result in results]
    assert texts == [[RightAnswers(server.config).texts(image)]] * 2
