"""The clients of this package against a real server."""

import asyncio

import pytest

from server.client import AsyncClient, Client, DeadlineExceeded, Policy, ServerFault
from tests.conditions import wait_for
from tests.fakes import RightAnswers, page, png

pytestmark = pytest.mark.usefixtures("clean")


@pytest.fixture(scope="module")
def right(server):
    return RightAnswers(server.config)


@pytest.fixture
def url(server):
    return f"http://127.0.0.1:{server.port}"


def texts(result):
    return [found["prunedResult"]["rec_texts"] for found in result["ocrResults"]]


@pytest.mark.parametrize("form", ["raw", "paddlex"])
def test_a_file(url, right, tmp_path, form):
    path = tmp_path / "page.png"
    path.write_bytes(png(page(1)))
    with Client(url) as client:
        for given in (path, png(page(1))):
            result = client.infer("/ocr", given, form=form, visualize=False, textDetThresh=0.4)
            assert texts(result) == [right.texts(page(1))]
            assert result["ocrResults"][0]["prunedResult"]["text_det_params"]["thresh"] == 0.4


def test_pages_one_by_one(url, right):
    with Client(url) as client:
        (one,) = client.pages("/ocr", png(page(1)), visualize=False)
    assert one.index == 0 and texts(one.result) == [right.texts(page(1))]


def test_many_at_once(url, right):
    async def ask():
        async with AsyncClient(url) as client:
            images = [page(seed) for seed in range(6)]
            results = await asyncio.gather(*(client.infer("/ocr", png(image)) for image in images))
        return images, results

    images, results = asyncio.run(ask())
    assert [texts(result) for result in results] == [[right.texts(image)] for image in images]


def test_faults(url):
    with Client(url) as client, pytest.raises(ServerFault, match="Invalid input file") as refused:
        client.infer("/ocr", b"no image")
    assert refused.value.status == 422
    assert refused.value.log_id


def test_the_deadline_reaches_the_server(server, url):
    """Its own 504 and the client's clock are even."""

    def dropped():
        return server.counter("worker_deadline_passed") + server.counter("worker_client_gone")

    before, policy = dropped(), Policy(deadline_s=0.5, retries=0)
    with Client(url, policy=policy) as client, pytest.raises((ServerFault, DeadlineExceeded)) as late:
        client.infer("/ocr", png(page(1, fault="slow")))
    assert isinstance(late.value, DeadlineExceeded) or late.value.status == 504
    wait_for(lambda: dropped() == before + 1, what="the server drops the request")
