import base64
import json
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.config import PipelineConfig
from pipelines.core.errors import BadRequest
from pipelines.core.forms import Form, Operation, Source
from server.decode import Endpoint, endpoints, log_id_of
from server.files import file_bytes, file_kind, forget_file
from tests.toy_pipeline import ToyParams, ToyPipeline, ToyResult


class New(msgspec.Struct, rename="camel"):
    file: str
    file_type: Literal[0, 1] | None = None
    flag: bool | None = None
    ratio: float = 1.0
    log_id: str | None = None


class Old(msgspec.Struct, rename="camel"):
    image: str
    inference_params: dict[str, int] | None = None


class NewForm(Form):
    generation = "v3"
    request = New
    params_type = ToyParams
    marks = frozenset({"file", "fileType", "flag"})

    def source(self, request):
        return Source("file", request.file, request.file_type)

    def params(self, request, config):
        if request.ratio < 0:
            raise BadRequest("ratio is negative")
        return ToyParams(key=str(request.ratio))

    def respond(self, reply):
        return {}


class OldForm(NewForm):
    generation = "2024"
    request = Old
    marks = frozenset({"image", "inferenceParams"})


class Both(ToyPipeline):
    operations = (Operation("/both", "infer", "document", ToyResult, (NewForm(), OldForm()), True),)


CONFIG = PipelineConfig("toy", "toy", "v3", {}, {}, {})


@pytest.fixture
def endpoint():
    return Endpoint(Both, CONFIG, (3, 0), "v3")


def parse(endpoint, body):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return endpoint.parse(endpoint.open(content, 64))


def problems(endpoint, body):
    with pytest.raises(BadRequest) as refused:
        parse(endpoint, body)
    return json.loads(refused.value.message)


# --- bodies


def test_a_plain_request(endpoint):
    parsed = parse(endpoint, {"file": "abc", "fileType": 1, "ratio": 0.5, "unknown": [1, {"a": 2}]})
    assert parsed.request == New(file="abc", file_type=1, ratio=0.5)
    assert (parsed.form.generation, parsed.form_index, parsed.params) == ("v3", 0, ToyParams(key="0.5"))
    assert (endpoint.path, endpoint.pipeline_index, endpoint.operation_index) == ("/both", 3, 0)


@pytest.mark.parametrize(
    ("body", "entry"),
    [
        pytest.param(b"", {"type": "missing", "loc": "body", "msg": "Field required"}, id="empty"),
        pytest.param(b" \n", {"type": "missing", "loc": "body", "msg": "Field required"}, id="blank"),
        pytest.param(b"{", {"type": "json_invalid", "loc": "body[1]", "msg": "JSON decode error"}, id="cut"),
        pytest.param(
            b'{"a":}', {"type": "json_invalid", "loc": "body[5]", "msg": "JSON decode error"}, id="bad"
        ),
        pytest.param(
            b"{}x", {"type": "json_invalid", "loc": "body[3]", "msg": "JSON decode error"}, id="tail"
        ),
        pytest.param(
            b'{"file":NaN}', {"type": "json_invalid", "loc": "body[8]", "msg": "JSON decode error"}, id="nan"
        ),
        pytest.param(
            b"\xff\xfe", {"type": "json_invalid", "loc": "body[0]", "msg": "JSON decode error"}, id="binary"
        ),
        pytest.param(
            b'{"file":"\xff"}',
            {"type": "json_invalid", "loc": "body.file", "msg": "JSON decode error"},
            id="utf8",
        ),
        pytest.param(
            b'{"file":"' + b"\xff" * 5000 + b'"}',
            {"type": "json_invalid", "loc": "body.file", "msg": "JSON decode error"},
            id="long-utf8",
        ),
        pytest.param(
            b"[]",
            {
                "type": "model_attributes_type",
                "loc": "body",
                "msg": "Input should be a valid dictionary or object to extract fields from",
            },
            id="array",
        ),
        pytest.param(
            b"{}", {"type": "missing", "loc": "body.file", "msg": "Field required"}, id="missing-field"
        ),
        pytest.param(
            b'{"file":5}',
            {"type": "string_type", "loc": "body.file", "msg": "Input should be a valid string"},
            id="type",
        ),
        pytest.param(
            b'{"file":null}',
            {"type": "string_type", "loc": "body.file", "msg": "Input should be a valid string"},
            id="null",
        ),
        pytest.param(
            b'{"file":"", "fileType":"1"}',
            {"type": "literal_error", "loc": "body.fileType", "msg": "Input should be 0 or 1"},
            id="literal",
        ),
    ],
)
def test_a_bad_body_gets_pydantics_entry(endpoint, body, entry):
    assert problems(endpoint, body) == [entry]


def test_all_bad_fields_are_listed(endpoint):
    found = problems(endpoint, {"fileType": 7, "flag": "maybe", "ratio": "x"})
    assert [entry["loc"] for entry in found] == ["body.file", "body.fileType", "body.flag", "body.ratio"]


def test_the_2024_list_has_array_locations(endpoint):
    found = problems(endpoint, {"inferenceParams": {"a": "x"}})
    assert [entry["loc"] for entry in found] == [["body", "image"], ["body", "inferenceParams", "a"]]


