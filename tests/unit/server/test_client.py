"""The clients: what they send, what they send again and for how long. Both are held to the same cases."""

import asyncio
import base64
import contextlib
import inspect
import json

import httpx
import pytest

from server.client import AsyncClient, Client, DeadlineExceeded, Policy, ServerFault

GOOD = {"logId": "x", "result": {"a": 1}, "errorCode": 0, "errorMsg": "Success"}
PDF, PNG = b"%PDF-1.7", b"\x89PNG"


class Clock:
    """Time that passes only when somebody sleeps or a server takes it."""

    def __init__(self):
        self.now, self.slept = 1000.0, []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds

    async def sleep_async(self, seconds):
        self.sleep(seconds)


def fault(status, headers=None, message="why"):
    content = {"logId": "id", "errorCode": status, "errorMsg": message}
    return httpx.Response(status, json=content, headers=headers)


BUSY = {"retry-after": "2"}


class Site:
    """Plays a server: each request gets the next of ``answers``; an exception is raised, a number is time."""

    def __init__(self, clock, *answers):
        self.clock, self.answers, self.requests = clock, list(answers), []

    def __call__(self, request):
        request.read()
        self.requests.append(request)
        answer = self.answers.pop(0)
        while isinstance(answer, (int, float)):
            self.clock.now += answer
            answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def request(self):
        (one,) = self.requests
        return one


@pytest.fixture(params=["sync", "async"])
def ask(request):
    """Runs one call on a client of either kind: ``ask(site, "infer", …)``."""

    def run(site, name, *arguments, api_key="", retries=4, deadline_s=60.0, **fields):
        policy = Policy(deadline_s, retries, site.clock, lambda: 1.0)
        options = {"api_key": api_key, "policy": policy, "transport": httpx.MockTransport(site)}
        if request.param == "sync":
            with Client("http://x", sleep=site.clock.sleep, **options) as client:
                return getattr(client, name)(*arguments, **fields)

        async def call():
            async with AsyncClient("http://x", sleep=site.clock.sleep_async, **options) as client:
                return await getattr(client, name)(*arguments, **fields)

        return asyncio.run(call())

    return run


@pytest.fixture
def clock():
    return Clock()


# --- what is sent


@pytest.mark.parametrize(
    ("data", "media", "sent"),
    [(PDF, "", "application/pdf"), (PNG, "", "image/*"), (b"a,b", "text/csv", "text/csv")],
)
def test_bytes_as_they_are(ask, clock, data, media, sent):
    site = Site(clock, httpx.Response(200, json=GOOD))
    fields = {"visualize": False, "limit": 0.5, "mode": "max", "params": {"a": [1]}}
    assert ask(site, "infer", "/ocr", data, media=media, **fields) == {"a": 1}
    assert (site.request.content, site.request.headers["content-type"]) == (data, sent)
    assert dict(site.request.url.params) == {
        "visualize": "false", "limit": "0.5", "mode": "max", "params": '{"a": [1]}',
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "sent"),
    [("a.jpg", "image/jpeg"), ("a.PDF", "application/pdf"), ("a.csv", "text/csv"), ("a.xyz", "image/*")],
)
def test_a_file_by_its_path(ask, clock, tmp_path, name, sent):
    path = tmp_path / name
    path.write_bytes(PNG)
    for given in (path, str(path)):
        site = Site(clock, httpx.Response(200, json=GOOD))
        ask(site, "infer", "/ocr", given)
        assert (site.request.content, site.request.headers["content-type"]) == (PNG, sent)


@pytest.mark.parametrize(
    ("data", "media", "more"),
    [(PDF, "", {"fileType": 0}), (PNG, "", {"fileType": 1}), (b"a", "text/csv", {})],
)
def test_the_form_of_paddlex(ask, clock, data, media, more):
    site = Site(clock, httpx.Response(200, json=GOOD))
    ask(site, "infer", "/x", data, form="paddlex", field="image", media=media, visualize=None)
    wanted = {"image": base64.b64encode(data).decode(), "visualize": None} | more
    assert json.loads(site.request.content) == wanted
    assert site.request.headers["content-type"] == "application/json"


