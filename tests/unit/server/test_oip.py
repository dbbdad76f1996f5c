"""Tensors of the Open Inference Protocol in and out; whatever else comes is refused with a reason."""

import base64
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.errors import BadRequest
from pipelines.core.forms import ErrandForm, Operation
from server.decode import Endpoint
from server.exchange import Exchange
from server.oip import MAX_JSON_BYTES, OipDoor, describe, error
from tests.toy_pipeline import ToyParams, ToyPipeline, ToyResult
from tests.unit.server.test_decode import CONFIG, New, Old
from tests.unit.server.test_uploads import PNG, Both

HEADER = "inference-header-content-length"


@pytest.fixture
def endpoint():
    return Endpoint(Both, CONFIG, (0, 0), "v3")


def tensor(**more):
    return {"name": "file", "datatype": "BYTES", "shape": [1]} | more


def text(data=PNG, **more):
    """JSON of a request with the file in base64."""
    return {"inputs": [tensor(data=[base64.b64encode(data).decode()])]} | more


def binary(data=PNG, size=None, length=None, **more):
    """(JSON, what comes after it) of a request with a binary tensor."""
    element = (len(data) if length is None else length).to_bytes(4, "little") + data
    given = tensor(parameters={"binary_data_size": len(element) if size is None else size})
    return {"inputs": [given]} | more, element


def taken(endpoint, request, rest=None, headers=None):
    """(door, upload) that have read a request."""
    head = request if isinstance(request, bytes) else json.dumps(request).encode()
    door = OipDoor("both")
    lengths = {} if rest is None else {HEADER: str(len(head))}
    upload = door.upload(endpoint, lengths | (headers or {}), "")
    upload.take(head + (rest or b""))
    upload.end()
    upload.data = b"".join(upload.pieces)
    return door, upload


def parse(endpoint, *request, **options):
    """(typed request, file, kind)."""
    _, upload = taken(endpoint, *request, **options)
    parsed = endpoint.parse(upload.open(endpoint, 64))
    return parsed.request, *upload.file(endpoint.operation, parsed.form.source(parsed.request))


# --- in


def test_a_file_as_text_and_as_bytes(endpoint):
    assert parse(endpoint, text()) == (New(file=""), PNG, "image")
    assert parse(endpoint, *binary()) == (New(file=""), PNG, "image")


