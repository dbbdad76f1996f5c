"""The process of the built-in language model: what it costs when it crashes, hangs or is asked too much."""

import asyncio
import importlib.util
import json
import sys

import psutil
import pytest

from pipelines.core import local_llm
from pipelines.core.chat_api import Question
from pipelines.core.chat_settings import ChatOptions, Desk, ServiceOptions, chat_files
from pipelines.core.errors import (
    BadRequest,
    ConfigError,
    NotConfigured,
    Overloaded,
    Upstream,
    UpstreamTimeout,
)
from pipelines.core.local_llm import ADDRESS, LocalLlm, fetched
from pipelines.core.models import default_cache_dir
from pipelines.core.prompts import Wording, prompt
from tests.conditions import wait_for

#: Stands in for the model's process: does what the last message says.
CHILD = """
import json, os, sys
for line in sys.stdin:
    asked = json.loads(line)["messages"][-1]["content"]
    if asked == "crash": os._exit(3)
    if asked == "hang": sys.stdin.read()
    if asked == "babble": print("no json", flush=True)
    if asked == "flood": print("x" * (2 << 20), flush=True)
    answer = {"too_long": 9000} if asked == "long" else {"text": f"{os.getpid()} {asked}"}
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def child(tmp_path):
    program = tmp_path / "child.py"
    program.write_text(CHILD)
    return str(program)


def talk(child, *asked, timeout_s=10):
    """Answers, or exceptions in their place, of questions one after the other."""

    async def run():
        llm, found = LocalLlm("model", child), []
        try:
            for words in asked:
                try:
                    found.append(await llm.chat([{"role": "user", "content": words}], ["k"], timeout_s))
                except Exception as fault:
                    found.append(fault)
        finally:
            await llm.aclose()
        return found

    return asyncio.run(run())


def test_one_process_answers_all_questions(child):
    first, second = talk(child, "one", "two")
    assert first.split()[0] == second.split()[0]
    assert [first.split()[1], second.split()[1]] == ["one", "two"]


@pytest.mark.parametrize("fault", ["crash", "babble", "flood"])
def test_a_process_that_fails_costs_one_request(child, fault):
    before, broken, after = talk(child, "one", fault, "two")
    assert isinstance(broken, Upstream)
    assert before.endswith("one") and after.endswith("two") and before.split()[0] != after.split()[0]


def test_a_process_that_is_too_slow_is_killed_and_replaced(child):
    before, slow = talk(child, "one", "hang", timeout_s=1.0)
    assert isinstance(slow, UpstreamTimeout)
    wait_for(lambda: not psutil.pid_exists(int(before.split()[0])), what="the process has gone")


def test_a_question_that_is_given_up_ends_the_process(child):
    async def run():
        llm = LocalLlm("model", child)
        pid = int((await llm.chat([{"role": "user", "content": "one"}], ["k"], 10)).split()[0])
        task = asyncio.create_task(llm.chat([{"role": "user", "content": "hang"}], ["k"], 60))
        await asyncio.sleep(0)
        while not llm._gate._free.locked():
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while psutil.pid_exists(pid):
            await asyncio.sleep(0.01)
        await llm.aclose()

    asyncio.run(asyncio.wait_for(run(), 20))


def test_more_questions_than_may_wait_are_refused(child):
    async def run():
        llm = LocalLlm("model", child)
        tasks = [
            asyncio.create_task(llm.chat([{"role": "user", "content": "hang"}], ["k"], 60)) for _ in range(12)
        ]
        done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        while len(done) < 12 - 1 - local_llm._LINE:
            more, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            done |= more
        assert all(isinstance(task.exception(), Overloaded) for task in done)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await llm.aclose()

    asyncio.run(asyncio.wait_for(run(), 20))


def test_a_text_that_is_too_long_is_the_clients_fault(child):
    (fault,) = talk(child, "long")
    assert isinstance(fault, BadRequest) and "9000 tokens" in str(fault)


def test_values_that_do_not_stand_in_the_document_are_dropped(child):
    async def run():
        desk = Desk(ChatOptions(llm=ServiceOptions(ADDRESS)), {}, {"llm": "model"})
        desk._local = Answers('{"Seller": "Northwind  traders", "Total": "1234567890", "Date": "made up"}')
        question = Question(desk.llm, ["Seller", "Total", "Date"])
        await question.ask(Threadless(desk), "ocr", "Seller: Northwind Traders Total: 12.50", Wording())
        return question.result()

    assert asyncio.run(run()) == {"Seller": "Northwind  traders", "Total": None, "Date": None}


class Answers:
    """A language model that says one thing."""

    def __init__(self, words):
        self._words = words

    async def chat(self, messages, keys, timeout_s):
        return self._words


class Threadless:
    """What a question needs of an errand."""

    def __init__(self, desk):
        self.desk = desk

    async def in_thread(self, function, *arguments):
        return function(*arguments)


# --- how it is chosen


def test_the_environment_or_a_yaml_chooses_it():
    assert Desk(ChatOptions(), {"CHATOCR_LLM_BASE_URL": ADDRESS}).llm.base_url == ADDRESS
    desk = Desk(ChatOptions(llm=ServiceOptions(ADDRESS)), {})
    assert desk.llm.ours and "built in" in desk.notes()[0]


def test_a_request_cannot_choose_it():
    desk = Desk(ChatOptions(), {}, {"llm": "model"})
    asked = {"base_url": ADDRESS, "model_name": "m", "api_key": "k"}
    with pytest.raises(BadRequest):
        desk.asked_llm(asked)


def test_where_its_file_was_not_fetched_the_answer_says_so():
    desk = Desk(ChatOptions(llm=ServiceOptions(ADDRESS)), {})
    with pytest.raises(NotConfigured):
        asyncio.run(desk.chat(desk.llm, [], []))


def test_without_the_extra_the_server_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino_genai", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("CHATOCR_LLM_BASE_URL", ADDRESS)
    with pytest.raises(ConfigError, match="local-llm"):
        chat_files(ChatOptions(), tmp_path, None)
    monkeypatch.delenv("CHATOCR_LLM_BASE_URL")
    assert chat_files(ChatOptions(), tmp_path, None) == {}


@pytest.mark.skipif(importlib.util.find_spec("openvino_genai") is None, reason="needs the extra local-llm")
def test_the_real_model_answers_with_the_keys_that_were_asked_for():
    async def run():
        llm = LocalLlm(fetched(default_cache_dir(), None))
        try:
            text = "INVOICE\nSeller: Northwind Traders\nTotal: 1234.50\n"
            return await llm.chat(prompt("text", text, ["Total"]), ["Total"], 120)
        finally:
            await llm.aclose()

    answer = json.loads(asyncio.run(run()))
    assert list(answer) == ["Total"] and "1234.50" in answer["Total"]
