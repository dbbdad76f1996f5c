"""Pydantic's lax conversions and error list for msgspec types, as PaddleX clients know them.

msgspec's own lax mode differs in the details that clients rely on: it takes ``"null"`` for null, and
refuses ``true`` for a number, ``1.0`` and ``"yes"`` for a flag. The rules here are those of
pydantic 2 in lax JSON mode. Only values that a strict decode has refused come here.
"""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import inspect as kinds

Location = tuple[str | int, ...]

_TRUE = frozenset({"1", "t", "true", "y", "yes", "on"})
_FALSE = frozenset({"0", "f", "false", "n", "no", "off"})
#: Characters of text that pydantic reads as a number at most; its own limit for integers.
_MAX_DIGITS = 4300

#: Attribute of a msgspec number type, pydantic's name, its words, and the test.
_BOUNDS: tuple[tuple[str, str, str, Callable[[Any, Any], bool]], ...] = (
    ("gt", "greater_than", "greater than", operator.gt),
    ("ge", "greater_than_equal", "greater than or equal to", operator.ge),
    ("lt", "less_than", "less than", operator.lt),
    ("le", "less_than_equal", "less than or equal to", operator.le),
)


class Problem(NamedTuple):
    """One entry of the error list: pydantic's ``type``, ``loc`` and ``msg``."""

    type: str
    loc: Location
    msg: str


