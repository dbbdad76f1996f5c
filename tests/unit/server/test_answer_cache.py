"""Kept answers: what names one, how many stay, who goes first."""

import json
from collections import Counter

import pytest

from server.answer_cache import AnswerCache
from server.config import Config
from server.decode import endpoints
from server.metrics import COUNTER_HELP, GAUGE_HELP
from server.work import Work
from tests.fakes import fake_config

#: What an entry of a one-byte answer takes.
ENTRY = 513


class Counts(Counter):
    """Metrics that are counted here."""

    def add(self, name, amount=1):
        assert name in COUNTER_HELP
        self[name] += amount

    def set(self, name, value):
        assert name in GAUGE_HELP
        self[name] = value


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    return endpoints(fake_config(tmp_path_factory.mktemp("models")))["/ocr"]


@pytest.fixture
def counts():
    return Counts()


@pytest.fixture
def cache(counts):
    return AnswerCache(8 * ENTRY, Config((), ()), counts)


def work(endpoint, data=b"file", **fields):
    parsed = endpoint.parse(endpoint.open(json.dumps({"file": "", "fileType": 1} | fields).encode(), 64))
    visualize = parsed.form.visualize(parsed.request, endpoint.config)
    return Work(endpoint, parsed, None, 1, visualize, data, "image", {})


def test_what_an_answer_depends_on_names_it(cache, endpoint):
    works = [
        work(endpoint),
        work(endpoint, b"file2"),
        work(endpoint, textDetThresh=0.25),
        work(endpoint, textDetThresh=0.26),
        work(endpoint, visualize=True),
        work(endpoint, returnWordBox=True),
        work(endpoint, fileType=None),
    ]
    keys = {cache.key(each, owner) for each in works for owner in ("", "a", "b")}
    assert len(keys) == 3 * len(works)
    assert all(len(key) == 32 for key in keys)


def test_the_log_id_and_how_a_number_is_written_do_not(cache, endpoint):
    key = cache.key(work(endpoint, textDetThresh=0.5), "")
    assert key == cache.key(work(endpoint, textDetThresh=0.5, logId="mine"), "")
    assert key == cache.key(work(endpoint, textDetThresh="0.50"), "")


def test_no_part_can_be_moved_into_the_next(cache, endpoint):
    """An owner or file that looks like the end or the start of its neighbour makes another name."""
    assert cache.key(work(endpoint, b"bc"), "a") != cache.key(work(endpoint, b"c"), "ab")
    assert cache.key(work(endpoint, b"x", lang="y"), "") != cache.key(work(endpoint, b"yx"), "")


def test_names_are_secret_and_of_one_configuration(counts, endpoint):
    same = work(endpoint)
    assert AnswerCache(9, Config((), ()), counts).key(same, "") != AnswerCache(9, Config((), ()), counts).key(
        same, ""
    )
    one, other = (
        AnswerCache(9, Config((), ()), counts),
        AnswerCache(9, Config((), (), precision="bf16"), counts),
    )
    other._secret = one._secret
    assert one.key(same, "") != other.key(same, "")


def test_the_bound_holds_and_the_least_recently_asked_for_goes(cache, counts):
    for number in range(8):
        cache.put(b"%d" % number, b"x")
    assert (len(cache), counts["worker_cache_bytes"], counts["worker_cache_evictions"]) == (8, 8 * ENTRY, 0)
    assert cache.get(b"0") == b"x"
    cache.put(b"8", b"xy")
    assert cache.get(b"0") == b"x"
    assert cache.get(b"1") is None
    assert cache.get(b"2") is None  # one byte too many: two had to go
    assert counts["worker_cache_evictions"] == 2
    assert counts["worker_cache_bytes"] == 7 * ENTRY + 1
    assert (counts["worker_cache_hits"], counts["worker_cache_misses"]) == (2, 2)


def test_one_answer_may_take_a_quarter(cache, counts):
    cache.put(b"a", bytes(2 * ENTRY - 512))
    cache.put(b"b", bytes(2 * ENTRY - 511))
    assert cache.get(b"a") is not None
    assert cache.get(b"b") is None


def test_the_same_name_again_replaces(cache, counts):
    cache.put(b"a", b"x")
    cache.put(b"a", b"xyz")
    assert (len(cache), counts["worker_cache_bytes"]) == (1, ENTRY + 2)
