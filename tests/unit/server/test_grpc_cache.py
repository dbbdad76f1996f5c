"""Kept answers over gRPC: whose they are, and what is looked at before them. No process, no network."""

import asyncio
import time
from types import SimpleNamespace

import grpc
import pytest

from kernels.quota import Quota, quota_bytes
from pipelines.core.errors import NotReady
from server import exchange as exchange_module
from server.admission import Admission
from server.answer_cache import AnswerCache
from server.config import Config, Limits
from server.decode import Endpoint
from server.grpc_server import GrpcServer
from server.guard import Guard
from server.keys import KeyFile, append_key, new_key
from server.work import Ground
from tests.unit.server.test_answer_cache import Counts
from tests.unit.server.test_decode import CONFIG
from tests.unit.server.test_grpc import Call, asked, parameters, pb
from tests.unit.server.test_uploads import PNG, Both

#: Requests a second, so that a bucket of one does not fill again while a test runs.
RARELY = 0.001


class Metrics(Counts):
    """Counters of what this file looks at; any name may be counted."""

    def add(self, name, amount=1):
        self[name] += amount

    def request(self, path, status, seconds):
        """Answered."""


async def in_thread(leases, work, *arguments):
    """What a dispatcher runs beside the loop, run at once."""
    return work(*arguments)


class Calls:
    """A gRPC server without gRPC, whose devices are ``computed``."""

    def __init__(self, folder):
        self.texts, self.computed, self.metrics = {}, [], Metrics()
        for name, own in (("one", {}), ("other", {}), ("rare", {"rate": RARELY, "burst": 1})):
            self.texts[name], key = new_key(name, **own)
            append_key(folder / "keys", key)
        quota = Quota(bytearray(quota_bytes(8, 1)), 8, 1, 0)
        guard = Guard(KeyFile(str(folder / "keys")), quota, time.monotonic_ns)
        limits = Limits()
        answers = AnswerCache(1 << 20, Config((), ()), self.metrics)
        dispatcher = SimpleNamespace(in_thread=in_thread)
        ground = Ground(None, dispatcher, self.metrics, limits, None, None, answers=answers)
        self.admission = Admission(limits, lambda batch: 0.0, 1, time.monotonic_ns)
        routes = SimpleNamespace(endpoints={"/both": Endpoint(Both, CONFIG, (0, 0), "v3")}, unready=list)
        self._server = GrpcServer(Config((), ()), ground, self.admission, routes, str, guard)

    def __call__(self, name=None, data=PNG, head=None, **fields):
        """(status code, ``x-cache``, response); the code is None for a success."""
        head = head or ({"authorization": f"Bearer {self.texts[name]}"} if name else {})
        given, trailing = asked(data, parameters=parameters(**fields)), {}
        context = SimpleNamespace(
            invocation_metadata=lambda: tuple(head.items()),
            time_remaining=lambda: None,
            peer=str,
            set_trailing_metadata=trailing.update,
            read=Call(given.SerializeToString()).read,
        )
        answer = asyncio.run(self._server._infer(context))
        if not isinstance(answer, bytes):
            return answer[0], None, answer
        return None, trailing["x-cache"], pb.ModelInferResponse.FromString(answer)


@pytest.fixture
def calls(tmp_path, monkeypatch):
    made = Calls(tmp_path)

    async def run_items(ground, work):
        made.computed.append(work.data)

    monkeypatch.setattr(exchange_module, "run_items", run_items)
    return made


def test_the_same_client_gets_its_answer_again_without_a_device(calls):
    _, first, answer = calls("one")
    _, second, again = calls("one")
    assert (first, second, calls.computed) == ("miss", "hit", [PNG])
    assert answer.raw_output_contents == again.raw_output_contents
    assert len(answer.raw_output_contents) == 1
    assert calls.admission.inside == calls.admission.held_bytes == 0


def test_an_answer_never_crosses_to_another_key(calls):
    assert [calls(name)[1] for name in ("one", "other", "one", "other")] == ["miss", "miss", "hit", "hit"]
    assert calls.computed == [PNG] * 2


def test_another_file_or_parameter_is_another_answer(calls):
    asks = [{}, {"data": PNG + b"x"}, {"ratio": 0.5}, {"flag": True}]
    assert [calls("one", **fields)[1] for fields in asks] == ["miss"] * 4
    assert [calls("one", **fields)[1] for fields in asks] == ["hit"] * 4
    assert calls("one", logId="mine")[1] == "hit"  # says nothing of the answer


@pytest.mark.parametrize("head", [{"x-api-key": ""}, {"authorization": "Bearer pps_wrong"}])
def test_who_may_not_ask_learns_nothing_from_a_kept_answer(calls, head):
    calls("one")
    before = calls.metrics["worker_cache_hits"], calls.metrics["worker_cache_misses"]
    assert calls(head=head)[0] is grpc.StatusCode.UNAUTHENTICATED
    assert (calls.metrics["worker_cache_hits"], calls.metrics["worker_cache_misses"]) == before


def test_a_kept_answer_counts_against_the_rate_of_its_key(calls):
    assert calls("rare")[:2] == (None, "miss")
    assert calls("rare")[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert calls.metrics["worker_cache_hits"] == 0


def test_a_fault_is_not_kept(calls, monkeypatch):
    async def fails(ground, work):
        raise NotReady

    with monkeypatch.context() as patched:
        patched.setattr(exchange_module, "run_items", fails)
        assert calls("one")[0] is grpc.StatusCode.UNAVAILABLE
    assert calls("one")[1] == "miss"
    assert calls.computed == [PNG]