def test_types_are_lax(endpoint):
    parsed = parse(endpoint, {"file": "abc", "fileType": 1.0, "flag": "yes", "ratio": "2.5", "logId": None})
    assert parsed.request == New(file="abc", file_type=1, flag=True, ratio=2.5)


def test_nesting_is_bounded(endpoint):
    deep = b'{"file":"a","x":' + b"[" * 63 + b"]" * 63 + b"}"
    assert parse(endpoint, deep).request.file == "a"
    deeper = b'{"file":"a","x":' + b"[" * 64 + b"]" * 64 + b"}"
    (entry,) = problems(endpoint, deeper)
    assert "deeper than 64 levels" in entry["msg"]


def test_a_huge_value_of_the_wrong_type_is_not_built(endpoint):
    body = b'{"file":"a","ratio":[' + b"[]," * 500_000 + b"[]]}"
    (entry,) = problems(endpoint, body)
    assert entry["loc"] == "body.ratio"
    assert entry["type"] == "value_error"


@pytest.mark.parametrize(
    "text",
    ["a" * 9000, "a" * 8999 + "\n", "ü" * 9000, '"' * 9000, "\\" * 9000, "a" * 4095, "a" * 4096, "", "a"],
)
def test_strings_of_every_kind_arrive(endpoint, text):
    assert parse(endpoint, {"file": text}).request.file == text
    assert parse(endpoint, json.dumps({"file": text}, ensure_ascii=False).encode()).request.file == text


def test_a_long_string_where_none_belongs(endpoint):
    (entry,) = problems(endpoint, {"file": "a", "ratio": "x" * 9000})
    assert (entry["loc"], entry["type"]) == ("body.ratio", "float_parsing")
    (entry,) = problems(endpoint, {"file": "a", "fileType": "1" * 9000})
    assert (entry["loc"], entry["type"]) == ("body.fileType", "literal_error")
    assert parse(endpoint, {"file": "a", "unknown": "x" * 9000, "x" * 9000: 1}).request.file == "a"
    assert parse(endpoint, {"file": "a", "unknown": {"file": "x" * 9000}}).request.file == "a"


def test_several_long_strings_keep_their_places(endpoint):
    body = {"logId": "l" * 5000, "file": "f" * 6000, "a": "a" * 5000, "ratio": 2}
    parsed = parse(endpoint, body)
    assert (parsed.request.file, parsed.request.log_id, parsed.request.ratio) == ("f" * 6000, "l" * 5000, 2.0)
    twice = b'{"file":"' + b"a" * 5000 + b'","file":"' + b"b" * 5000 + b'"}'
    assert parse(endpoint, twice).request.file == "b" * 5000


def test_the_position_of_an_error_is_that_in_the_body(endpoint):
    body = b'{"file":"' + b"a" * 5000 + b'" oops}'
    (entry,) = problems(endpoint, body)
    assert entry["loc"] == f"body[{body.index(b'oops')}]"
    (entry,) = problems(endpoint, b'["' + b"a" * 5000 + b'"]')
    assert entry["type"] == "model_attributes_type"


@given(st.lists(st.sampled_from(['"' + "a" * 5000 + '"', "1", "{}", "oops"]), min_size=1, max_size=6))
def test_also_behind_several_long_strings(values):
    body = json.dumps(dict.fromkeys("abc", "x" * 4500))[:-1] + ', "d": [' + ", ".join(values) + "], oops}"
    endpoint = Endpoint(Both, CONFIG, (0, 0), "v3")
    (entry,) = problems(endpoint, body.encode())
    assert entry["loc"] == f"body[{body.index('oops')}]"


@pytest.mark.parametrize(
    "filler",
    [b'"a":[' + b"0," * (2 << 20) + b"0]", b'"a":{"b":"' + b"a" * (4 << 20) + b'"}'],
    ids=["many", "deep"],
)
def test_only_long_strings_of_the_body_itself_may_be_large(endpoint, filler):
    """The parser takes 4 ns a byte, and nothing else runs meanwhile."""
    (entry,) = problems(endpoint, b'{"file":"",' + filler + b"}")
    assert entry["msg"] == "The JSON around the file is larger than 4194304 bytes"


def test_a_large_file_may_have_escapes(endpoint):
    """PHP writes each slash as two characters, Gson the padding as six."""
    text = "ab/c" * (2 << 20)
    body = b'{"file":"' + text.replace("/", "\\/").encode() + b'\\u003d"}'
    assert len(body) > 9 << 20
    assert parse(endpoint, body).request.file == text + "="


def test_a_forms_own_fault_passes(endpoint):
    with pytest.raises(BadRequest, match="ratio is negative"):
        parse(endpoint, {"file": "", "ratio": -1})


@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_any_bytes_are_parsed_or_refused(content):
    endpoint = Endpoint(Both, CONFIG, (0, 0), "v3")
    try:
        parse(endpoint, content)
    except BadRequest as refused:
        assert json.loads(refused.message)


# --- which form


