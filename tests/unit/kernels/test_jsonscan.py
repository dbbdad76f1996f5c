import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.jsonscan import json_outline
from tests.reference.jsonscan import json_outline as slow_outline

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


@given(
    st.lists(st.sampled_from([b'"', b"\\", b"[", b"]", b"{", b"}", b"x", b"\x1f", b"\xff"]), max_size=30).map(
        b"".join
    )
)
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


@pytest.mark.parametrize("odd", [b"", b"\\n", b"\n", b"\x1f", b"\x7f", b"\x80", "ü".encode(), b'\\"'])
@pytest.mark.parametrize("place", [0, 1, 31, 32, 33, 99])
def test_only_plain_strings_are_reported(odd, place):
    content = b"a" * place + odd + b"a" * (99 - place)
    text = b'{"file":"' + content + b'"}'
    plain = odd in {b"", b"\x7f"}
    assert json_outline(text, 5, 50)[1] == ([(9, 9 + len(content))] if plain else [])


def test_long_strings_deeper_inside_are_not_reported():
    assert json_outline(b'{"a":{"b":"' + b"x" * 100 + b'"}}', 5, 50) == (2, [])


def test_no_more_than_sixteen():
    text = b"[" + b",".join([b'"' + b"x" * 10 + b'"'] * 20) + b"]"
    assert len(json_outline(text, 5, 5)[1]) == 16


def test_takes_bytes_only():
    with pytest.raises(TypeError):
        json_outline("[]", 5, 5)
