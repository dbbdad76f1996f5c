"""Document chat over HTTP: a real server, the real small models, and a language model of known answers."""

import base64
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import jsonschema
import pytest
from PIL import Image, ImageDraw, ImageFont

from pipelines.core.models import ModelStore
from pipelines.core.registry import load_pipeline
from server.config import Config, DeviceConfig
from tests.conditions import wait_for
from tests.contract.every import schema
from tests.driver import config_of
from tests.harness import Server
from tests.llm_server import LlmServer

KEY = "sk-operator-key"
PAGES = (
    ("INVOICE", "Invoice No: 4711-A", "Seller: Northwind Traders", "Date: 2024-05-17"),
    ("Payment", "Total: 1234.50", "Bank: First Harbour Bank"),
)
#: Text for which no model has to look: long, with one line that answers.
LONG = [
    f"Clause {i}: the parties agree on paragraph {i} of the general terms of delivery.\n" for i in range(120)
]


def pdf(folder):
    """A document of several pages, as base64."""
    font = ImageFont.truetype(ModelStore().font(), 40)
    pages = []
    for lines in PAGES:
        page = Image.new("RGB", (900, 700), "white")
        for row, line in enumerate(lines):
            ImageDraw.Draw(page).text((80, 80 + 110 * row), line, "black", font)
        pages.append(page)
    pages[0].save(folder / "invoice.pdf", save_all=True, append_images=pages[1:])
    return base64.b64encode((folder / "invoice.pdf").read_bytes()).decode()


@pytest.fixture(scope="module")
def llm():
    with LlmServer() as server:
        yield server


