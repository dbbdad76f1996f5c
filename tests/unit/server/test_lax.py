"""The expected values are what pydantic 2.14 does with the same JSON, recorded from a run of it."""

import json
import math
from typing import Annotated, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.lax import InvalidValue, Problem, convert, error_text

BODY = ("body", "x")


def lax(value, kind):
    return convert(value, msgspec.inspect.type_info(kind), BODY)


@pytest.mark.parametrize(
    ("value", "kind", "wanted"),
    [
        ("5", int, 5),
        (" 5 ", int, 5),
        ("5.0", int, 5),
        ("1_000", int, 1000),
        (5.0, int, 5),
        (True, int, 1),
        ("1.5", float, 1.5),
        (True, float, 1.0),
        (3, float, 3.0),
        ("yes", bool, True),
        ("OFF", bool, False),
        ("1", bool, True),
        (0, bool, False),
        (1.0, bool, True),
        (None, int | None, None),
        ("7", int | None, 7),
        (True, Literal[0, 1], 1),
        (1.0, Literal[0, 1], 1),
        (["1", 2], list[int], [1, 2]),
        (["1", 2], tuple[int, int], (1, 2)),
        ({"1": "2"}, dict[int, float], {1: 2.0}),
        ("3", float | dict[int, float], 3.0),
        ({"3": 0.5}, float | dict[int, float], {3: 0.5}),
    ],
)
def test_takes_what_pydantic_takes(value, kind, wanted):
    found = lax(value, kind)
    assert found == wanted
    assert type(found) is type(wanted)


@pytest.mark.parametrize(
    ("value", "kind", "type_", "msg"),
    [
        (5, str, "string_type", "Input should be a valid string"),
        (None, str, "string_type", "Input should be a valid string"),
        (5.5, int, "int_from_float", "Input should be a valid integer, got a number with a fractional part"),
        (
            math.inf,
            int,
            "int_from_float",
            "Input should be a valid integer, got a number with a fractional part",
        ),
        ("x", int, "int_parsing", "Input should be a valid integer, unable to parse string as an integer"),
        (".", int, "int_parsing", "Input should be a valid integer, unable to parse string as an integer"),
        ("5.1", int, "int_parsing", "Input should be a valid integer, unable to parse string as an integer"),
        (
            "9" * 5000,
            int,
            "int_parsing",
            "Input should be a valid integer, unable to parse string as an integer",
        ),
        (
            "null",
            int | None,
            "int_parsing",
            "Input should be a valid integer, unable to parse string as an integer",
        ),
        ([], int, "int_type", "Input should be a valid integer"),
        ("x", float, "float_parsing", "Input should be a valid number, unable to parse string as a number"),
        ({}, float, "float_type", "Input should be a valid number"),
        (10**400, float, "float_type", "Input should be a valid number"),
        (2, bool, "bool_parsing", "Input should be a valid boolean, unable to interpret input"),
        (" true ", bool, "bool_parsing", "Input should be a valid boolean, unable to interpret input"),
        ([], bool, "bool_type", "Input should be a valid boolean"),
        (2, Literal[0, 1], "literal_error", "Input should be 0 or 1"),
        ("1", Literal[0, 1], "literal_error", "Input should be 0 or 1"),
        (5, list[int], "list_type", "Input should be a valid list"),
        (4, tuple[int, int], "tuple_type", "Input should be a valid tuple"),
        ([1, 2, 3], tuple[int, int], "too_long", "Tuple should have at most 2 items after validation, not 3"),
        (3, dict[int, float], "dict_type", "Input should be a valid dictionary"),
        (0, Annotated[int, msgspec.Meta(gt=0)], "greater_than", "Input should be greater than 0"),
        (5, Annotated[int, msgspec.Meta(le=4)], "less_than_equal", "Input should be less than or equal to 4"),
    ],
)
def test_refuses_in_pydantics_words(value, kind, type_, msg):
    with pytest.raises(InvalidValue) as refused:
        lax(value, kind)
    assert refused.value.problems == [Problem(type_, BODY, msg)]


def test_not_a_number_is_no_number():
    """Pydantic takes it; it would poison every comparison on the way."""
    with pytest.raises(InvalidValue):
        lax("nan", float)


def test_all_problems_are_found():
    class Inner(msgspec.Struct):
        a: int
        b: list[int] = []

    with pytest.raises(InvalidValue) as refused:
        lax({"b": ["x", 2.5]}, Inner)
    assert [(p.type, p.loc) for p in refused.value.problems] == [
        ("missing", (*BODY, "a")),
        ("int_parsing", (*BODY, "b", 0)),
        ("int_from_float", (*BODY, "b", 1)),
    ]


def test_error_text_of_both_generations():
    problems = [Problem("missing", ("body", "file"), "Field required"), Problem("x", ("body", "b", 0), "y")]
    assert json.loads(error_text(problems, "v3")) == [
        {"type": "missing", "loc": "body.file", "msg": "Field required"},
        {"type": "x", "loc": "body.b[0]", "msg": "y"},
    ]
    assert json.loads(error_text(problems, "2024"))[1] == {"type": "x", "loc": ["body", "b", 0], "msg": "y"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


class Everything(msgspec.Struct):
    a: int | None = None
    b: list[float] = []
    c: dict[int, bool] = {}
    d: tuple[str, Literal["x", 1]] | int = 0


@given(st.fixed_dictionaries({}, optional=dict.fromkeys("abcd", json_values)) | json_values)
def test_anything_is_converted_or_refused(value):
    try:
        found = lax(value, Everything)
    except InvalidValue as refused:
        assert refused.problems
    else:
        msgspec.json.decode(msgspec.json.encode(found), type=Everything)  # what comes out is of its type
