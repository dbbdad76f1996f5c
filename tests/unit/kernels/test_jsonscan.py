import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.jsonscan import json_depth
from tests.reference.jsonscan import json_depth as slow_depth

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(values, st.integers(0, 20))
def test_equals_twin_on_json(value, stop):
    text = json.dumps(value, ensure_ascii=False).encode()
    assert json_depth(text, stop) == slow_depth(text, stop)


@given(st.lists(st.sampled_from([b'"', b"\\", b"[", b"]", b"{", b"}", b"x", b"\x00", b"\xff"])).map(b"".join))
def test_equals_twin_on_any_bytes(text):
    assert json_depth(text, 5) == slow_depth(text, 5)


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
    assert json_depth(text, 100) == depth


def test_stops_looking_above_the_limit():
    assert json_depth(b"[" * 1000, 64) == 65


def test_takes_bytes_only():
    with pytest.raises(TypeError):
        json_depth("[]", 5)
