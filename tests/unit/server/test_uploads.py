"""Bodies that are not JSON mean what the same fields mean in JSON, whatever pieces they come in."""

import contextlib
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.errors import BadRequest
from pipelines.core.forms import Operation, Source
from server.decode import Endpoint
from server.form_body import MAX_PARTS, MAX_TEXT_BYTES, Form
from server.uploads import JSON_TYPES, Upload, open_upload
from tests.toy_pipeline import ToyParams, ToyPipeline, ToyResult
from tests.unit.server.test_decode import CONFIG, New, NewForm, Old, OldForm

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
BOUNDARY = "limit"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"


class BetaForm(OldForm):
    def source(self, request):
        return Source("image", request.image, 1)

    def params(self, request, config):
        return ToyParams()


class Both(ToyPipeline):
    operations = (Operation("/both", "infer", "document", ToyResult, (NewForm(), BetaForm()), True),)


@pytest.fixture
def endpoint():
    return Endpoint(Both, CONFIG, (0, 0), "v3")


def part(name, content, more="", head=""):
    content = content if isinstance(content, bytes) else content.encode()
    first = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n{head}\r\n'
    return first.encode() + content + b"\r\n"


def file_part(name, content=PNG, filename="a.png", media=""):
    head = f"Content-Type: {media}\r\n" if media else ""
    return part(name, content, f'; filename="{filename}"', head)


END = f"--{BOUNDARY}--\r\n".encode()


def taken(upload, content, pieces=1):
    """``upload`` with ``content`` in it, given in so many pieces."""
    step = max(1, -(-len(content) // pieces))
    for start in range(0, len(content), step):
        upload.take(content[start : start + step])
    upload.end()
    upload.data, upload.nbytes = b"".join(upload.pieces), len(content)
    return upload


def form(*parts, pieces=1, end=END):
    return taken(open_upload(Both.operations[0], MULTIPART, ""), b"".join(parts) + end, pieces)


def raw(query="", media="image/png", content=PNG):
    return taken(open_upload(Both.operations[0], media, query), content)


def parse(endpoint, upload):
    """(typed request, file, kind)."""
    parsed = endpoint.parse(upload.open(endpoint, 64))
    return parsed.request, *upload.file(endpoint.operation, parsed.form.source(parsed.request))


# --- which bodies they are


@pytest.mark.parametrize(
    "media",
    ["application/json; charset=utf-8", "text/plain", "!", "application/x-www-form-urlencoded", "*/*"],
)
def test_everything_else_is_json(media):
    assert open_upload(Both.operations[0], media, "") is None
    assert media not in JSON_TYPES, "the short way is for the usual types only"


@pytest.mark.parametrize(
    ("takes", "media", "words"),
    [
        ("document", "text/csv", "image/* or application/pdf"),
        ("image", "application/pdf", "image/*"),
        ("csv", "image/png", "text/csv"),
        ("none", "image/png", "no file, only JSON"),
    ],
)
def test_a_file_of_a_kind_that_the_route_does_not_take(takes, media, words):
    with pytest.raises(BadRequest, match="This route takes") as refused:
        open_upload(Operation("/x", "x", takes, ToyResult, ()), media, "")
    assert refused.value.message.endswith(words)


def test_content_types_are_read_as_http_writes_them(endpoint):
    assert parse(endpoint, raw(media="IMAGE/PNG ; x=y"))[2] == "image"
    assert isinstance(
        open_upload(Both.operations[0], f'Multipart/Form-Data; Boundary="{BOUNDARY}"', ""), Form
    )


# --- raw


def test_a_raw_file_with_parameters(endpoint):
    request, data, kind = parse(endpoint, raw("flag=true&ratio=0.5&logId=7&unknown=%7B"))
    assert request == New(file="", flag=True, ratio=0.5, log_id="7")
    assert (data, kind) == (PNG, "image")


def test_the_parameters_choose_the_generation(endpoint):
    request, data, _ = parse(endpoint, raw('inferenceParams={"maxLongSide":5}'))
    assert request == Old(image="", inference_params={"maxLongSide": 5})
    assert data == PNG


def test_without_a_mark_the_servers_generation_answers():
    both = Endpoint(Both, CONFIG, (0, 0), "2024")
    assert parse(both, raw())[0] == Old(image="")


@pytest.mark.parametrize(
    ("query", "media", "content", "kind"),
    [
        ("", "application/pdf", b"%PDF-1.7", "pdf"),
        ("", "image/tiff", PNG, "image"),
        ("fileType=1", "application/pdf", PNG, "image"),
        ("fileType=0", "image/png", b"%PDF-1.7", "pdf"),
        ("fileType=null", "image/png", PNG, "image"),
    ],
)
def test_the_content_type_says_what_the_file_is_unless_file_type_does(endpoint, query, media, content, kind):
    assert parse(endpoint, raw(query, media, content))[1:] == (content, kind)


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("1", True), ("yes", True), ("False", False), ("null", None), ("0", False)],
)
def test_flags_are_as_lax_as_in_json(endpoint, text, value):
    assert parse(endpoint, raw(f"flag={text}"))[0].flag is value