@pytest.fixture(scope="module")
def server(llm, tmp_path_factory):
    config = Config(
        pipelines=(config_of("PP-ChatOCRv3-doc"),),
        devices=(DeviceConfig(threads=2, all_threads=2),),
        host="127.0.0.1",
        drain_grace_ms=0,
    )
    settings = {
        "CHATOCR_LLM_BASE_URL": llm.url, "CHATOCR_LLM_MODEL": "good", "CHATOCR_LLM_API_KEY": KEY,
        "CHATOCR_ALLOW_HOSTS": f"127.0.0.1:{llm.port}",
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        with Server(config, tmp_path_factory.mktemp("chat")) as running:
            running.wait_ready(120)
            yield running
            assert KEY not in running.log()


def ask(server, path, expected=200, **body):
    status, answer = server.post(json.dumps(body).encode(), path=path, timeout=120)
    assert status == expected, answer
    if status != 200:
        assert "result" not in answer and answer["errorCode"] == status
        return answer["errorMsg"]
    (operation,) = (o for o in load_pipeline("pp_chatocrv3_doc").operations if o.path == path)
    form = next(f for f in operation.forms if len(operation.forms) == 1 or f.marks & body.keys())
    described = schema("pp_chatocrv3_doc", operation, form)["result"]
    jsonschema.validate(answer["result"], described, jsonschema.Draft202012Validator)
    return answer["result"]


def page_info(*texts):
    return [{"normal_text_dict": {f"words in text{i}": text for i, text in enumerate(texts)},
             "table_text_list": [], "table_html_list": []}]  # fmt: skip


def bot(llm, model, **more):
    return {"api_type": "openai", "base_url": llm.url, "model_name": model, "api_key": "sk-client"} | more


def test_a_document_of_two_pages_is_read_and_asked(server, tmp_path):
    visual = ask(server, "/chatocr-visual", file=pdf(tmp_path), fileType=0, visualize=False)
    assert visual["dataInfo"]["numPages"] == len(visual["visualInfo"]) == 2
    vector = ask(server, "/chatocr-vector", visualInfo=visual["visualInfo"])
    assert vector["vectorInfo"]["flag_too_short_text"] is True
    keys = ["Seller", "Total", "Colour"]
    asked = {"keyList": keys, "visualInfo": visual["visualInfo"], "vectorInfo": vector["vectorInfo"]}
    answer = ask(server, "/chatocr-chat", **asked)["chatResult"]
    assert list(answer) == keys and answer["Colour"] is None
    assert "Northwind" in answer["Seller"] and "1234.50" in answer["Total"]


def test_the_example_asks_a_document(server, tmp_path):
    pdf(tmp_path)

    def run(file):
        program = Path(__file__).resolve().parents[2] / "examples" / "ask_document.py"
        command = [sys.executable, program, file, "Seller", "Total", "Colour"]
        command += ["--url", f"http://127.0.0.1:{server.port}"]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    done = run(tmp_path / "invoice.pdf")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert "Northwind" in found["Seller"] and "1234.50" in found["Total"] and found["Colour"] is None
    assert done.stderr.splitlines() == ["2 pages, 0 tables", "the model is shown all of the text"]
    (tmp_path / "broken.pdf").write_text("no document")
    refused = run(tmp_path / "broken.pdf")
    assert refused.returncode == 1 and "/chatocr-visual: 422 " in refused.stderr and not refused.stdout


def test_the_generation_of_2024_answers_with_all_pages_and_its_prompts(server, tmp_path):
    vision = ask(server, "/chatocr-vision", file=pdf(tmp_path), fileType=0)
    assert len(vision["visionResults"]) == 2
    info = vision["visionInfo"]
    store = ask(server, "/chatocr-vector", visionInfo=info, minChars=0)["vectorStore"]
    found = ask(server, "/chatocr-retrieval", keys=["Total"], vectorStore=store)["retrievalResult"]
    assert "1234.50" in found
    chat = ask(server, "/chatocr-chat", keys=["Total"], visionInfo=info, retrievalResult=found)
    assert "1234.50" in chat["chatResult"]["Total"] and "1234.50" in chat["prompts"]["ocr"]
    assert KEY not in json.dumps(chat)
    silent = ask(server, "/chatocr-chat", keys=["Total"], visionInfo=info, returnPrompts=False)
    assert "prompts" not in silent


@pytest.mark.parametrize("embeddings", ["built-in", "service"])
def test_of_a_long_document_the_model_is_shown_what_belongs_to_the_keys(server, llm, embeddings):
    text = "".join([*LONG[:60], "Warranty: 36 months from delivery\n", *LONG[60:]])
    more = {} if embeddings == "built-in" else {"retrieverConfig": bot(llm, "e")}
    info = page_info(text.replace("\n", "。"))
    vector = ask(server, "/chatocr-vector", visualInfo=info, **more)["vectorInfo"]
    assert vector["vector"].startswith("PADDLEX_VECTOR_STORE") and vector["block_size"] == 300
    asked = {"keyList": ["Warranty"], "visualInfo": info, "vectorInfo": vector, "minCharacters": 700}
    assert "36 months" in ask(server, "/chatocr-chat", **asked, **more)["chatResult"]["Warranty"]
    shown = llm.seen()[-1]["body"]["messages"][-1]["content"]
    assert len(shown) < 1700 < len(text)


def test_tables_are_asked_first_and_one_by_one(server, llm):
    tables = ["<table><tr><td>Fee: 7</td></tr></table>", "<table><tr><td>Tax: 19</td></tr></table>"]
    info = [{"normal_text_dict": {"words in text": "Rate: 3"}, "table_text_list": ["", ""],
             "table_html_list": tables}]  # fmt: skip
    before = len(llm.seen())
    answer = ask(server, "/chatocr-chat", keyList=["Fee", "Tax", "Rate"], visualInfo=info)["chatResult"]
    assert answer == {"Fee": "7", "Tax": "19", "Rate": "3"}
    asked = [
        json.loads(e["body"]["messages"][-1]["content"].rpartition(": ")[2]) for e in llm.seen()[before:]
    ]
    assert asked == [["Fee", "Tax", "Rate"], ["Tax", "Rate"], ["Rate"]]


def test_words_of_the_request_replace_ours(server, llm):
    words = {"textTaskDescription": "TASK", "textOutputFormat": "FORMAT", "textRulesStr": "RULES",
             "textFewShotDemoTextContent": "EXAMPLE", "textFewShotDemoKeyValueList": "ANSWER"}  # fmt: skip
    ask(server, "/chatocr-chat", keyList=["Total"], visualInfo=page_info("Total: 5"), **words)
    shown = llm.seen()[-1]["body"]["messages"][-1]["content"]
    assert all(word in shown for word in words.values())


@pytest.mark.parametrize(
    ("model", "status"),
    [
        ("no-json", 502),
        ("error-in-200", 502),
        ("cut", 502),
        ("status-401", 502),
        ("gossip", 200),
        ("nonsense", 200),
    ],
)
def test_whatever_the_model_does_ends_in_the_envelope(server, llm, model, status):
    asked = {"keyList": ["Total"], "visualInfo": page_info("Total: 5"), "chatBotConfig": bot(llm, model)}
    answer = ask(server, "/chatocr-chat", status, **asked)
    assert "secret" not in str(answer) and "sk-" not in str(answer)
    if status == 200:
        assert answer["chatResult"]["Total"] == ("5" if model == "gossip" else None)


def test_a_model_that_never_answers_blocks_nobody_and_is_given_up_at_the_deadline(server, llm):
    hanging = {"keyList": ["Total"], "visualInfo": page_info("Total: 5"), "chatBotConfig": bot(llm, "hang")}
    answers = []
    gone = llm.seen().count("client gone")

    def wait():
        headers = {"X-Request-Timeout-Ms": "1500"}
        answers.append(
            server.post(json.dumps(hanging).encode(), path="/chatocr-chat", timeout=30, headers=headers)
        )

    threads = [threading.Thread(target=wait) for _ in range(4)]
    for thread in threads:
        thread.start()
    started = time.monotonic()
    ask(server, "/chatocr-chat", keyList=["Total"], visualInfo=page_info("Total: 5"))
    assert time.monotonic() - started < 1.2
    for thread in threads:
        thread.join(30)
    assert [status for status, _ in answers] == [504] * 4
    wait_for(lambda: llm.seen().count("client gone") >= gone + 4, what="the calls are hung up")


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9/v1", "http://[::1]:9/v1", "http://169.254.169.254/v1"]
)
def test_no_request_leads_to_an_inner_address(server, llm, address):
    words = ask(server, "/chatocr-chat", 422, keyList=["k"], visualInfo=page_info("k: v"),
                chatBotConfig=bot(llm, "good", base_url=address))  # fmt: skip
    assert "public" in words
    words = ask(server, "/chatocr-vector", 422, visualInfo=page_info("k: v"), minCharacters=1,
                retrieverConfig=bot(llm, "e", base_url=address))  # fmt: skip
    assert "public" in words