def test_fields_without_a_file(ask, clock):
    site = Site(clock, httpx.Response(200, json=GOOD))
    assert ask(site, "post", "/chatocr-chat", api_key="k", keyList=["a"]) == {"a": 1}
    assert json.loads(site.request.content) == {"keyList": ["a"]}
    assert site.request.headers["authorization"] == "Bearer k"


# --- what is sent again


def test_what_was_refused_at_the_door_is_sent_again_when_the_server_says_so(ask, clock):
    site = Site(clock, fault(503, BUSY), fault(429, BUSY), httpx.Response(200, json=GOOD))
    assert ask(site, "infer", "/ocr", PNG) == {"a": 1}
    assert clock.slept == [2.1, 2.2]
    assert len({request.content for request in site.requests}) == 1
    left = [int(request.headers["x-request-timeout-ms"]) for request in site.requests]
    assert left == [60_000, 57_900, 55_700]


def test_what_a_connection_lost_is_sent_again(ask, clock):
    lost = [httpx.ConnectError("x"), httpx.RemoteProtocolError("x"), httpx.ReadError("x")]
    site = Site(clock, *lost, httpx.Response(200, json=GOOD))
    assert ask(site, "infer", "/ocr", PNG) == {"a": 1}
    assert clock.slept == [0.1, 0.2, 0.4]


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422, 500, 503, 504])
def test_other_faults_are_final(ask, clock, status):
    site = Site(clock, fault(status))
    with pytest.raises(ServerFault) as refused:
        ask(site, "infer", "/ocr", PNG)
    found = refused.value
    assert (found.status, found.message, found.log_id, str(found)) == (status, "why", "id", f"{status}: why")
    assert clock.slept == []


def test_retries_end(ask, clock):
    site = Site(clock, *[fault(503, BUSY)] * 3)
    with pytest.raises(ServerFault, match="503"):
        ask(site, "infer", "/ocr", PNG, retries=2)
    site = Site(clock, httpx.ConnectError("refused"))
    with pytest.raises(httpx.ConnectError):
        ask(site, "infer", "/ocr", PNG, retries=0)


def test_nobody_waits_for_a_retry_that_would_come_too_late(ask, clock):
    site = Site(clock, fault(503, BUSY))
    with pytest.raises(ServerFault, match="503"):
        ask(site, "infer", "/ocr", PNG, deadline_s=2.0)
    assert clock.slept == []


@pytest.mark.parametrize("text", ["soon", "-1", "1.5", "\u0661"])
def test_a_retry_after_that_is_no_number_is_none(ask, clock, text):
    site = Site(clock, fault(503, {"retry-after": text.encode()}))
    with pytest.raises(ServerFault, match="503"):
        ask(site, "infer", "/ocr", PNG)


def test_waits_double_up_to_five_seconds(ask, clock):
    site = Site(clock, *[httpx.ConnectError("x")] * 9, httpx.Response(200, json=GOOD))
    ask(site, "infer", "/ocr", PNG, retries=9)
    assert clock.slept == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]


# --- deadlines


def test_a_timeout_is_the_end(ask, clock):
    with pytest.raises(DeadlineExceeded, match="within 60 s"):
        ask(Site(clock, httpx.ReadTimeout("x")), "infer", "/ocr", PNG)


def test_time_that_attempts_take_counts(ask, clock):
    site = Site(clock, 50, httpx.ConnectError("x"), httpx.Response(200, json=GOOD))
    ask(site, "infer", "/ocr", PNG)
    assert int(site.requests[1].headers["x-request-timeout-ms"]) == 9900
    with pytest.raises(httpx.ConnectError):
        ask(Site(clock, 61, httpx.ConnectError("x")), "infer", "/ocr", PNG)


# --- answers that are none


@pytest.mark.parametrize(
    ("status", "content"),
    [(200, b"<html>"), (502, b"\xff"), (200, b"[1]"), (200, b'{"errorCode":0}'), (404, b'{"error":"x"}')],
    ids=["html", "binary", "list", "no-result", "other"],
)
def test_what_is_no_answer_of_a_pipeline_server(ask, clock, status, content):
    site = Site(clock, httpx.Response(status, content=content))
    with pytest.raises(ServerFault, match="no answer of a pipeline server") as refused:
        ask(site, "infer", "/ocr", PNG)
    assert refused.value.status == status