def test_a_large_file_as_bytes(endpoint):
    data = PNG * (2 * MAX_JSON_BYTES // len(PNG))
    assert parse(endpoint, *binary(data))[1] == data


def test_parameters_are_the_other_fields(endpoint):
    given = {"flag": True, "ratio": 0.5, "logId": 7, "unknown": "x", "binary_data_output": True}
    assert parse(endpoint, text(parameters=given))[0] == New(file="", flag=True, ratio=0.5, log_id="7")
    given = {"flag": "yes", "ratio": "0.5"}
    assert parse(endpoint, *binary(parameters=given))[0] == New(file="", flag=True, ratio=0.5)


def test_the_name_of_the_input_chooses_the_generation(endpoint):
    given = {"inputs": [tensor(name="image", data=["QUJD"])], "parameters": {"inferenceParams": '{"a":1}'}}
    assert parse(endpoint, given) == (Old(image="", inference_params={"a": 1}), b"ABC", "image")


@pytest.mark.parametrize("way", [text, lambda data, **more: binary(data, **more)[0]], ids=["text", "binary"])
@pytest.mark.parametrize(
    ("data", "parameters", "kind"),
    [
        (b"%PDF-1.7", {}, "pdf"),
        (PNG, {}, "image"),
        (PNG, {"fileType": 1}, "image"),
        (b"%PDF", {"fileType": 0}, "pdf"),
    ],
)
def test_a_document_says_what_it_is(endpoint, way, data, parameters, kind):
    request = way(data, parameters=parameters)
    rest = None if way is text else binary(data)[1]
    assert parse(endpoint, request, rest)[1:] == (data, kind)


def test_a_shape_of_ones_is_one_element(endpoint):
    assert parse(endpoint, {"inputs": [tensor(shape=[1, 1], data=["QUJD"])]})[1] == b"ABC"


class Ask(msgspec.Struct):
    question: str


class AskForm(ErrandForm):
    generation = "v3"
    request = Ask
    params_type = ToyParams
    marks = frozenset({"question"})

    def params(self, request, config):
        return ToyParams()

    async def answer(self, errand):
        return {}


class Errands(ToyPipeline):
    operations = (Operation("/ask", "ask", "none", ToyResult, (AskForm(),)),)


def test_an_operation_without_a_file_takes_its_json():
    endpoint = Endpoint(Errands, CONFIG, (0, 0), "v3")
    assert describe(endpoint)["inputs"] == [{"name": "request", "datatype": "BYTES", "shape": [1]}]
    content = b'{"question":"why"}'
    request, rest = binary(content)
    for body in ({"inputs": [tensor(data=[content.decode()])]}, request):
        body["inputs"][0]["name"] = "request"
        _, upload = taken(endpoint, body, rest if body is request else None)
        assert endpoint.parse(upload.open(endpoint, 64)).request == Ask("why")
        assert upload.data == b""
    _, upload = taken(endpoint, text())
    with pytest.raises(BadRequest, match="is `request`"):
        upload.open(endpoint, 64)


BAD = {
    "empty": (b"", None, "JSON of 0 bytes"),
    "no-json": (b"file", None, "not valid"),
    "array": (b"[]", None, "not valid"),
    "no-inputs": ({}, None, "missing required field `inputs`"),
    "zero-inputs": ({"inputs": []}, None, "length 1"),
    "two-inputs": ({"inputs": [tensor(data=["a"])] * 2}, None, "length 1"),
    "no-name": ({"inputs": [{"datatype": "BYTES", "shape": [1]}]}, None, "missing required field `name`"),
    "empty-name": ({"inputs": [tensor(name="", data=["a"])]}, None, "1 to 80 characters"),
    "long-name": ({"inputs": [tensor(name="x" * 81, data=["a"])]}, None, "1 to 80 characters"),
    "other-name": ({"inputs": [tensor(name="x", data=["a"])]}, None, '"loc": "body.file"'),
    "parameter-as-input": (
        {"inputs": [tensor(name="logId", data=["a"])], "parameters": {"file": "QUJD"}},
        None,
        "is its input `file`",
    ),
    "input-and-parameter": (text(parameters={"file": "QUJD"}), None, "given twice"),
    "type": ({"inputs": [tensor(datatype="UINT8", data=["a"])]}, None, "type BYTES"),
    "shape-2": ({"inputs": [tensor(shape=[2], data=["a"])]}, None, "one element"),
    "shape-minus": ({"inputs": [tensor(shape=[-1], data=["a"])]}, None, "one element"),
    "shape-text": ({"inputs": [tensor(shape="1", data=["a"])]}, None, "`shape` is not valid"),
    "long-shape": ({"inputs": [tensor(shape=[1] * 40_000, data=["a"])]}, None, "`shape` is larger"),
    "no-data": ({"inputs": [tensor()]}, None, "needs `data`"),
    "two-elements": ({"inputs": [tensor(data=["a", "b"])]}, None, "length 1"),
    "number-as-data": ({"inputs": [tensor(data=[5])]}, None, "not valid"),
    "no-base64": ({"inputs": [tensor(data=["abcde"])]}, None, "not valid base64"),
    "url": ({"inputs": [tensor(data=["http://127.0.0.1/x"])]}, None, "URL inputs are not allowed"),
    "empty-file": (text(b""), None, "is empty"),
    "empty-element": (*binary(b""), "is empty"),
    "size-too-large": (*binary(size=10**6), "`binary_data_size` is 1000000"),
    "size-too-small": (*binary(size=5), "`binary_data_size` is 5"),
    "size-negative": (*binary(size=-1), "`binary_data_size` is -1"),
    "element-too-large": (*binary(length=2**32 - 1), "an element of 4294967295"),
    "element-too-small": (*binary(length=1), "an element of 1"),
    "no-element": (binary(size=0)[0], b"", "with an element of 0"),
    "three-bytes": (binary(size=3)[0], b"abc", "with an element of"),
    "bytes-and-data": (
        {"inputs": [tensor(data=["a"], parameters={"binary_data_size": 5})]}, b"\1\0\0\0a", "but after",
    ),
    "binary-without-bytes": (binary()[0], None, "after the JSON are 0 bytes"),
    "bytes-nobody-wants": (text(), b"abc", "needs `data`"),
    "size-is-text": ({"inputs": [tensor(parameters={"binary_data_size": "5"})]}, b"abcde", "not valid"),
    "shared-memory": ({"inputs": [tensor(parameters={"shared_memory_region": "x"})]}, None, "needs `data`"),
    "outputs": (text(outputs=[{"name": "x" * 200}]), None, "no output"),
    "many-outputs": (text(outputs=[{"name": "result"}] * 5000), None, "`outputs` is larger"),
    "parameter-list": (text(parameters={"a": [1]}), None, "`parameters` is not valid"),
    "many-parameters": (text(parameters={str(i): i for i in range(9000)}), None, "`parameters` is larger"),
    "wrong-parameter": (text(parameters={"flag": "maybe"}), None, "body.flag"),
    "long-id": (text(id="x" * 1025), None, "at most 1024"),
    "deep": (b'{"inputs":' + b"[" * 1000, None, "nested deeper"),
    "not-utf8": (b'{"id":"\xff"}', None, "not valid"),
    "too-much-json": (b" " * (MAX_JSON_BYTES + 1), None, "send the file as a binary tensor"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_requests(endpoint, name):
    request, rest, words = BAD[name]
    with pytest.raises(BadRequest) as refused:
        parse(endpoint, request, rest)
    assert words in refused.value.message
    assert len(refused.value.message) < 500


@pytest.mark.parametrize("length", ["-1", "1.5", "", "x", "9" * 40, "٣", "0", "100000"])
def test_a_length_of_the_json_that_cannot_be(endpoint, length):
    with pytest.raises(BadRequest):
        parse(endpoint, text(), headers={HEADER: length})


def test_compressed_requests_are_refused(endpoint):
    with pytest.raises(BadRequest, match="Compressed"):
        taken(endpoint, text(), headers={"content-encoding": "gzip"})


@given(st.binary(max_size=200), st.integers(0, 220))
def test_any_bytes_are_read_or_refused(data, length):
    both = Endpoint(Both, CONFIG, (0, 0), "v3")
    try:
        parse(both, b'{"inputs":[' + data, None, headers={HEADER: str(length)})
    except BadRequest as refused:
        assert refused.message


# --- out

RESULT = {"texts": ["é"], "absent": None}


@pytest.mark.parametrize(
    ("asked", "is_binary"),
    [
        ({}, False),
        ({"parameters": {"binary_data_output": True}}, True),
        ({"outputs": [{"name": "result"}]}, False),
        ({"outputs": [{"name": "result", "parameters": {"binary_data": True}}]}, True),
        ({"outputs": [{"name": "result"}], "parameters": {"binary_data_output": True}}, False),
    ],
)
def test_the_result_is_text_or_bytes_as_asked(endpoint, asked, is_binary):
    door, upload = taken(endpoint, text(id="mine", **asked))
    upload.open(endpoint, 64)
    content, headers, exchange = door.write("v3", "log", RESULT), {}, Exchange(endpoint, door)
    kind = door.success(exchange, headers)
    assert exchange.log_id == "mine"
    wanted = '{"texts":["é"]}'
    output = {"name": "result", "datatype": "BYTES", "shape": [1]}
    if not is_binary:
        assert (kind, headers) == ("application/json", {})
        output["data"] = [wanted]
    else:
        assert kind == "application/octet-stream"
        size = int(headers["Inference-Header-Content-Length"])
        content, rest = content[:size], content[size:]
        assert rest == len(wanted.encode()).to_bytes(4, "little") + wanted.encode()
        output["parameters"] = {"binary_data_size": len(rest)}
    answer = {"model_name": "both", "model_version": "1", "outputs": [output], "id": "mine"}
    assert json.loads(content) == answer


def test_the_2024_generation_keeps_its_nulls(endpoint):
    door, upload = taken(endpoint, text())
    upload.open(endpoint, 64)
    (output,) = json.loads(door.write("2024", "log", RESULT))["outputs"]
    assert json.loads(output["data"][0]) == RESULT


def test_faults_have_the_form_of_the_protocol(endpoint):
    door, _ = taken(endpoint, text())
    assert json.loads(door.fault(Exchange(endpoint, door), BadRequest("why"))) == {"error": "why"}
    assert json.loads(error("x")) == {"error": "x"}


def test_metadata(endpoint):
    assert describe(endpoint) == {
        "name": "both",
        "versions": ["1"],
        "platform": "paddlex",
        "inputs": [{"name": "file", "datatype": "BYTES", "shape": [1]}],
        "outputs": [{"name": "result", "datatype": "BYTES", "shape": [1]}],
    }
    other = Endpoint(Both, CONFIG, (0, 0), "2024")
    assert describe(other)["inputs"][0]["name"] == "image"
