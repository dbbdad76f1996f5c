"""The Open Inference Protocol over gRPC: with the client that its users have (``tritonclient``), by hand."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import time
import warnings

import grpc
import numpy as np
import psutil
import pytest

from benchmarks.process import free_port
from server.config import Access, Limits
from server.grpc_port import port_held
from server.keys import append_key, new_key
from tests.conditions import wait_for
from tests.e2e.conftest import request
from tests.e2e.test_bad_input import AT_ONCE_S, one_colour_png
from tests.fakes import RightAnswers, page, png

with warnings.catch_warnings():  # those of its own dependencies are no concern of ours
    warnings.simplefilter("ignore")
    import tritonclient.grpc as triton
    import tritonclient.grpc.aio as triton_aio
    from tritonclient.grpc import service_pb2 as pb
    from tritonclient.utils import InferenceServerException

PAGE, SLOW_PAGE = page(1), page(2, fault="slow")
INFER = "/inference.GRPCInferenceService/ModelInfer"
LIMIT = 2 << 20
#: How long nobody waits for an answer unless a limit of the server's passes first.
SOON_S = 8.0


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Path of the file of API keys, and the metadata with each key by its name."""
    path, heads = tmp_path_factory.mktemp("keys") / "keys", {}
    for name, own in {"free": {}, "narrow": {"concurrent": 1}}.items():
        text, key = new_key(name, **own)
        append_key(path, key)
        heads[name] = {"authorization": f"Bearer {text}"}
    return path, heads


@pytest.fixture(scope="module")
def head(keys):
    return keys[1]["free"]


@pytest.fixture(scope="module")
def grpc_port():
    port = free_port()
    with port_held("127.0.0.1", port):
        yield port


@pytest.fixture(scope="module")
def options(keys, grpc_port):
    limits = Limits(body_timeout_ms=10_000, max_body_bytes=LIMIT)
    config = {"grpc_port": grpc_port, "access": Access(api_keys=str(keys[0]))}
    return {"limits": limits, "workers": 2, "slow_ms": 1000, "config": config}


@pytest.fixture(scope="module")
def client(server, grpc_port):
    with triton.InferenceServerClient(f"127.0.0.1:{grpc_port}") as made:
        yield made


@pytest.fixture(scope="module")
def call(server, grpc_port):
    """Calls ModelInfer with any bytes."""
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        yield channel.unary_unary(INFER)


@pytest.fixture(scope="module")
def texts(server):
    return RightAnswers(server.config).texts(PAGE)


def image(data=None, name="file"):
    made = triton.InferInput(name, [1], "BYTES")
    made.set_data_from_numpy(np.array([png(PAGE) if data is None else data], np.object_))
    return made


def message(data=None, model="ocr", name="file", **fields):
    """A request whose tensor is in ``contents``."""
    contents = pb.InferTensorContents(bytes_contents=[png(PAGE) if data is None else data])
    tensor = pb.ModelInferRequest.InferInputTensor(name=name, datatype="BYTES", shape=[1], contents=contents)
    return pb.ModelInferRequest(model_name=model, inputs=[tensor], **fields)


def result_of(answer):
    (content,) = answer.as_numpy("result").tolist()
    return json.loads(content)


def texts_in(result):
    return result["ocrResults"][0]["prunedResult"]["rec_texts"]


def contents_of(response):
    """The result in a response to :func:`message`; the client's own way fails with NumPy 2."""
    answer = pb.ModelInferResponse.FromString(response)
    assert not answer.raw_output_contents
    (output,) = answer.outputs
    (content,) = output.contents.bytes_contents
    return json.loads(content)


def refused(code, words, ask):
    with pytest.raises(InferenceServerException, match=words) as fault:
        ask()
    assert fault.value.status() == f"StatusCode.{code}"


# --- with the client


