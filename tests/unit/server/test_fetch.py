"""Files by URL, with hostile resolvers and hosts of our own: only checked addresses are ever connected to."""

import asyncio
import itertools
import ssl
import time
from pathlib import Path

import pytest

from pipelines.core.addresses import host_and_port, is_public, is_within
from pipelines.core.errors import BadRequest, DeadlinePassed, Overloaded
from server.admission import Admission
from server.config import Access, Limits
from server.fetch import Fetcher
from tests.file_host import FileHost

TLS = Path(__file__).resolve().parents[2] / "cases" / "tls"
CONTENT = b"content" * 1000
LOOPBACK = ("127.0.0.0/8",)
LIMITS = Limits(url_timeout_ms=3000, max_body_bytes=100_000)


@pytest.fixture
def host():
    files = {
        "/f": ("image/png", CONTENT),
        "/csv": ("text/csv; charset=utf-8", b"a,b\n"),
        "/html": ("text/html", b"<html>"),
        "/untyped": ("", b"x"),
        "/zip": ("image/png", b"\x1f\x8b" + bytes(50), ("Content-Encoding", "gzip")),
        "/large": ("image/png", bytes(100_001)),
        "/lying": ("image/png", b"x", ("Content-Length", str(1 << 62))),
        "/nonsense": ("image/png", b"x", ("Content-Length", "9" * 40)),
        "/exact": ("image/png", bytes(100_000)),
    }
    with FileHost(files) as running:
        yield running


def permit(seconds=30.0, held=1 << 20):
    now = time.monotonic_ns
    limits = Limits(request_timeout_ms=int(seconds * 1000), max_decoded_bytes=held)
    return Admission(limits, lambda _batch: 0.0, 1, now).admit()


def get(url, access, *, resolve=None, kind="image", context=None, limits=LIMITS, allowed=None):
    async def run():
        fetcher = Fetcher(access, limits, resolve, context)
        return await fetcher.fetch(url, kind, allowed or permit())

    return asyncio.run(run())


def names(**addresses):
    """A name server; a list of lists is one answer after another, the last for ever."""
    answers = {
        name: itertools.chain(found[:-1], itertools.repeat(found[-1])) for name, found in addresses.items()
    }

    async def resolve(host, port):
        return next(answers[host.replace(".", "_")])

    return resolve


def refused(message, *arguments, **options):
    with pytest.raises(BadRequest, match=message) as caught:
        get(*arguments, **options)
    assert str(caught.value).startswith("Invalid input file: the file cannot be fetched from its URL")


# --- hosts


def test_a_listed_address_with_its_port(host):
    url = f"http://127.0.0.1:{host.port}/f"
    assert get(url, Access(url_hosts=(f"127.0.0.1:{host.port}",))) == CONTENT
    assert host.seen == [("/f", f"127.0.0.1:{host.port}")]


def test_a_listed_name_is_connected_to_at_the_address_that_was_checked(host):
    """The name server changes its mind after the first answer: nobody asks it again."""
    access = Access(url_hosts=(f"files.test:{host.port}",), url_networks=LOOPBACK)
    resolve = names(files_test=[["127.0.0.1"], ["169.254.169.254"]])
    assert get(f"http://FILES.test:{host.port}/f", access, resolve=resolve) == CONTENT
    assert host.seen == [("/f", f"files.test:{host.port}")], "the host sees its own name"


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"], ["10.0.0.1"], ["192.168.1.1"], ["169.254.169.254"], ["100.100.100.200"], ["0.0.0.0"],
        ["::1"], ["::ffff:127.0.0.1"], ["::ffff:169.254.169.254"], ["fe80::1"], ["fd00:ec2::254"],
        ["fc00::1"], ["64:ff9b::7f00:1"], ["2002:7f00:1::"], ["224.0.0.1"], ["8.8.8.8", "127.0.0.1"],
        ["nonsense"], [],
    ],
)  # fmt: skip
def test_a_listed_name_that_leads_inside_is_refused(host, addresses):
    access = Access(url_hosts=(f"files.test:{host.port}",))
    with pytest.raises(BadRequest):
        get(f"http://files.test:{host.port}/f", access, resolve=names(files_test=[addresses]))
    assert host.seen == []