class InvalidValue(ValueError):
    """The value fits its type in no way; ``problems`` says why."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(problems[0].msg)
        self.problems = list(problems)


def _invalid(type_: str, loc: Location, msg: str) -> InvalidValue:
    return InvalidValue([Problem(type_, loc, msg)])


def error_text(problems: Sequence[Problem], generation: Literal["v3", "2024"]) -> str:
    """``errorMsg`` of a 422: a JSON list; ``loc`` is dotted text in 3.x and an array in 2024."""
    entries = [
        {"type": p.type, "loc": _dotted(p.loc) if generation == "v3" else list(p.loc), "msg": p.msg}
        for p in problems
    ]
    return json.dumps(entries)


def _dotted(loc: Location) -> str:
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc)
    return "".join(steps).removeprefix(".")


def convert(value: Any, kind: kinds.Type, loc: Location) -> Any:
    """``value`` (JSON builtins) as an instance of ``kind``.

    Args:
        value: what a generic JSON decoder made of the text.
        kind: the wanted type, from :func:`msgspec.inspect.type_info`.
        loc: where the value is, for the error list.

    Raises:
        InvalidValue: with every problem inside ``value``.
    """
    if isinstance(kind, kinds.Metadata):
        kind = kind.type
    if isinstance(kind, kinds.UnionType):
        return _union(value, kind, loc)
    if isinstance(kind, kinds.IntType):
        return _bounded(_integer(value, loc), kind, loc)
    if isinstance(kind, kinds.FloatType):
        return _bounded(_number(value, loc), kind, loc)
    for known, reader in _READERS.items():
        if isinstance(kind, known):
            return reader(value, kind, loc)
    return value  # Any: whatever JSON holds


def _bounded(value: Any, kind: kinds.IntType | kinds.FloatType, loc: Location) -> Any:
    for name, type_, words, holds in _BOUNDS:
        bound = getattr(kind, name)
        if bound is not None and not holds(value, bound):
            raise _invalid(type_, loc, f"Input should be {words} {bound}")
    return value


def _integer(value: Any, loc: Location) -> int:
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value) or value != int(value):
            message = "Input should be a valid integer, got a number with a fractional part"
            raise _invalid("int_from_float", loc, message)
        return int(value)
    if isinstance(value, str):
        text = value.strip()
        head, _, tail = text.partition(".")
        try:
            if len(text) <= _MAX_DIGITS and not tail.strip("0"):
                return int(head)
        except ValueError:
            pass
        message = "Input should be a valid integer, unable to parse string as an integer"
        raise _invalid("int_parsing", loc, message)
    raise _invalid("int_type", loc, "Input should be a valid integer")


def _number(value: Any, loc: Location) -> float:
    if isinstance(value, (int, float)):
        try:
            return float(value)
        except OverflowError:
            raise _invalid("float_type", loc, "Input should be a valid number") from None
    if isinstance(value, str):
        try:
            number = float(value) if len(value) <= _MAX_DIGITS else math.nan
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            return number
        message = "Input should be a valid number, unable to parse string as a number"
        raise _invalid("float_parsing", loc, message)
    raise _invalid("float_type", loc, "Input should be a valid number")


def _flag(value: Any, _kind: kinds.Type, loc: Location) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        text = value.lower()
        if text in _TRUE or text in _FALSE:
            return text in _TRUE
    if isinstance(value, (int, float)) and value in {0, 1}:
        return bool(value)
    if isinstance(value, (str, int, float)):
        message = "Input should be a valid boolean, unable to interpret input"
        raise _invalid("bool_parsing", loc, message)
    raise _invalid("bool_type", loc, "Input should be a valid boolean")


def _text(value: Any, _kind: kinds.Type, loc: Location) -> str:
    if isinstance(value, str):
        return value
    raise _invalid("string_type", loc, "Input should be a valid string")


def _null(value: Any, _kind: kinds.Type, loc: Location) -> None:
    if value is not None:
        raise _invalid("none_required", loc, "Input should be None")


def _literal(value: Any, kind: Any, loc: Location) -> Any:
    for choice in kind.values:
        if value == choice and isinstance(value, str) == isinstance(choice, str):
            return choice
    *most, last = (repr(choice) for choice in kind.values)
    wanted = f"{', '.join(most)} or {last}" if most else last
    raise _invalid("literal_error", loc, f"Input should be {wanted}")


def _each(values: Sequence[Any], types: Sequence[kinds.Type], loc: Location) -> list[Any]:
    done, problems = [], []
    for index, (value, kind) in enumerate(zip(values, types, strict=True)):
        try:
            done.append(convert(value, kind, (*loc, index)))
        except InvalidValue as fault:
            problems += fault.problems
    if problems:
        raise InvalidValue(problems)
    return done


def _list(value: Any, kind: Any, loc: Location) -> list[Any]:
    if not isinstance(value, list):
        raise _invalid("list_type", loc, "Input should be a valid list")
    return _each(value, [kind.item_type] * len(value), loc)


def _tuple(value: Any, kind: Any, loc: Location) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _invalid("tuple_type", loc, "Input should be a valid tuple")
    size = len(kind.item_types)
    if len(value) > size:
        message = f"Tuple should have at most {size} items after validation, not {len(value)}"
        raise _invalid("too_long", loc, message)
    if len(value) < size:
        raise InvalidValue([Problem("missing", (*loc, i), "Field required") for i in range(len(value), size)])
    return tuple(_each(value, kind.item_types, loc))


def _dict(value: Any, kind: Any, loc: Location) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise _invalid("dict_type", loc, "Input should be a valid dictionary")
    done, problems = {}, []
    for key, item in value.items():
        try:
            done[convert(key, kind.key_type, (*loc, key, "[key]"))] = convert(
                item, kind.value_type, (*loc, key)
            )
        except InvalidValue as fault:
            problems += fault.problems
    if problems:
        raise InvalidValue(problems)
    return done


def _struct(value: Any, kind: Any, loc: Location) -> msgspec.Struct:
    if not isinstance(value, dict):
        message = "Input should be a valid dictionary or object to extract fields from"
        raise _invalid("model_attributes_type", loc, message)
    done, problems = {}, []
    for field in kind.fields:
        if field.encode_name in value:
            try:
                done[field.name] = convert(value[field.encode_name], field.type, (*loc, field.encode_name))
            except InvalidValue as fault:
                problems += fault.problems
        elif field.required:
            problems.append(Problem("missing", (*loc, field.encode_name), "Field required"))
    if problems:
        raise InvalidValue(problems)
    made: msgspec.Struct = kind.cls(**done)
    return made


_READERS = {
    kinds.BoolType: _flag,
    kinds.StrType: _text,
    kinds.NoneType: _null,
    kinds.LiteralType: _literal,
    kinds.ListType: _list,
    kinds.TupleType: _tuple,
    kinds.DictType: _dict,
    kinds.StructType: _struct,
}

_TAGS = {kinds.IntType: "int", kinds.FloatType: "float", kinds.BoolType: "bool", kinds.StrType: "str",
         kinds.ListType: "list", kinds.TupleType: "tuple", kinds.DictType: "dict"}  # fmt: skip


def _union(value: Any, kind: kinds.UnionType, loc: Location) -> Any:
    """The first member that takes ``value``, the plainest first; all their problems if none does."""
    members = [member for member in kind.types if not isinstance(member, kinds.NoneType)]
    if value is None and len(members) < len(kind.types):
        return None
    if len(members) == 1:
        return convert(value, members[0], loc)
    problems: list[Problem] = []
    for member in members:
        inner = member.type if isinstance(member, kinds.Metadata) else member
        try:
            return convert(value, member, (*loc, _TAGS.get(type(inner), type(inner).__name__)))
        except InvalidValue as fault:
            problems += fault.problems
    raise InvalidValue(problems)