CHAT, VECTOR = {"keyList": ["k"], "visualInfo": []}, {"visualInfo": [{"normal_text_dict": {"a": "b" * 50}}]}


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/chatocr-chat", CHAT | {"keyList": []}, "keys is empty"),
        ("/chatocr-chat", CHAT | {"visualInfo": [{"normal_text_dict": 1}]}, "visualInfo"),
        ("/chatocr-chat", CHAT | {"vectorInfo": {"vector": "PADDLEX_VECTOR_STOREx"}}, "damaged"),
        ("/chatocr-chat", CHAT | {"vectorInfo": {"vector": 1}}, "vectorInfo"),
        ("/chatocr-chat", CHAT | {"chatBotConfig": {"api_type": "x"}}, "api_type"),
        ("/chatocr-vector", VECTOR | {"minCharacters": 1, "blockSize": 5}, "blockSize"),
        ("/chatocr-vector", {"visionInfo": {"ocr_text": "x"}}, "visionInfo"),
        ("/chatocr-retrieval", {"keys": ["k"], "vectorStore": "PADDLEX_VECTOR_STORE!"}, "damaged"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(server, path, body, words):
    assert words in ask(server, path, 422, **body)


def test_without_a_language_model_the_answer_names_the_setting(tmp_path, monkeypatch):
    monkeypatch.delenv("CHATOCR_LLM_BASE_URL", raising=False)
    monkeypatch.delenv("CHATOCR_LLM_API_KEY", raising=False)
    config = Config(
        pipelines=(config_of("PP-ChatOCRv3-doc"),),
        devices=(DeviceConfig(threads=2),),
        host="127.0.0.1",
        drain_grace_ms=0,
    )
    with Server(config, tmp_path) as running:
        words = ask(running, "/chatocr-chat", 503, keyList=["k"], visualInfo=page_info("k: v"))
    assert "CHATOCR_LLM_BASE_URL" in words