@pytest.mark.parametrize("address", ["169.254.169.254", "fd00:ec2::254", "100.100.100.200", "169.254.1.1"])
def test_metadata_and_link_local_are_never_within_a_network(address):
    import ipaddress

    everything = [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]
    assert not is_within(address, everything)
    assert not is_public(address)
    assert is_within("::ffff:10.1.2.3", everything)


@pytest.mark.parametrize(
    "url",
    [
        "http://other.test:{port}/f",
        "http://files.test/f",
        "https://files.test:{port2}/f",
        "http://files.test.:{port}/f",
        "http://files.test.evil.test:{port}/f",
        "http://evil.test#@files.test:{port}/f",
        "http://evil.test?@files.test:{port}/f",
        "http://evil.test\\@files.test:{port}/f",
        "http://files.test\\@evil.test:{port}/f",
        "http://files.test:{port}@evil.test/f",
        "http://user:pass@files.test:{port}/f",
        "http://@files.test:{port}/f",
        "http://2130706433:{port}/f",
        "http://0x7f000001:{port}/f",
        "http://0177.0.0.1:{port}/f",
        "http://127.1:{port}/f",
        "http://127.0.0.1:{port}/f",
        "http://[::1]:{port}/f",
        "http://[::ffff:127.0.0.1]:{port}/f",
        "http://\uff11\uff12\uff17.0.0.1:{port}/f",
        "http://files\u3002test:{port}2/f",
        "http://files.test:{port}\r\nX: y/f",
        "http://files.test:999999/f",
        "http://[files.test]:{port}/f",
        "http://",
        "https://:{port}/",
    ],
)
def test_a_url_that_only_looks_like_a_listed_host(host, url):
    async def resolve(name, port):
        return ["127.0.0.1"]

    access = Access(url_hosts=(f"files.test:{host.port}",), url_networks=LOOPBACK)
    url = url.replace("{port2}", str(host.port + 1)).replace("{port}", str(host.port))
    refused("it is no URL|its host is not one that this server may ask", url, access, resolve=resolve)
    assert host.seen == []


def test_redirects_have_to_pass_the_same_tests(host):
    access = Access(url_hosts=(f"127.0.0.1:{host.port}",))
    base = f"http://127.0.0.1:{host.port}"
    host.moves = {"/a": "/b", "/b": f"{base}/f", "/loop": "/loop", "/one": "/two", "/two": "/a"}
    assert get(f"{base}/a", access) == CONTENT
    refused("redirects more than 3 times", f"{base}/loop", access)
    for target in ("http://169.254.169.254/", f"http://localhost:{host.port}/f", "file:///etc/passwd",
                   "gopher://127.0.0.1/", f"http://x@127.0.0.1:{host.port}/f", "//evil.test/f"):  # fmt: skip
        before = len(host.seen)
        refused("may ask|no URL", f"{base}/to?{target}", access)
        assert len(host.seen) == before + 1


def test_a_name_that_leads_elsewhere_after_a_redirect(host):
    """The second answer of the name server is checked like the first."""
    access = Access(url_hosts=(f"files.test:{host.port}",), url_networks=LOOPBACK)
    host.moves = {"/a": "/f"}
    resolve = names(files_test=[["127.0.0.1"], ["169.254.169.254"]])
    with pytest.raises(BadRequest):
        get(f"http://files.test:{host.port}/a", access, resolve=resolve)
    assert [path for path, _ in host.seen] == ["/a"]


# --- TLS


