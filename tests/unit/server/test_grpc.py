"""gRPC without a server: messages are those of the protocol, requests are read or refused, faults coded."""

import asyncio
import gc
import socket
import time
import warnings
from types import SimpleNamespace

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.errors import (
    BY_NAME,
    BadRequest,
    ConfigError,
    NotConfigured,
    Overloaded,
    PipelineError,
    RateLimited,
    RequestTimeout,
    ServeError,
)
from server import grpc_port
from server.admission import Admission
from server.cli import main
from server.config import Config, Limits
from server.decode import Endpoint
from server.exchange import Exchange
from server.grpc_door import GrpcDoor, Message, describe
from server.grpc_reading import Places, message_places
from server.grpc_schema import SCHEMA, message
from server.grpc_server import GrpcServer, asked_ms, options
from server.grpc_status import CODES, NoSuchModel, fault_of, success_metadata
from server.grpc_wire import MAX_SMALL, delimited, outline
from server.options import parse
from server.work import Ground
from tests.unit.server.test_decode import CONFIG, New, Old
from tests.unit.server.test_oip import Ask, Errands
from tests.unit.server.test_uploads import PNG, Both

with warnings.catch_warnings():  # those of its own dependencies are no concern of ours
    warnings.simplefilter("ignore")
    from tritonclient.grpc import service_pb2 as pb

Tensor, Output = pb.ModelInferRequest.InferInputTensor, pb.ModelInferRequest.InferRequestedOutputTensor


@pytest.fixture
def endpoint():
    return Endpoint(Both, CONFIG, (0, 0), "v3")


def element(data):
    return len(data).to_bytes(4, "little") + data


def asked(data=PNG, raw=True, name="file", tensor=None, **more):
    """A request as another implementation of the protocol writes it."""
    own = {"name": name, "datatype": "BYTES", "shape": [1]} | (tensor or {})
    if not raw:
        own["contents"] = pb.InferTensorContents(bytes_contents=[data])
    given = {"model_name": "both", "inputs": [Tensor(**own)]}
    given["raw_input_contents"] = [element(data)] if raw else []
    return pb.ModelInferRequest(**given | more)


def parameters(**values):
    kinds = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}
    return {name: pb.InferParameter(**{kinds[type(value)]: value}) for name, value in values.items()}


def parsed(endpoint, request):
    """(typed request, file, kind)."""
    content = request if isinstance(request, bytes) else request.SerializeToString()
    taken = Message(content)
    typed = endpoint.parse(taken.open(endpoint, 64))
    return typed.request, *taken.file(endpoint.operation, typed.form.source(typed.request))


# --- messages


def theirs(name):
    """Another package's descriptor of a message of ours."""
    nested = (*pb.DESCRIPTOR.message_types_by_name.values(),)
    found = [each for each in nested if each.name == name]
    found += [each for outer in nested for each in outer.nested_types if each.name == name]
    return found[0]


def test_names_numbers_and_types_are_those_of_the_protocol():
    names = [line.split()[1] for line in SCHEMA.splitlines() if line.startswith("message ")]
    assert len(names) > 12
    for name in names:
        ours, other = message(name).DESCRIPTOR, theirs(name)
        for field in ours.fields:
            wanted = other.fields_by_name[field.name]
            assert (field.number, field.type) == (wanted.number, wanted.type), (name, field.name)
            assert field.has_presence == wanted.has_presence
            assert bool(field.message_type) == bool(wanted.message_type)
        left_out = set(other.fields_by_name) - set(ours.fields_by_name)
        assert left_out <= {
            "raw_input_contents", "contents", "bool_contents", "int_contents", "int64_contents", "properties",
            "uint_contents", "uint64_contents", "fp32_contents", "fp64_contents",
        }, name  # fmt: skip


def test_metadata(endpoint):
    about = pb.ModelMetadataResponse.FromString(describe(endpoint))
    assert (about.name, about.versions, about.platform) == ("both", ["1"], "paddlex")
    (tensor,) = about.inputs
    assert (tensor.name, tensor.datatype, tensor.shape) == ("file", "BYTES", [1])
    assert about.outputs[0].name == "result"


# --- in


@pytest.mark.parametrize("raw", [True, False])
def test_a_file_raw_and_as_contents(endpoint, raw):
    assert parsed(endpoint, asked(raw=raw)) == (New(file=""), PNG, "image")
    assert parsed(endpoint, asked(b"%PDF-1.7", raw=raw))[1:] == (b"%PDF-1.7", "pdf")


