"""The client of language models against a real server with faults on demand."""

import asyncio
import time

import httpx
import numpy as np
import pytest

from pipelines.core.address_guard import is_public
from pipelines.core.errors import BadRequest, Overloaded, Upstream, UpstreamTimeout
from pipelines.core.llm import LlmClient, Service
from pipelines.core.prompts import prompt
from tests.conditions import wait_for
from tests.llm_server import LlmServer

KEY = "sk-secret-key"


@pytest.fixture(scope="module")
def llm():
    with LlmServer() as server:
        yield server


def ask(llm, model="good", text="Total: 12.50", keys=("Total",), ours=True, allowed=(), **settings):
    async def run():
        client = LlmClient(frozenset(allowed), pause_s=0.001)
        service = Service(llm.url, model, KEY, ours=ours, **settings)
        try:
            return await client.chat(service, prompt("text", text, keys))
        finally:
            await client.aclose()

    return asyncio.run(run())


def test_an_answer_comes_back_and_the_key_goes_in_the_header_only(llm):
    assert ask(llm).content == '{"Total": "12.50"}'
    seen = llm.seen()[-1]
    assert seen["headers"]["Authorization"] == f"Bearer {KEY}"
    assert KEY not in str(seen["body"])


@pytest.mark.parametrize(
    ("model", "fault", "words"),
    [
        ("status-500", Upstream, "HTTP status 500"),
        ("status-401", Upstream, "refused the key"),
        ("status-404", Upstream, "HTTP status 404"),
        ("no-json", Upstream, "no JSON"),
        ("error-in-200", Upstream, "no chat completion"),
        ("cut", Upstream, "cannot be reached"),
    ],
)
def test_a_fault_of_the_service_is_told_without_its_words(llm, model, fault, words):
    with pytest.raises(fault, match=words) as caught:
        ask(llm, model, retries=0)
    assert "secret" not in str(caught.value)


def test_a_rate_limit_is_a_503_that_says_when_to_come_back(llm, monkeypatch):
    monkeypatch.setattr("pipelines.core.llm._LONGEST_PAUSE_S", 0.001)
    with pytest.raises(Overloaded) as caught:
        ask(llm, "status-429")
    assert caught.value.retry_after_s == 7


def test_a_fault_that_passes_is_tried_again(llm, monkeypatch):
    monkeypatch.setattr("pipelines.core.llm._LONGEST_PAUSE_S", 0.001)
    assert "12.50" in ask(llm, "status-503-once").content


def test_no_server_is_a_502():
    class Nobody:
        url = "http://127.0.0.1:9/v1"

    with pytest.raises(Upstream, match="cannot be reached"):
        ask(Nobody)


def test_a_slow_service_is_given_up_in_time(llm):
    started = time.monotonic()
    with pytest.raises(UpstreamTimeout):
        ask(llm, "hang", timeout_s=0.2)
    assert time.monotonic() - started < 2


def test_a_cancelled_call_hangs_up(llm):
    async def run():
        client = LlmClient()
        before = len(llm.seen())
        call = asyncio.create_task(client.chat(Service(llm.url, "hang", ours=True), []))
        while len(llm.seen()) == before:
            await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await client.aclose()

    gone = llm.seen().count("client gone")
    asyncio.run(run())
    wait_for(lambda: llm.seen().count("client gone") > gone, what="the service sees its client go")


def test_more_calls_than_may_wait_are_refused(llm):
    async def run():
        client = LlmClient(concurrency=1)
        service = Service(llm.url, "hang", timeout_s=0.5, ours=True)
        calls = [asyncio.create_task(client.chat(service, [])) for _ in range(12)]
        done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        assert isinstance(done.pop().exception(), Overloaded)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await client.aclose()

    asyncio.run(run())


def test_a_client_cannot_send_the_server_to_inner_addresses(llm):
    with pytest.raises(BadRequest, match="must be public"):
        ask(llm, ours=False)
    assert "12.50" in ask(llm, ours=False, allowed=[f"127.0.0.1:{llm.port}"]).content


def test_a_redirect_is_not_followed(llm):
    for ours in (True, False):
        with pytest.raises(Upstream, match="HTTP status 302"):
            ask(llm, "status-302", ours=ours, allowed=[f"127.0.0.1:{llm.port}"], retries=0)
    assert not [entry for entry in llm.seen() if "elsewhere" in str(entry)]


def addresses(*answers):
    """``getaddrinfo`` of a name server that answers differently each time."""
    left = list(answers)

    async def getaddrinfo(self, host, port, **options):
        return [(0, 0, 0, "", (address, port)) for address in left.pop(0)]

    return getaddrinfo


def reached(monkeypatch, *answers):
    """Hosts and TLS names that a call to a name goes to, the name being looked up as ``answers`` say."""
    found = []

    async def connect(self, request):
        found.append((request.url.host, request.extensions.get("sni_hostname")))
        raise httpx.ConnectError("nobody there")

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", addresses(*answers))
    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", connect)

    async def run():
        client = LlmClient(pause_s=0.001)
        try:
            await client.chat(Service("https://llm.example/v1", "m", KEY, retries=0), [])
        finally:
            await client.aclose()

    with pytest.raises((Upstream, BadRequest)) as caught:
        asyncio.run(run())
    return found, caught.value


def test_a_name_that_changes_its_address_after_the_check_changes_nothing(monkeypatch):
    found, _ = reached(monkeypatch, ["8.8.8.8"], ["127.0.0.1"])
    assert found == [("8.8.8.8", "llm.example")]


def test_a_name_with_one_inner_address_is_refused(monkeypatch):
    found, fault = reached(monkeypatch, ["8.8.8.8", "10.0.0.1"])
    assert found == [] and isinstance(fault, BadRequest)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://", "ftp://a/", "http://user:pw@a/v1", "\x00"])
def test_an_address_of_another_kind_is_refused(url):
    class Odd:
        pass

    Odd.url = url
    with pytest.raises(BadRequest):
        ask(Odd, ours=False)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "::1", "::", "fe80::1%eth0", "fd00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "x",
    ],
)  # fmt: skip
def test_inner_addresses_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2600:1901::1"])
def test_addresses_of_the_internet_are_public(address):
    assert is_public(address)


def test_embeddings_come_in_the_order_of_their_texts_and_with_length_one(llm):
    async def run():
        client = LlmClient()
        texts = [f"word{i}" for i in range(20)]
        together = await client.embed(Service(llm.url, "e", ours=True), texts)
        alone = await client.embed(Service(llm.url, "e", ours=True), texts[7:8])
        await client.aclose()
        return together, alone

    together, alone = asyncio.run(run())
    assert together.shape == (20, 64)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(together[7], alone[0])


def test_no_key_is_in_the_words_for_a_service():
    assert KEY not in repr(Service("http://a/v1", "m", KEY)) + str(Service("http://a/v1", "m", KEY))