@pytest.mark.parametrize(
    ("fields", "generation", "wanted"),
    [
        pytest.param({"file": ""}, "2024", "v3", id="file"),
        pytest.param({"image": ""}, "v3", "2024", id="image"),
        pytest.param({"inferenceParams": {}}, "v3", "2024", id="inferenceParams"),
        pytest.param({"file": "", "image": ""}, "2024", "v3", id="both"),
        pytest.param({}, "v3", "v3", id="neither-v3"),
        pytest.param({}, "2024", "2024", id="neither-2024"),
    ],
)
def test_fields_choose_the_form(fields, generation, wanted):
    endpoint = Endpoint(Both, CONFIG, (0, 0), generation)
    assert endpoint.generation_of(endpoint.open(json.dumps(fields).encode(), 64)) == wanted


def test_log_id(endpoint):
    def found(text):
        return log_id_of(endpoint.open(text, 64))

    assert found(b'{"logId":"abc"}') == "abc"
    assert found(b'{"logId":""}') is None
    assert found(b'{"logId":5}') is None
    assert found(b'{"logId":"\xff"}') is None
    assert found(b"{}") is None


# --- files


def test_base64_is_read_as_pythons_lenient_decoder_reads_it():
    for text in ("QUJD", "QU\nJD", "Q U J D", "-QUJD-", "QUJD\r\n", "data:QUJDRA=="):
        assert file_bytes(Source("file", text), "blob") == base64.b64decode(text)


@pytest.mark.parametrize("text", ["A", "QUJDR", "=", "ü", "data:image/png;base64,QUJD"])
def test_bad_base64_is_refused(text):
    with pytest.raises(BadRequest, match=r"^Invalid input file: `image`"):
        file_bytes(Source("image", text), "image")


@pytest.mark.parametrize("text", ["", "####", "\n"])
def test_an_empty_file_is_refused(text):
    with pytest.raises(BadRequest, match=r"^Invalid input file: `file` is empty"):
        file_bytes(Source("file", text), "image")


@pytest.mark.parametrize("url", ["http://example.com/a.png", "https://10.0.0.1/", "http://[::1/"])
def test_urls_are_refused(url):
    with pytest.raises(BadRequest, match="URL inputs are not allowed on this server"):
        file_bytes(Source("file", url, 1), "image")


def test_what_is_no_url_is_base64():
    assert file_bytes(Source("file", "http"), "blob") == base64.b64decode("http")
    with pytest.raises(BadRequest, match="base64"):
        file_bytes(Source("file", "file:///etc/passwd"), "blob")


@given(st.text(max_size=30))
def test_any_text_is_decoded_as_python_does(text):
    try:
        wanted = base64.b64decode(text)
    except ValueError:
        wanted = b""
    try:
        found = file_bytes(Source("file", text), "blob")
    except BadRequest:
        found = b""
    assert found == wanted


@pytest.mark.parametrize(
    ("input_kind", "file_type", "kind"),
    [
        ("document", 0, "pdf"),
        ("document", 1, "image"),
        ("image", None, "image"),
        ("image", 0, "image"),
        ("csv", None, "blob"),
    ],
)
def test_file_type_decides_for_documents(input_kind, file_type, kind):
    operation = Operation("/x", "x", input_kind, ToyResult, ())
    assert file_kind(operation, Source("file", "", file_type)) == kind


def test_a_document_without_file_type_is_refused_but_a_url_first_for_being_one():
    operation = Operation("/x", "x", "document", ToyResult, ())
    with pytest.raises(BadRequest, match=r"^File type cannot be determined$"):
        file_kind(operation, Source("file", "QUJD"))
    for url, kind in (("http://h/x.pdf", "pdf"), ("http://h/x.PDF?y=1.png", "pdf"), ("http://h/x", "image")):
        assert file_kind(operation, Source("file", url)) == kind


def test_large_base64_with_padding_in_the_middle_is_refused():
    assert file_bytes(Source("file", "AA==" + "A" * 400), "blob") == base64.b64decode("AA==" + "A" * 400)
    with pytest.raises(BadRequest, match="not valid base64"):
        file_bytes(Source("file", "AA==" + "A" * (1 << 20)), "blob")


def test_a_pdf_must_look_like_one():
    assert file_bytes(Source("file", base64.b64encode(b"\n%PDF-1.7 x").decode()), "pdf")
    with pytest.raises(BadRequest, match="not a PDF"):
        file_bytes(Source("file", base64.b64encode(b"\x89PNG").decode()), "pdf")


def test_the_text_of_the_file_is_dropped():
    request = New(file="x" * 1000, log_id="id")
    forget_file(request, Source("file", request.file))
    assert request == New(file="", log_id="id")


def test_of_two_pipelines_with_one_route_the_first_has_it(monkeypatch):
    monkeypatch.setattr("server.decode.load_pipeline", lambda name: Both)
    first, second = msgspec.structs.replace(CONFIG, title="first"), CONFIG
    from server.config import Config

    found = endpoints(Config(pipelines=(first, second), devices=()))
    assert {path: e.config.title for path, e in found.items()} == {"/both": "first"}