def test_a_large_file(endpoint):
    data = PNG * (300_000 // len(PNG))
    assert parsed(endpoint, asked(data))[1] == data


def test_parameters_are_the_other_fields(endpoint):
    given = parameters(flag=True, ratio=0.5, logId=7, unknown="x")
    assert parsed(endpoint, asked(parameters=given))[0] == New(file="", flag=True, ratio=0.5, log_id="7")
    given = parameters(flag="yes", ratio="0.5")
    assert parsed(endpoint, asked(parameters=given))[0] == New(file="", flag=True, ratio=0.5)


def test_the_name_of_the_input_chooses_the_generation(endpoint):
    given = parameters(inferenceParams='{"a":1}')
    found = parsed(endpoint, asked(b"ABC", name="image", parameters=given))
    assert found == (Old(image="", inference_params={"a": 1}), b"ABC", "image")


@pytest.mark.parametrize("raw", [True, False])
def test_an_operation_without_a_file_takes_its_json(raw):
    endpoint = Endpoint(Errands, CONFIG, (0, 0), "v3")
    taken = Message(asked(b'{"question":"why"}', raw, "request").SerializeToString())
    assert endpoint.parse(taken.open(endpoint, 64)).request == Ask("why")
    taken = Message(asked(b'{"question":"why"}', raw).SerializeToString())
    with pytest.raises(BadRequest, match="is `request`"):
        taken.open(endpoint, 64)


def cut(request, by=1):
    return request.SerializeToString()[:-by]


BAD = {
    "no-input": (asked(inputs=[]), "one input"),
    "no-input-at-all": (b"", "one input"),
    "two-inputs": (asked(inputs=[Tensor(name="file")] * 2), "one input"),
    "thousands-of-inputs": (b"\x2a\x00" * 100_000, "one input"),
    "two-raw": (asked(raw_input_contents=[b"", b""]), "more elements"),
    "thousands-of-raw": (b"\x3a\x00" * 100_000, "more elements"),
    "raw-and-contents": (asked(raw=False, raw_input_contents=[element(b"a")]), "contents twice"),
    "two-contents": (b"\x2a\x0a" + b"\x2a\x03\x42\x01a" * 2, "contents twice"),
    "no-data": (asked(raw_input_contents=[]), "needs `raw_input_contents`"),
    "two-elements": (
        asked(raw_input_contents=[], tensor={"contents": pb.InferTensorContents(bytes_contents=[b"", b""])}),
        "one element",
    ),
    "numbers": (
        asked(raw_input_contents=[], tensor={"contents": pb.InferTensorContents(int_contents=[1])}),
        "must be `bytes_contents`",
    ),
    "element-too-short": (asked(raw_input_contents=[b"abc"]), "has 3 bytes"),
    "element-lies-low": (asked(raw_input_contents=[element(b"abc") + b"d"]), "an element of 3"),
    "element-lies-high": (asked(raw_input_contents=[b"\xff\xff\xff\xffabc"]), "an element of 4294967295"),
    "empty": (asked(b""), "is empty"),
    "empty-name": (asked(name=""), "1 to 80 characters"),
    "long-name": (asked(name="x" * 81), "1 to 80 characters"),
    "other-name": (asked(name="x"), '"loc": "body.file"'),
    "type": (asked(tensor={"datatype": "UINT8"}), "type BYTES"),
    "shape": (asked(tensor={"shape": [2]}), "one element"),
    "shape-minus": (asked(tensor={"shape": [-1]}), "one element"),
    "shape-zero": (asked(tensor={"shape": [1, 0]}), "one element"),
    "long-shape": (asked(tensor={"shape": [1] * 100_000}), "larger than 65536"),
    "output": (asked(outputs=[Output(name="x" * 200)]), "no output"),
    "input-and-parameter": (asked(parameters=parameters(file="QUJD")), "given twice"),
    "wrong-parameter": (asked(parameters=parameters(flag="maybe")), "body.flag"),
    "many-parameters": (asked(parameters=parameters(**{f"p{i}": i for i in range(9000)})), "larger than"),
    "no-value": (asked(parameters={"a": pb.InferParameter()}), "no value"),
    "nan": (asked(parameters=parameters(ratio=float("nan"))), "not finite"),
    "long-id": (asked(id="x" * 1025), "at most 1024"),
    "long-model": (asked(model_name="x" * (MAX_SMALL + 1)), "larger than 65536"),
    "cut": (cut(asked()), "no ModelInferRequest"),
    "group": (b"\x0b\x0c", "no ModelInferRequest"),
    "field-0": (b"\x02\x00", "no ModelInferRequest"),
    "long-varint": (b"\x08" + b"\xff" * 11, "no ModelInferRequest"),
    "lying-length": (b"\x3a\xff\xff\xff\xff\x0f", "no ModelInferRequest"),
    "not-utf8": (asked().SerializeToString() + b"\x1a\x01\xff", "no ModelInferRequest"),
    "wrong-wire-type": (b"\x28\x01", "one input"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_requests(endpoint, name):
    request, words = BAD[name]
    with pytest.raises(BadRequest) as refused:
        parsed(endpoint, request)
    assert words in refused.value.message
    assert len(refused.value.message) < 500


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda end: asked().SerializeToString() + end))
def test_any_bytes_are_read_or_refused(data):
    both = Endpoint(Both, CONFIG, (0, 0), "v3")
    try:
        parsed(both, data)
    except BadRequest as refused:
        assert refused.message


@given(st.binary(max_size=300), st.booleans(), st.text(max_size=20), st.lists(st.integers(-1, 3), max_size=4))
def test_an_outline_leaves_what_another_parser_reads(data, raw, name, shape):
    request = asked(data, raw, tensor={"name": name, "shape": shape})
    parts = outline(request.SerializeToString())
    found = parts.raw if raw else parts.content
    assert bytes(found) == (element(data) if raw else data)
    left = pb.ModelInferRequest.FromString(parts.small)
    del request.raw_input_contents[:]
    request.inputs[0].ClearField("contents")
    assert left == request


@pytest.mark.parametrize("size", [0, 1, 127, 128, 300, 16_384, (1 << 32) + 5])
def test_the_head_of_a_field(size):
    head = delimited(6, size)
    assert head[0] == 6 << 3 | 2
    assert sum((byte & 0x7F) << 7 * place for place, byte in enumerate(head[1:])) == size


# --- out


@pytest.mark.parametrize("raw", [True, False])
def test_the_answer_has_the_form_of_the_request(endpoint, raw):
    door = GrpcDoor()
    door.message = Message(asked(raw=raw, id="mine").SerializeToString())
    door.message.open(endpoint, 64)
    answer = pb.ModelInferResponse.FromString(door.write("v3", "log", {"texts": ["é"], "absent": None}))
    assert (answer.model_name, answer.model_version, answer.id) == ("both", "1", "mine")
    (output,) = answer.outputs
    assert (output.name, output.datatype, output.shape) == ("result", "BYTES", [1])
    wanted = '{"texts":["é"]}'.encode()
    assert list(output.contents.bytes_contents) == ([] if raw else [wanted])
    assert list(answer.raw_output_contents) == ([element(wanted)] if raw else [])


def test_every_fault_has_a_code(endpoint):
    exchange = Exchange(endpoint)
    for fault in (*BY_NAME.values(), *ServeError.__subclasses__()):
        assert fault.status in CODES, fault
    code, text, metadata = fault_of(Overloaded(retry_after_s=3), exchange)
    assert (code, text) == (grpc.StatusCode.UNAVAILABLE, Overloaded.default)
    assert dict(metadata) == {
        "errorcode": "503", "logid": exchange.log_id, "retry-after": "3", "grpc-retry-pushback-ms": "3000",
    }  # fmt: skip
    assert fault_of(RateLimited())[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert fault_of(NoSuchModel())[:2] == (grpc.StatusCode.NOT_FOUND, "There is no such model")
    assert fault_of(PipelineError("not set up"))[0] is grpc.StatusCode.FAILED_PRECONDITION
    assert fault_of(NotConfigured("set it"))[0] is grpc.StatusCode.FAILED_PRECONDITION
    assert fault_of(ServeError())[0] is grpc.StatusCode.INTERNAL


def test_metadata_holds_what_metadata_can(endpoint):
    exchange = Exchange(endpoint)
    exchange.log_id, exchange.timings = "ключ", {"recv": 1.0}
    assert dict(success_metadata(exchange)) == {
        "logid": f"{exchange.request_id:016x}", "server-timing": "recv;dur=1.00",
    }  # fmt: skip
    _, text, _ = fault_of(BadRequest("ж" * 10_000), exchange)
    assert 0 < len(text) <= 4096 // 6


# --- calls


class Call:
    """The side of gRPC of a call: its message, and how many calls are being read."""

    reading = most = 0

    def __init__(self, content=b"x", waits=None, host="10.0.0.1"):
        self.content, self.waits, self.host = content, waits, host

    def peer(self):
        return f"ipv4:{self.host}:{id(self)}"

    async def read(self):
        Call.reading += 1
        Call.most = max(Call.most, Call.reading)
        try:
            await (self.waits.wait() if self.waits else asyncio.sleep(0))
            return self.content
        finally:
            Call.reading -= 1


def test_messages_are_read_a_few_at_once_and_none_is_waited_for_for_ever():
    async def run():
        places = Places(4)
        read = [places.read(Call(host=f"10.0.0.{n % 3}"), 10) for n in range(18)]
        assert await asyncio.gather(*read) == [b"x"] * 18
        assert Call.most == 4
        with pytest.raises(RequestTimeout):
            await places.read(Call(waits=asyncio.Event()), 0.01)
        with pytest.raises(BadRequest, match="no message"):
            await places.read(Call(grpc.aio.EOF), 10)
        assert Call.reading == len(places) == 0
        assert await asyncio.gather(*[places.read(Call(), 10) for _ in range(2)]) == [b"x"] * 2

    asyncio.run(run())


def test_silent_calls_of_one_host_keep_no_other_host_out():
    async def run():
        places, never = Places(4), asyncio.Event()
        Call.most = 0
        silent = [asyncio.ensure_future(places.read(Call(waits=never), 60)) for _ in range(50)]
        await asyncio.sleep(0)
        assert await places.read(Call(host="10.0.0.2"), 10) == b"x"
        with pytest.raises(RequestTimeout):  # of its own host it does
            await places.read(Call(), 0.01)
        assert Call.reading == places.share == 2
        for call in silent:
            call.cancel()
        await asyncio.gather(*silent, return_exceptions=True)
        assert Call.reading == len(places) == 0
        assert await places.read(Call(), 10) == b"x"

    asyncio.run(run())


def test_a_single_place_serves_every_host():
    async def run():
        places = Places(1)
        read = [places.read(Call(host=f"10.0.0.{n}"), 10) for n in range(5)]
        assert await asyncio.gather(*read) == [b"x"] * 5

    asyncio.run(run())


def test_what_a_refused_call_has_sent_is_let_go_of_at_once(endpoint):
    class Counters:
        def add(self, name, amount=1):
            pass

        def request(self, path, status, seconds):
            assert status == 422

    config, limits = Config(pipelines=(), devices=()), Limits()
    admission = Admission(limits, lambda batch: 0.0, 1, time.monotonic_ns)
    ground = Ground(None, None, Counters(), limits, None, None)
    routes = SimpleNamespace(endpoints={"/both": endpoint}, unready=list)
    called = SimpleNamespace(invocation_metadata=tuple, time_remaining=lambda: None, peer=str)
    called.read = Call(asked(b"").SerializeToString()).read
    server = GrpcServer(config, ground, admission, routes, str, None)

    def alive():
        return sum(type(each) in {Exchange, Message} for each in gc.get_objects())

    gc.collect()
    before = alive()  # those of other tests
    gc.disable()  # a message is large, and the collector counts objects, not bytes
    try:
        code, text, _ = asyncio.run(server._infer(called))
        assert (code, "is empty" in text) == (grpc.StatusCode.INVALID_ARGUMENT, True)
        assert alive() == before
    finally:
        gc.enable()
    assert admission.inside == admission.held_bytes == 0


@pytest.mark.parametrize(
    ("header", "left_s", "wanted"),
    [
        (None, None, None),
        ("50", None, 50),
        (None, 0.2, 200),
        ("50", 0.2, 50),
        ("500", 0.2, 200),
        (None, 0, 1),
    ],
)
def test_the_earlier_deadline_counts(header, left_s, wanted):
    assert asked_ms({} if header is None else {"x-request-timeout-ms": header}, left_s) == wanted


# --- start


def test_memory_of_messages_is_bounded():
    assert message_places(Limits()) * Limits().max_body_bytes <= Limits().max_decoded_bytes
    assert message_places(Limits(max_body_bytes=2 << 30, max_decoded_bytes=1 << 30)) == 1
    told = dict(options(Limits(max_body_bytes=5 << 20)))
    assert told["grpc.max_receive_message_length"] == 5 << 20
    assert dict(options(Limits(max_body_bytes=1 << 40)))["grpc.max_receive_message_length"] == 2**31 - 1


def test_without_the_extra_one_line_names_it(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(grpc_port.importlib.util, "find_spec", lambda name: None)
    argv = ["--pipeline", "OCR", "--port", "0", "--cache_dir", str(tmp_path), "--grpc_port", "9001"]
    assert main(argv) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "--grpc_port needs the extra 'grpc': python -m pip install -e '.[grpc]'" in said
    assert grpc_port.check_grpc(0) == 0
    assert parse(["--pipeline", "OCR"]).grpc_port == 0


def test_a_taken_port_is_refused_and_a_held_one_is_shared():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match="the port is taken"), grpc_port.port_held("127.0.0.1", port):
            pass
    with grpc_port.port_held("127.0.0.1", port):
        with socket.socket() as worker:
            worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            worker.bind(("127.0.0.1", port))
            worker.listen()
            with socket.create_connection(("127.0.0.1", port), timeout=5):
                pass
            with pytest.raises(ConfigError, match="taken"), grpc_port.port_held("127.0.0.1", port):
                pass
        with pytest.raises(OSError), socket.socket() as stranger:
            stranger.bind(("127.0.0.1", port))
    with pytest.raises(ConfigError, match="cannot listen for gRPC"), grpc_port.port_held("192.0.2.1", port):
        pass
    assert grpc_port.address("::1", 5) == "[::1]:5"