@pytest.mark.usefixtures("clean")
def test_health_and_metadata_need_no_key(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("ocr") and client.is_model_ready("ocr", "1")
    assert not client.is_model_ready("nothing")
    assert not client.is_model_ready("ocr", "2")
    assert client.get_server_metadata().name
    about = client.get_model_metadata("ocr")
    assert (about.name, about.versions, about.platform) == ("ocr", ["1"], "paddlex")
    assert [(given.name, given.datatype, given.shape) for given in about.inputs] == [("file", "BYTES", [1])]
    refused("NOT_FOUND", "no such model", lambda: client.get_model_metadata("nothing"))


@pytest.mark.usefixtures("clean")
def test_the_result_is_that_of_the_route(server, client, texts, head):
    fields = {"textDetThresh": 0.4, "visualize": True}
    _, wanted = server.post(request(png(PAGE), **fields), headers=head)
    answer = client.infer(
        "ocr", [image()], parameters=fields, model_version="1", request_id="mine", headers=head
    )
    assert result_of(answer) == wanted["result"]
    assert texts_in(result_of(answer)) == texts
    about = answer.get_response()
    assert (about.model_name, about.model_version, about.id) == ("ocr", "1", "mine")
    assert len(about.raw_output_contents) == 1


@pytest.mark.usefixtures("clean")
def test_contents_are_answered_with_contents(call, texts, head):
    assert texts_in(contents_of(call(message().SerializeToString(), metadata=[*head.items()]))) == texts


@pytest.mark.usefixtures("clean")
def test_the_2024_generation(client, head):
    assert set(result_of(client.infer("ocr", [image(name="image")], headers=head))) == {"texts", "image"}


@pytest.mark.usefixtures("clean")
def test_calls_at_once(grpc_port, texts, head):
    async def ask():
        async with triton_aio.InferenceServerClient(f"127.0.0.1:{grpc_port}") as client:
            asked = [client.infer("ocr", [image()], request_id=str(n), headers=head) for n in range(4)]
            return await asyncio.gather(*asked)

    answers = asyncio.run(ask())
    assert [answer.get_response().id for answer in answers] == ["0", "1", "2", "3"]
    assert all(texts_in(result_of(answer)) == texts for answer in answers)


FAULTS = {
    "no-image": ("INVALID_ARGUMENT", "Invalid input file", lambda: [image(b"no image")], {}),
    "empty": ("INVALID_ARGUMENT", "is empty", lambda: [image(b"")], {}),
    "pixels": ("INVALID_ARGUMENT", "exceeds maximum", lambda: [image(one_colour_png(20_000, 20_000))], {}),
    "two-tensors": ("INVALID_ARGUMENT", "one input", lambda: [image(), image()], {}),
    "parameter": (
        "INVALID_ARGUMENT",
        "body.visualize",
        lambda: [image()],
        {"parameters": {"visualize": "x"}},
    ),
    "version": ("NOT_FOUND", "no such model", lambda: [image()], {"model_version": "2"}),
    "gzip": ("UNIMPLEMENTED", "gzip", lambda: [image()], {"compression_algorithm": "gzip"}),
    "too-large": ("RESOURCE_EXHAUSTED", "larger than max", lambda: [image(bytes(LIMIT + 1))], {}),
    "large-head": (
        "RESOURCE_EXHAUSTED",
        "metadata",
        lambda: [image()],
        {"headers": {"x-much": "x" * 20_000}},
    ),
}


@contextlib.contextmanager
def at_once(server):
    """The workers compute for less than that, by their processor time, and wait for no limit."""
    workers, started = [psutil.Process(pid) for pid in server.pids("worker")], time.perf_counter()
    before = computed(workers)
    yield
    assert computed(workers) - before < AT_ONCE_S
    assert time.perf_counter() - started < SOON_S


def computed(processes):
    """Processor time of processes so far, seconds."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize("name", FAULTS)
def test_faults_have_a_code_and_the_message(server, client, head, name):
    code, words, tensors, asked = FAULTS[name]
    sent = tensors()
    with at_once(server), pytest.raises(InferenceServerException, match=words) as fault:
        client.infer("ocr", sent, **{"headers": head} | asked)
    assert fault.value.status() == f"StatusCode.{code}"
    assert "/work" not in fault.value.message()


# --- by hand


@pytest.mark.usefixtures("clean")
def test_the_log_id_comes_after_answers_and_faults(call, head):
    for data, code in ((None, None), (b"no image", "422")):
        sent = message(data, id="mine").SerializeToString()
        try:
            _, done = call.with_call(sent, metadata=[*head.items()])
        except grpc.RpcError as fault:
            done = fault
        after = dict(done.trailing_metadata())
        assert after["logid"] == "mine"
        assert after.get("errorcode") == code
        assert ("server-timing" in after) is (code is None)


@pytest.mark.usefixtures("clean")
def test_without_a_key_nothing_of_the_message_is_read(server, client):
    before = server.counter("worker_received_bytes")
    refused("UNAUTHENTICATED", "API key", lambda: client.infer("ocr", [image()]))
    wrong = {"x-api-key": "pps_" + "A" * 43}
    refused("UNAUTHENTICATED", "API key", lambda: client.infer("ocr", [image(bytes(1 << 20))], headers=wrong))
    assert server.counter("worker_received_bytes") == before


@pytest.mark.usefixtures("clean")
def test_limits_of_a_key_and_deadlines(server, client, keys, head):
    narrow, slow_page = keys[1]["narrow"], [image(png(SLOW_PAGE))]
    slow = client.async_infer("ocr", slow_page, lambda result, error: None, headers=narrow)
    wait_for(lambda: server.slots.count(0) < server.segment.slots, what="the slow page is inside")
    refused(
        "RESOURCE_EXHAUSTED", "1 requests at once", lambda: client.infer("ocr", [image()], headers=narrow)
    )
    gone = server.counter("worker_client_gone")
    slow.cancel()
    wait_for(lambda: server.counter("worker_client_gone") > gone, what="the cancelled call is noticed")
    late, odd = head | {"x-request-timeout-ms": "200"}, head | {"x-priority": "x"}
    refused("INVALID_ARGUMENT", "X-Priority", lambda: client.infer("ocr", [image()], headers=odd))
    refused("DEADLINE_EXCEEDED", "deadline", lambda: client.infer("ocr", slow_page, headers=late))
    options = {"headers": head, "client_timeout": 0.2}
    refused("DEADLINE_EXCEEDED", ".", lambda: client.infer("ocr", slow_page, **options))


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize(
    "bad",
    [
        b"\x2a\x00" * 500_000,  # as many inputs
        b"\x3a\x00" * 500_000,  # raw contents
        b"\x0a\x01x" * 300_000,  # model names
        b"\xff" * 100,
        b"\x0b\x0c",
        b"",
        message().SerializeToString()[:-10],
        message(model="").SerializeToString() + b"\x3a\x7f",
    ],
    ids=["inputs", "raw", "fields", "no-varint", "group", "empty", "cut", "lying-length"],
)
def test_bad_messages_cost_next_to_nothing(server, call, head, bad):
    with at_once(server), pytest.raises(grpc.RpcError) as fault:
        call(bad, metadata=[*head.items()])
    assert fault.value.code() in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}


@pytest.mark.usefixtures("clean")
def test_other_bytes_than_grpc_harm_nobody(server, grpc_port, client, texts, head):
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(4096), preface + os.urandom(4096), preface):
        sender = socket.create_connection(("127.0.0.1", grpc_port), timeout=10)
        with sender, contextlib.suppress(OSError):
            sender.sendall(garbage)
            sender.shutdown(socket.SHUT_WR)
            while sender.recv(65536):
                pass
    assert texts_in(result_of(client.infer("ocr", [image()], headers=head))) == texts


def holders(server, grpc_port):
    """Workers that have a gRPC client of this process, by the client's port."""
    return {
        each.raddr.port: pid
        for pid in server.pids("worker")
        for each in psutil.Process(pid).net_connections("tcp")
        if each.status == psutil.CONN_ESTABLISHED and each.laddr.port == grpc_port
    }


def test_a_killed_worker_loses_its_own_calls_only(server, grpc_port, head, texts):
    with contextlib.ExitStack() as stack:
        own, channels = {}, 0
        while len(own) < 2 and channels < 40:  # a connection of its own for every channel
            before, channels = set(holders(server, grpc_port)), channels + 1
            options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
            channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{grpc_port}", options))
            grpc.channel_ready_future(channel).result(10)
            now = wait_for(
                lambda before=before: {
                    port: pid for port, pid in holders(server, grpc_port).items() if port not in before
                },
                what="the connection is seen",
            )
            own.setdefault(next(iter(now.values())), channel)
        assert len(own) == 2, "both workers have a client"
        victim = next(iter(own))
        sent = message(png(SLOW_PAGE)).SerializeToString()
        asked = {
            pid: channel.unary_unary(INFER).future(sent, metadata=[*head.items()], timeout=20)
            for pid, channel in own.items()
        }
        wait_for(lambda: server.slots.count(0) <= server.segment.slots - 2, what="both are inside")
        os.kill(victim, signal.SIGKILL)
        assert asked.pop(victim).exception(20).code() == grpc.StatusCode.UNAVAILABLE
        (other,) = asked.values()
        assert "ocrResults" in contents_of(other.result(20))
        server.wait_ready()
        answer = own[victim].unary_unary(INFER)(
            message().SerializeToString(), metadata=[*head.items()], wait_for_ready=True, timeout=20
        )
        assert texts_in(contents_of(answer)) == texts


def test_sigterm_lets_calls_finish(server, call, head):
    """The last test: the server ends."""
    asked = call.future(message(png(SLOW_PAGE)).SerializeToString(), metadata=[*head.items()], timeout=20)
    wait_for(lambda: server.slots.count(0) < server.segment.slots, what="the call is inside")
    server.remember()
    server.process.send_signal(signal.SIGTERM)
    assert "ocrResults" in contents_of(asked.result(20))
    assert server.wait_exit() == 0
    assert "Traceback" not in server.log()