@pytest.mark.parametrize(
    ("query", "entry"),
    [
        ("flag=maybe", {"type": "bool_parsing", "loc": "body.flag"}),
        ("flag=", {"type": "bool_parsing", "loc": "body.flag"}),
        ("ratio=NaN", {"type": "float_parsing", "loc": "body.ratio"}),
        ("ratio=1e999", {"type": "json_invalid", "loc": "body.ratio"}),
        ("ratio=[1]", {"type": "float_type", "loc": "body.ratio"}),
        ("fileType=7", {"type": "literal_error", "loc": "body.fileType"}),
        ("fileType=pdf", {"type": "literal_error", "loc": "body.fileType"}),
        ("inferenceParams=5", {"type": "dict_type", "loc": ["body", "inferenceParams"]}),
        ("flag=" + "[" * 1000, {"type": "json_invalid", "loc": "body"}),
        ("flag=true&logId=" + "x" * 2000, {"type": "string_too_long", "loc": "body.logId"}),
    ],
)
def test_wrong_parameters_are_answered_as_in_json(endpoint, query, entry):
    from server.decode import log_id_of

    with pytest.raises(BadRequest) as refused:
        upload = raw(query)
        log_id_of(upload.open(endpoint, 64))
        parse(endpoint, upload)
    (problem,) = json.loads(refused.value.message)
    assert problem | entry == problem


def test_the_last_of_two_equal_names_counts_as_in_json(endpoint):
    assert parse(endpoint, raw("ratio=1&ratio=2"))[0].ratio == 2


@pytest.mark.parametrize(
    ("upload", "words"),
    [
        pytest.param(lambda: raw("file=QUJD"), "given twice", id="file-in-query"),
        pytest.param(lambda: raw("flag=%ff"), "not UTF-8", id="not-utf8"),
        pytest.param(lambda: raw(content=b""), "`file` is empty", id="empty"),
        pytest.param(lambda: raw(media="application/pdf"), "not a PDF", id="no-pdf"),
    ],
)
def test_bad_raw_files(endpoint, upload, words):
    with pytest.raises(BadRequest, match=words):
        parse(endpoint, upload())


# --- forms


@pytest.mark.parametrize("pieces", [1, 7, 10_000])
def test_a_form(endpoint, pieces):
    parts = part("flag", "yes"), file_part("file"), part("ratio", "0.25"), part("logId", "é"), part("x", "{")
    request, data, kind = parse(endpoint, form(*parts, pieces=pieces))
    assert request == New(file="", flag=True, ratio=0.25, log_id="é")
    assert (data, kind) == (PNG, "image")


def test_the_name_of_the_file_chooses_the_generation(endpoint):
    assert parse(endpoint, form(file_part("image")))[0] == Old(image="")
    assert parse(endpoint, form(file_part("file")))[0] == New(file="")


@pytest.mark.parametrize(
    ("filename", "media", "more", "kind"),
    [
        ("scan.PDF", "", (), "pdf"),
        ("scan.pdf", "application/octet-stream", (), "pdf"),
        ("scan", "application/pdf", (), "pdf"),
        ("scan.jpg", "", (), "image"),
        ("scan.pdf", "image/png", (), "image"),
        ("scan.pdf", "", (part("fileType", "1"),), "image"),
    ],
)
def test_a_part_says_what_it_is_by_its_type_or_name(endpoint, filename, media, more, kind):
    content = b"%PDF-1.7" if kind == "pdf" else PNG
    upload = form(file_part("file", content, filename, media), *more)
    assert parse(endpoint, upload)[1:] == (content, kind)


def test_a_form_without_a_file_is_the_same_as_json(endpoint):
    upload = form(part("file", "http://host/a.png"), part("fileType", "1"))
    request = endpoint.parse(upload.open(endpoint, 64)).request
    assert request == New(file="http://host/a.png", file_type=1)
    assert upload.field == ""


