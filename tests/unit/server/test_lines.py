"""Answers in lines, without a server: who gets them, what is in them, and clients that do not read."""

import asyncio
import json
from types import SimpleNamespace

import pytest

from pipelines.core.errors import DeadlinePassed, EngineError
from server import encode
from server.config import Limits
from server.lines import Lines, open_lines


@pytest.mark.parametrize(
    ("version", "accept", "wanted"),
    [
        ("1.1", "application/x-ndjson", True),
        ("1.1", "application/json;q=0.5, Application/X-NDJSON; q=1", True),
        ("1.0", "application/x-ndjson", False),
        ("1.1", "application/json", False),
        ("1.1", "*/*", False),
        ("1.1", "", False),
        ("1.1", "application/x-ndjson-seq", False),
    ],
)
def test_who_gets_lines(version, accept, wanted):
    request = SimpleNamespace(version=version, headers={"accept": accept})
    assert (open_lines(request, None, Limits()) is not None) == wanted


def test_a_page_is_one_line_without_what_only_the_document_has():
    result = {"ocrResults": [{"prunedResult": {"texts": ["a\nb"]}, "image": None}], "dataInfo": None}
    line = encode.page_line(3, result)
    assert line.endswith(b"}\n") and line.count(b"\n") == 1
    assert json.loads(line) == {
        "pageIndex": 3,
        "result": {"ocrResults": [{"prunedResult": {"texts": ["a\nb"]}}]},
    }


def test_the_last_line_is_the_envelope():
    good = encode.last_line("id", 2, {"numPages": 2})
    assert good == (
        b'{"logId":"id","errorCode":0,"errorMsg":"Success","dataInfo":{"numPages":2},"numPages":2}\n'
    )
    bad = encode.last_line("id", 1, None, EngineError())
    assert bad == b'{"logId":"id","errorCode":500,"errorMsg":"Inference failed","numPages":1}\n'


class Client:
    """Sanic's request of a client that takes ``takes`` lines and then no more."""

    def __init__(self, takes):
        self._left, self.lines, self.heads = takes, [], []
        self.aborted = False
        self.transport = SimpleNamespace(abort=self._abort)

    async def respond(self, head):
        self.heads.append(head)
        return self

    async def send(self, line, end_stream):
        if not self._left:
            await asyncio.Event().wait()
        self._left -= 1
        self.lines.append((line, end_stream))

    def _abort(self):
        self.aborted = True


def lines_for(client, patience_s=0.02):
    return Lines(client, lambda headers, kind: (headers, kind), patience_s)


def test_lines_go_out_one_after_the_other_behind_one_head():
    async def main():
        client = Client(3)
        lines = lines_for(client, 5.0)
        assert not lines.begun
        await asyncio.gather(lines.page(b"a\n", 5.0), lines.page(b"b\n", 5.0))
        assert await lines.close("id", b"c\n") is None
        assert lines.begun and (lines.count, lines.nbytes) == (2, 6)
        assert client.lines == [(b"a\n", False), (b"b\n", False), (b"c\n", True)]
        assert client.heads == [({"X-Accel-Buffering": "no"}, "application/x-ndjson")]

    asyncio.run(main())


@pytest.mark.parametrize(("patience_s", "left_s"), [(0.02, 5.0), (5.0, 0.02)])
def test_a_client_that_does_not_read_costs_its_own_answer_only(patience_s, left_s):
    async def main():
        client = Client(1)
        lines = lines_for(client, patience_s)
        await lines.page(b"a\n", left_s)
        with pytest.raises(DeadlinePassed):
            await lines.page(b"b\n", left_s)
        assert lines.count == 1 and not client.aborted

    asyncio.run(main())


@pytest.mark.parametrize(("outcome", "status"), [(b"c\n", 504), (EngineError(), 500)])
def test_a_connection_whose_client_does_not_take_the_end_is_cut(outcome, status):
    async def main():
        client = Client(1)
        lines = lines_for(client)
        await lines.page(b"a\n", 5.0)
        assert (await lines.close("id", outcome)).status == status
        assert client.aborted and client.lines == [(b"a\n", False)]

    asyncio.run(main())


def test_a_fault_after_the_first_page_is_the_last_line():
    async def main():
        client, fault = Client(2), EngineError()
        lines = lines_for(client, 5.0)
        await lines.page(b"a\n", 5.0)
        assert await lines.close("id", fault) is fault
        assert client.lines[1] == (encode.last_line("id", 1, None, fault), True)

    asyncio.run(main())
