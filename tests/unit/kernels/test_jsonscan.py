import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.jsonscan import json_outline, json_string
from tests.reference.jsonscan import json_outline as slow_outline
from tests.reference.jsonscan import json_string as slow_string

texts = st.text(max_size=8) | st.text("abcdef", max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)


@given(values, st.integers(0, 20), st.integers(0, 6), st.booleans())
def test_equals_twin_on_json(value, max_depth, long_text, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert json_outline(text, max_depth, long_text) == slow_outline(text, max_depth, long_text)


PIECES = [*map(bytes, zip(b'"\\[]{}xu0/nF\x1f\xff')), b"\\u00", b"\\/"]


@given(st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join))
def test_equals_twin_on_any_bytes(text):
    assert json_outline(text, 5, 1) == slow_outline(text, 5, 1)


@pytest.mark.parametrize(
    ("text", "depth"),
    [
        pytest.param(b"", 0, id="empty"),
        pytest.param(b'{"a":[{}]}', 3, id="nested"),
        pytest.param(b'{"a":"[[[["}', 1, id="in-a-string"),
        pytest.param(rb'{"a":"\"[[[["}', 1, id="after-an-escaped-quote"),
        pytest.param(rb'{"a":"\\","b":[[]]}', 3, id="after-an-escaped-backslash"),
        pytest.param(b'{"a":"[[[', 1, id="string-without-end"),
    ],
)
def test_depth(text, depth):
    assert json_outline(text, 100, 1000)[0] == depth


def test_stops_looking_above_the_limit():
    assert json_outline(b"[" * 1000, 64, 1) == (65, [])


@pytest.mark.parametrize("odd", [b"", b"\n", b"\x1f", b"\x7f", b"\x80", "ü".encode(), b"\\x", b"\\u00e9"])
@pytest.mark.parametrize("place", [0, 1, 31, 32, 33, 99])
def test_only_strings_of_ascii_are_reported(odd, place):
    content = b"a" * place + odd + b"a" * (99 - place)
    text = b'{"file":"' + content + b'"}'
    plain = odd in {b"", b"\x7f"}
    assert json_outline(text, 5, 50)[1] == ([(9, 9 + len(content))] if plain else [])


@given(st.text(st.characters(max_codepoint=127)).map(json.dumps), st.booleans())
def test_escapes_are_undone(string, slashes):
    """Also those that nobody needs: PHP escapes every slash, and base64 is full of them."""
    text = (string.replace("/", "\\/") if slashes else string).encode()
    assert json_outline(b"[" + text + b"]", 5, 0)[1] == [(2, len(text))]
    assert json_string(text, 1, len(text) - 1) == json.loads(text)


ESCAPES = [rb"\n", rb"\/", rb"\u", rb"\u00", rb"\u0041", rb"\uD83D", rb"\u00e9", rb"\\", b"\\"]


@given(st.lists(st.sampled_from([*ESCAPES, b"4", b"a", b"\x1f", b"\xff"]), max_size=8).map(b"".join))
def test_what_is_no_string_of_ascii_is_refused(content):
    try:
        right = slow_string(b'"' + content + b'"', 1, 1 + len(content))
    except ValueError:
        with pytest.raises(ValueError, match="no string of ASCII"):
            json_string(content, 0, len(content))
    else:
        assert json_string(content, 0, len(content)) == right


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (2, 1), (0, 6)])
def test_places_outside_the_text_are_refused(start, stop):
    with pytest.raises(ValueError, match="outside"):
        json_string(b"12345", start, stop)


def test_long_strings_deeper_inside_are_not_reported():
    assert json_outline(b'{"a":{"b":"' + b"x" * 100 + b'"}}', 5, 50) == (2, [])


def test_no_more_than_sixteen():
    text = b"[" + b",".join([b'"' + b"x" * 10 + b'"'] * 20) + b"]"
    assert len(json_outline(text, 5, 5)[1]) == 16


def test_takes_bytes_only():
    with pytest.raises(TypeError):
        json_outline("[]", 5, 5)