LARGE_TEXT = "x" * (MAX_TEXT_BYTES // 2)
BAD_FORMS = {
    "no-file": ([part("flag", "1")], END, '"loc": "body.file"'),
    "file-under-another-name": ([file_part("picture")], END, '"loc": "body.file"'),
    "file-as-a-parameter": ([file_part("logId"), part("file", "QUJD")], END, "`logId` cannot be a file"),
    "file-twice": ([file_part("file"), file_part("file")], END, "more than one file"),
    "file-and-field": ([file_part("file"), part("file", "QUJD")], END, "given twice"),
    "no-type": ([file_part("file", filename="")], END, "File type cannot be determined"),
    "no-name": ([file_part("")], END, "has no name"),
    "empty-file": ([file_part("file", b"")], END, "`file` is empty"),
    "cut": ([file_part("file")], b"", "its last boundary is missing"),
    "empty": ([], b"", "its last boundary is missing"),
    "only-an-end": ([], END, '"loc": "body.file"'),
    "other-boundary": ([b"--other\r\n\r\n"], b"", "its last boundary is missing"),
    "no-disposition": ([f"--{BOUNDARY}\r\nX: y\r\n\r\n\r\n".encode()], END, "The form is not valid"),
    "no-header": ([f"--{BOUNDARY}\r\n\r\n\r\n".encode()], END, "The form is not valid"),
    "line-feeds": ([file_part("file").replace(b"\r\n", b"\n")], END, "The form is not valid"),
    "long-header": ([file_part("file", filename="x" * 2000)], END, "header length"),
    "endless-header": ([f"--{BOUNDARY}\r\nX: ".encode() + b"x" * 5000], b"", "header length"),
    "many-headers": ([part("flag", "1", head="X: y\r\n" * 20)], END, "header count"),
    "many-parts": ([part("flag", "1")] * (MAX_PARTS + 1), END, "segment count"),
    "large-field": ([part("x", LARGE_TEXT), part("y", LARGE_TEXT + "x")], END, "larger than"),
    "lying-length": ([part("flag", "1", head="Content-Length: 5\r\n")], END, "The form is not valid"),
    "not-utf8": ([part("flag", b"\xff")], END, "not UTF-8"),
    "header-not-utf8": ([file_part("file").replace(b"a.png", b"\xff.png")], END, "The form is not valid"),
    "deep": ([file_part("file"), part("flag", "[" * 1000)], END, "nested deeper"),
}


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("name", BAD_FORMS)
def test_bad_forms(endpoint, name, pieces):
    parts, end, words = BAD_FORMS[name]
    with pytest.raises(BadRequest) as refused:
        parse(endpoint, form(*parts, end=end, pieces=pieces))
    assert words in refused.value.message


@pytest.mark.parametrize("media", ["multipart/form-data", "multipart/form-data; boundary=",
                                   "multipart/form-data; boundary=" + "x" * 71,
                                   'multipart/form-data; boundary="a b"'])  # fmt: skip
def test_a_form_needs_a_boundary(media):
    with pytest.raises(BadRequest, match="needs a boundary"):
        open_upload(Both.operations[0], media, "")


def test_after_a_fault_nothing_is_kept():
    upload = open_upload(Both.operations[0], MULTIPART, "")
    upload.take(file_part("file") + file_part("file"))
    for _ in range(100):
        upload.take(PNG * 100)
    assert upload.pieces == []
    with pytest.raises(BadRequest, match="more than one file"):
        upload.end()


@given(
    content=st.binary(max_size=300) | st.text("\r\n-limt", max_size=300).map(str.encode),
    cuts=st.lists(st.integers(0, 600), max_size=8),
)
def test_a_file_is_the_same_in_whatever_pieces_it_comes(content, cuts):
    if f"\r\n--{BOUNDARY}".encode() in b"\r\n" + content + b"\r\n":
        return  # then it is no content of a form with this boundary
    whole = part("flag", "1") + file_part("file", content) + END
    upload, last = open_upload(Both.operations[0], MULTIPART, ""), 0
    for cut in [*sorted(cuts), len(whole)]:
        if cut > last:
            upload.take(whole[last:cut])
            last = cut
    upload.end()
    assert b"".join(upload.pieces) == content
    assert upload.texts == {"flag": "1"}


@given(st.integers(0, 2**32))
def test_damaged_forms_are_read_or_refused(seed):
    """Nothing else is ever raised, by the parser or by what reads the fields."""
    chance = random.Random(seed)
    whole = bytearray(part("flag", "1") + part("inferenceParams", "{}") + file_part("file") + END)
    for _ in range(chance.randrange(1, 12)):
        place = chance.randrange(len(whole))
        whole[place : place + chance.randrange(3)] = chance.choice(
            [b"", b"\r\n", b"--", b'"', b";", b"\0\xff"]
        )
    upload, both = open_upload(Both.operations[0], MULTIPART, ""), Endpoint(Both, CONFIG, (0, 0), "v3")
    with contextlib.suppress(BadRequest):
        parse(both, taken(upload, bytes(whole), chance.randrange(1, 9)))


def test_every_form_of_the_toy_has_the_field_of_its_file(endpoint):
    assert endpoint.file_field({}) == "file"
    assert endpoint.file_field({"inferenceParams": "{}"}) == "image"
    assert isinstance(raw(), Upload)
