"""The wire format against an encoder, and against bytes that are none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.errors import ConfigError
from pipelines.core.protobuf import fields, messages, signed, text
from tests.tiny import field

values = st.one_of(st.integers(0, 2**64 - 1), st.binary(max_size=300))


@given(st.lists(st.tuples(st.integers(1, 2**20), values)))
def test_what_was_written_is_read(pairs):
    raw = b"".join(field(number, value) for number, value in pairs)
    found = [(n, v if isinstance(v, int) else bytes(v)) for n, v in fields(memoryview(raw))]
    assert found == pairs


@given(st.integers(-(2**63), 2**63 - 1))
def test_negative_numbers(value):
    (found,) = fields(memoryview(field(2, value)))
    assert signed(found[1]) == value


def test_fixed_width_fields_are_skipped():
    raw = field(1, 5) + bytes([2 << 3 | 5]) + b"abcd" + bytes([3 << 3 | 1]) + b"abcdefgh" + field(4, b"x")
    assert [number for number, _ in fields(memoryview(raw))] == [1, 4]


def test_messages_and_text_pick_by_number():
    raw = memoryview(field(1, 7) + field(2, b"a") + field(3, "漢字") + field(2, b"b"))
    assert [bytes(value) for value in messages(raw, 2)] == [b"a", b"b"]
    assert text(raw, 3) == "漢字"
    assert text(raw, 9) == ""


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(field(1, b"hello")[:-1], id="cut"),
        pytest.param(b"\x0a\xff\xff\xff\xff\x0f", id="length-beyond-the-end"),
        pytest.param(b"\xff" * 11, id="endless-number"),
        pytest.param(b"\x80", id="number-cut"),
        pytest.param(bytes([1 << 3 | 3]), id="group"),
    ],
)
def test_what_is_no_message(raw):
    with pytest.raises(ConfigError, match="model file"):
        list(fields(memoryview(raw)))


@given(st.binary(max_size=200))
def test_any_bytes_end_in_fields_or_a_config_error(raw):
    try:
        for number, value in fields(memoryview(raw)):
            assert number >= 0
            assert isinstance(value, int) or len(value) <= len(raw)
    except ConfigError:
        pass