def test_an_error_code_in_a_200_is_a_fault(ask, clock):
    with pytest.raises(ServerFault, match="why"):
        ask(
            Site(clock, httpx.Response(200, json={"logId": "", "errorCode": 5, "errorMsg": "why"})),
            "post",
            "/x",
        )


@pytest.mark.parametrize("name", ["infer", "post", "close"])
def test_both_clients_take_the_same(name):
    own, other = (inspect.signature(getattr(cls, name)) for cls in (Client, AsyncClient))
    assert own.parameters.keys() == other.parameters.keys()


# --- pages one by one


@pytest.fixture(params=["sync", "async"])
def pages(request):
    """All that an iteration gives: pages, and what ended it, None if that was its last line."""

    def run(site, count=None, retries=4):
        policy, found = Policy(60.0, retries, site.clock, lambda: 1.0), []
        options = {"policy": policy, "transport": httpx.MockTransport(site)}

        def enough(page):
            found.append((page.index, page.result))
            return len(found) == count

        def sync():
            with (
                Client("http://x", sleep=site.clock.sleep, **options) as client,
                contextlib.closing(client.pages("/ocr", PDF, visualize=False)) as all_pages,
            ):
                any(map(enough, all_pages))

        async def call():
            async with (
                AsyncClient("http://x", sleep=site.clock.sleep_async, **options) as client,
                contextlib.aclosing(client.pages("/ocr", PDF, visualize=False)) as all_pages,
            ):
                async for page in all_pages:
                    if enough(page):
                        break

        try:
            sync() if request.param == "sync" else asyncio.run(call())
        except (ServerFault, DeadlineExceeded, httpx.TransportError) as fault:
            return found, fault
        return found, None

    return run


PAGES = [{"pageIndex": index, "result": {"ocrResults": [index]}} for index in (1, 0)]
LAST = {"logId": "id", "errorCode": 0, "errorMsg": "Success", "dataInfo": {}, "numPages": 2}


def in_lines(*lines):
    content = "".join(json.dumps(line) + "\n" for line in lines)
    return httpx.Response(200, text=content, headers={"content-type": "application/x-ndjson"})


def test_pages_come_as_they_are_sent(pages):
    site = Site(Clock(), in_lines(*PAGES, LAST))
    found, fault = pages(site)
    assert fault is None and found == [(1, {"ocrResults": [1]}), (0, {"ocrResults": [0]})]
    sent = site.request
    assert sent.headers["accept"].startswith("application/x-ndjson,")
    assert sent.headers["content-type"] == "application/pdf" and sent.url.params["visualize"] == "false"


def test_a_loop_over_pages_can_be_left(pages):
    assert pages(Site(Clock(), in_lines(*PAGES, LAST)), count=1) == ([(1, {"ocrResults": [1]})], None)


def test_what_is_refused_at_the_door_is_sent_again_but_nothing_that_has_begun(pages):
    site = Site(Clock(), fault(503, BUSY), httpx.ConnectError("no"), in_lines(*PAGES, LAST))
    found, wrong = pages(site)
    assert (len(found), wrong, len(site.requests)) == (2, None, 3)
    site = Site(Clock(), in_lines(PAGES[0], LAST | {"errorCode": 503, "errorMsg": "busy"}))
    found, wrong = pages(site)
    assert len(found) == 1 and (wrong.status, wrong.message, wrong.log_id) == (503, "busy", "id")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda: in_lines(PAGES[0]), "the answer ends before its last line"),
        (lambda: in_lines(["x"]), "this is no line of a pipeline server"),
        (lambda: httpx.Response(200, json=GOOD), "this route does not answer page by page"),
        (lambda: fault(422), "why"),
    ],
)
def test_other_answers_are_faults(pages, answer, message):
    _, wrong = pages(Site(Clock(), answer()))
    assert wrong.message == message