def test_the_certificate_is_checked_against_the_name_not_the_address():
    context = ssl.create_default_context(cafile=TLS / "one.crt")
    with FileHost({"/f": ("image/png", CONTENT)}, (TLS / "one.crt", TLS / "one.key")) as host:
        for name, works in (("files.test", True), ("other.test", False)):
            access = Access(url_hosts=(f"{name}:{host.port}",), url_networks=LOOPBACK)
            resolve = names(files_test=[["127.0.0.1"]], other_test=[["127.0.0.1"]])
            url = f"https://{name}:{host.port}/f"
            if works:
                assert get(url, access, resolve=resolve, context=context) == CONTENT
            else:
                refused("cannot be reached", url, access, resolve=resolve, context=context)
        host.moves = {"/down": f"http://files.test:{host.port}/f"}
        access = Access(url_hosts=(f"files.test:{host.port}",), url_networks=LOOPBACK)
        resolve = names(files_test=[["127.0.0.1"]])
        url = f"https://files.test:{host.port}/down"
        refused("from https to http", url, access, resolve=resolve, context=context)


# --- bounds


@pytest.mark.parametrize(
    ("path", "kind", "message"),
    [
        ("/html", "image", "something else than this operation reads"),
        ("/csv", "image", "something else than this operation reads"),
        ("/f", "blob", "something else than this operation reads"),
        ("/f", "pdf", "something else than this operation reads"),
        ("/zip", "image", "sends it compressed"),
        ("/large", "image", "larger than 100000 bytes"),
        ("/lying", "image", "larger than 100000 bytes"),
        ("/endless", "image", "larger than 100000 bytes"),
        ("/cut", "image", "breaks off"),
        ("/nonsense", "image", "breaks off"),
        ("/nope", "image", "HTTP status 404"),
    ],
)
def test_what_a_host_may_not_send(host, path, kind, message):
    access = Access(url_hosts=(f"127.0.0.1:{host.port}",))
    refused(message, f"http://127.0.0.1:{host.port}{path}", access, kind=kind)


@pytest.mark.parametrize(("path", "kind"), [("/exact", "image"), ("/csv", "blob"), ("/untyped", "pdf")])
def test_what_it_may(host, path, kind):
    access = Access(url_hosts=(f"127.0.0.1:{host.port}",))
    assert get(f"http://127.0.0.1:{host.port}{path}", access, kind=kind)


@pytest.mark.parametrize("path", ["/slow", "/drip"])
def test_time_is_bounded_however_slowly_it_comes(host, path):
    access = Access(url_hosts=(f"127.0.0.1:{host.port}",))
    url, limits = f"http://127.0.0.1:{host.port}{path}", Limits(url_timeout_ms=200)
    started = time.monotonic()
    refused("more than 200 ms", url, access, limits=limits)
    with pytest.raises(DeadlinePassed):
        get(url, access, allowed=permit(seconds=0.2))
    assert time.monotonic() - started < 3


def test_a_name_server_that_never_answers(host):
    async def resolve(name, port):
        await asyncio.sleep(60)

    access = Access(url_hosts=("files.test",))
    refused(
        "more than 200 ms", "http://files.test/f", access, resolve=resolve, limits=Limits(url_timeout_ms=200)
    )


def test_what_is_received_is_held_by_the_permit(host):
    access = Access(url_hosts=(f"127.0.0.1:{host.port}",))
    allowed = permit(held=200_000)
    get(f"http://127.0.0.1:{host.port}/exact", access, allowed=allowed)
    with pytest.raises((Overloaded, BadRequest)):
        allowed.hold(100_001)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("files.test", ("files.test", None)), ("Files.Test:8080", ("files.test", 8080)),
        ("10.0.0.1:1", ("10.0.0.1", 1)), ("[::1]:80", ("::1", 80)), ("[::1]", ("::1", None)),
        ("a:0", None), ("a:65536", None), ("http://a", None), ("a/b", None), ("u@a", None),
        ("", None), ("a:b", None),
    ],
)  # fmt: skip
def test_hosts_in_the_option(text, found):
    assert host_and_port(text) == found
